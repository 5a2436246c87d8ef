//! What the streams of one call do to one frame together: the other leg is lowered once, and all voices are heard.
//!
//! FreeSWITCH shows a frame on its way to the caller to one media bug after the other, newest first; each changes it in place.
//! A stream that simply replaced the frame would replace the voices of those before it. So each takes a turn through its
//! [`MixSlot`]: the first of a pass keeps a copy of the other leg, and a stream that finds later in the pass that the leg is to
//! be heard less, or more, than was assumed, corrects exactly its part of the frame. Voices are only ever added.
//!
//! *Which turn is the first?* Slots are numbered as they join, and the bugs are in the opposite order; so within a pass the
//! numbers fall, and a number not below the last one begins a new pass. Nothing has to be reset: streams that join, leave
//! or miss a pass cost at most that one pass. For this, the joining of a stream and the adding of its bug must not be mixed
//! with another stream's; the code that starts streams ensures that.
//!
//! *What is assumed?* That a stream which covered the leg at the end of the last frame still does, until its turn says up to
//! which sample. So nothing has to be corrected while voices go on, and where one begins or ends the join is exact to
//! the sample, in any turn.
//!
//! *What do other streams capture?* FreeSWITCH gives a bug the frame to capture just before its turn. So that this is the other leg
//! and not what newer streams made of it, every turn but the last of a pass keeps the mixed frame aside and puts the leg back; the
//! last one is the slot that ended the pass before. No voice may be lost when that one goes: while its stream leaves, its callbacks
//! still give the frame what was kept aside ([`MixSlot::pass_on`]); while its bug comes off the call, and in the pass after, nothing is
//! put back, for who is last has to be seen anew.
//!
//! *Headroom.* Up to two sources at once (voices, tones, the other leg) are summed as they are; n sources at 2/n of
//! their level each, so that sources of -6 dBFS never clip and one source is never touched. Louder sums saturate. The change is a
//! ramp; a source that is the third or a later one swells within 10 ms while the others make room, or the leg fades, in 5.
//!
//! Threads: the turns of one call are serial, on a thread that may change, because FreeSWITCH holds the session's codec write
//! mutex around them. They are carried from one to the next in relaxed atomics, read and written as a whole: no lock, no wait, no
//! allocation; if a host broke the rule, a frame would sound wrong and nothing else would happen.

// The standard `Arc`, and `OnceLock` below, in the models too: what turns share is serial and not modelled.
use std::sync::{Arc, OnceLock};

use super::mixer::{Fader, Ramp, saturated, scaled};
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::units::choice::choice;

/// Samples of all channels that the other leg's copy can hold: FreeSWITCH's largest frame.
const LARGEST_FRAME: usize = 4_096;
/// Samples in a word of a [`KeptFrame`].
const PACKED: usize = 4;
/// Sources that are summed at their full level.
const UNSCALED_SOURCES: u32 = 2;
/// How much longer than a glide the level takes to come back after a source has ended.
const RECOVERY: usize = 20;

choice! {
    /// What our audio does to the frame that the other leg wrote.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub enum InjectMode {
        /// While there is audio of ours the caller hears it alone.
        #[default]
        Replace = "replace",
        /// The caller hears both; the sum saturates.
        Mix = "mix",
        /// The caller hears both, the other leg lowered while there is audio of ours.
        Duck = "duck",
    }
}

/// What the streams of one call share. One value a call, from its first stream to its last. 17 KiB once there are two.
#[derive(Debug)]
pub struct CallMix {
    /// The other leg on its way to the caller.
    pub leg: Fader,
    slots: AtomicU32,
    numbers: AtomicU32,
    pass: [AtomicU32; WORDS],
    /// The other leg of the current frame; made when a second stream joins.
    copy: OnceLock<KeptFrame>,
    /// What the turns so far have made of the frame, while the frame itself is the other leg again; made with the copy.
    mixed: OnceLock<KeptFrame>,
    /// A stream has left since the last pass began.
    left: AtomicBool,
    /// Streams whose bug is coming off the call: it may run no more, though its slot is still there.
    coming_off: AtomicU32,
}

impl CallMix {
    /// A call without streams.
    #[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
    pub fn new() -> Arc<Self> {
        let words = Pass::default().to_words();
        Arc::new(Self {
            leg: Fader::default(),
            slots: AtomicU32::new(0),
            numbers: AtomicU32::new(0),
            pass: std::array::from_fn(|at| AtomicU32::new(words[at])),
            copy: OnceLock::new(),
            mixed: OnceLock::new(),
            left: AtomicBool::new(false),
            coming_off: AtomicU32::new(0),
        })
    }

    /// A place for one more stream. Allocates; not for the media thread.
    ///
    /// No other stream may join the call before this one's bug has been added.
    pub fn join(self: &Arc<Self>) -> MixSlot {
        // Before the number: a stream that takes a turn beside another then has the copy.
        if self.slots.fetch_add(1, Ordering::AcqRel) > 0 {
            for frame in [&self.copy, &self.mixed] {
                frame.get_or_init(KeptFrame::new);
            }
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        MixSlot { call: self.clone(), number, last: Own::default() }
    }

    /// The bug of a stream is about to be taken off the call (`begun`), or has been. Any thread.
    pub fn coming_off(&self, begun: bool) {
        if begun {
            self.coming_off.fetch_add(1, Ordering::Relaxed);
        } else {
            self.coming_off.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether the slot that ended the last pass may be missing from the next one. Asked once a pass.
    fn last_may_be_gone(&self) -> bool {
        // In this order: a bug that is off by the first look has closed before, which the second one sees.
        let coming_off = self.coming_off.load(Ordering::Acquire) > 0;
        let left = self.left.load(Ordering::Relaxed) && self.left.swap(false, Ordering::Relaxed);
        left || coming_off
    }

    /// Streams on the call.
    pub fn slots(&self) -> u32 {
        self.slots.load(Ordering::Relaxed)
    }

    fn load(&self) -> Pass {
        Pass::from_words(std::array::from_fn(|at| self.pass[at].load(Ordering::Relaxed)))
    }

    fn store(&self, pass: &Pass) {
        for (shared, word) in self.pass.iter().zip(pass.to_words()) {
            shared.store(word, Ordering::Relaxed);
        }
    }
}

/// What a stream adds to the current frame. Offsets count instants: samples of one channel.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Part {
    /// What the voice does to the other leg.
    pub(super) mode: InjectMode,
    /// Gain of the leg under a voice that ducks.
    pub(super) duck: f32,
    /// The voice covers the leg up to here; 0 for not at all.
    pub(super) until: usize,
    /// A voice is heard in this frame.
    pub(super) voice: bool,
    /// A tone is.
    pub(super) tone: bool,
    /// The frame was written by the module's own clock: the other leg is silence.
    pub(super) own_clock: bool,
}

/// What a stream finds out in its turn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Turn {
    /// The gain that every source of the frame gets, from its first sample on.
    pub(super) room: Ramp,
    /// The voice begins among others, the tone does: it has to swell over twice a glide.
    pub(super) voice_swells: bool,
    pub(super) tone_swells: bool,
    /// The frame is not what it was.
    pub(super) changed: bool,
    /// Other streams have still to capture the frame: [`MixSlot::put_back`] is due when this stream's sources are in it.
    pub(super) puts_back: bool,
}

/// One stream's place on its call, used by its WRITE_REPLACE callback. Dropping it leaves the call.
#[derive(Debug)]
pub struct MixSlot {
    call: Arc<CallMix>,
    number: u32,
    last: Own,
}

/// What a stream reported about itself in its last turn.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    pass: u32,
    silences: bool,
    ducks: bool,
    voice: bool,
    tone: bool,
}

impl MixSlot {
    /// The call.
    pub fn call(&self) -> &Arc<CallMix> {
        &self.call
    }

    /// Takes this stream's turn: brings the other leg, and the level of what earlier turns added, to where `part` wants them.
    /// Real-time safe: some 50 ns where nothing is to be done, 1 ns a sample where something is.
    pub(super) fn turn(&mut self, frame: &mut [i16], lanes: usize, glide: usize, part: &Part) -> Turn {
        let call = &*self.call;
        let mut pass = call.load();
        let length = (frame.len() / lanes.max(1)) as u32;
        let first = self.number >= pass.last || pass.length != length || pass.lanes != lanes as u32;
        if first {
            pass.begin(length, lanes as u32, call.leg.level(), call.last_may_be_gone());
        } else if let Some(mixed) = call.mixed.get().filter(|_| pass.aside) {
            mixed.give(frame);
        }
        pass.last = self.number;
        let before = pass;
        let room_before = if first { pass.room_at_begin } else { pass.room };

        let last = if self.last.pass == pass.number.wrapping_sub(1) { self.last } else { Own::default() };
        let own = pass.take(part, &last);
        self.last = own;
        let crowded = pass.make_room(glide, part.own_clock);
        let voice_swells = part.voice && !last.voice && crowded;
        let tone_swells = part.tone && !last.tone && crowded;

        let curve = |pass: &Pass| Curve::new(pass, glide);
        let mut after = curve(&pass);
        let mut changed = false;
        if first {
            let copy = call.copy.get().filter(|_| call.slots() > 1 && frame.len() <= LARGEST_FRAME);
            pass.has_copy = copy.is_some();
            if let Some(copy) = copy {
                copy.keep(frame);
            }
            changed = lower(&mut after, pass.room, lanes, frame);
        } else {
            if pass.room != room_before {
                changed = true;
                rescale(room_before, pass.room, lanes, frame);
            }
            let same = (pass.cover() == before.cover()) && pass.base == before.base;
            if same {
                after.run_out();
            } else if let Some(leg) = call.copy.get().filter(|_| pass.has_copy) {
                changed = true;
                correct(&mut curve(&before), &mut after, pass.room, lanes, leg, frame);
            }
        }
        after.run_out();
        pass.leg_at_end = after.ramp;
        pass.aside = pass.has_copy && pass.closes > 0 && self.number > pass.closes;
        call.store(&pass);
        Turn { room: pass.room, voice_swells, tone_swells, changed, puts_back: pass.aside }
    }

    /// Stands in for [`turn`](Self::turn) once the stream leaves: adds nothing, but gives `frame` the voices that were kept aside for this
    /// turn, if it is the last one. Whether the frame has changed. Real-time safe.
    pub(super) fn pass_on(&self, frame: &mut [i16], lanes: usize) -> bool {
        let call = &*self.call;
        let mut pass = call.load();
        let same = pass.length == (frame.len() / lanes.max(1)) as u32 && pass.lanes == lanes as u32;
        let waits = pass.aside && same && self.number < pass.last && self.number <= pass.closes;
        if let Some(mixed) = call.mixed.get().filter(|_| waits) {
            mixed.give(frame);
            pass.aside = false;
            call.store(&pass);
        }
        waits
    }

    /// Keeps `frame` for the next turn, and makes it the other leg again. Real-time safe: 1 ns a sample.
    pub(super) fn put_back(&self, frame: &mut [i16]) {
        if let (Some(mixed), Some(copy)) = (self.call.mixed.get(), self.call.copy.get()) {
            mixed.keep(frame);
            copy.give(frame);
        }
    }
}

/// A frame that one turn keeps for the next ones, four samples to a word: a quarter of the loads and stores.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "made by `join`, freed with the call")]
struct KeptFrame(Box<[AtomicU64]>);

impl KeptFrame {
    /// Allocates; for [`CallMix::join`].
    fn new() -> Self {
        Self((0..LARGEST_FRAME / PACKED).map(|_| AtomicU64::new(0)).collect())
    }

    /// Keeps `frame`; of a longer one than [`LARGEST_FRAME`] the beginning.
    fn keep(&self, frame: &[i16]) {
        let (whole, rest) = frame.as_chunks::<PACKED>();
        for (kept, samples) in self.0.iter().zip(whole) {
            kept.store(packed(*samples), Ordering::Relaxed);
        }
        if let (Some(kept), false) = (self.0.get(whole.len()), rest.is_empty()) {
            let mut last = [0; PACKED];
            last[..rest.len()].copy_from_slice(rest);
            kept.store(packed(last), Ordering::Relaxed);
        }
    }

    /// Makes `frame` what was kept.
    fn give(&self, frame: &mut [i16]) {
        let (whole, rest) = frame.as_chunks_mut::<PACKED>();
        let last = self.0.get(whole.len());
        for (samples, kept) in whole.iter_mut().zip(&self.0) {
            *samples = unpacked(kept.load(Ordering::Relaxed));
        }
        if let Some(last) = last {
            let last = unpacked(last.load(Ordering::Relaxed));
            rest.iter_mut().zip(last).for_each(|(sample, kept)| *sample = kept);
        }
    }

    /// What is kept of the first `count` samples, one by one.
    fn samples(&self, count: usize) -> impl Iterator<Item = i16> + '_ {
        self.0.iter().flat_map(|kept| unpacked(kept.load(Ordering::Relaxed))).take(count)
    }
}

/// Four samples in a word, the first one lowest. One move each way, where the byte order is that of the words.
fn packed(samples: [i16; PACKED]) -> u64 {
    let [[a, b], [c, d], [e, f], [g, h]] = samples.map(i16::to_le_bytes);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn unpacked(word: u64) -> [i16; PACKED] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [[a, b], [c, d], [e, f], [g, h]].map(i16::from_le_bytes)
}

impl Drop for MixSlot {
    fn drop(&mut self) {
        self.call.left.store(true, Ordering::Relaxed);
        self.call.slots.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A frame's way past the bugs, as far as it has come.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Pass {
    /// Its number; wraps.
    number: u32,
    /// The slot that took the last turn.
    last: u32,
    length: u32,
    lanes: u32,
    has_copy: bool,
    /// The slot that ended the pass before and is expected to end this one; 0 where that is not known.
    closes: u32,
    /// The frame as mixed so far is kept aside, and the frame itself is the other leg.
    aside: bool,
    /// The other leg's gain as the operator wants it.
    base: f32,
    leg_at_begin: Ramp,
    leg_at_end: Ramp,
    /// Streams that silence (duck) the leg as of the last pass and have not had their turn in this one.
    silence_expected: u32,
    duck_expected: u32,
    /// Up to where turns of this pass silence (duck) it.
    silent_until: u32,
    ducked_until: u32,
    /// The lowest gain that those who duck want.
    duck: f32,
    /// Streams that go on with it at the end of the frame.
    silence_next: u32,
    duck_next: u32,
    duck_gain_next: f32,
    room_at_begin: Ramp,
    room: Ramp,
    /// Voices and tones in this frame, as far as is known; and those that go on at its end.
    sources: u32,
    sources_next: u32,
}

/// 16 words of four ramps' three, and the rest.
const WORDS: usize = 16 + 18;

impl Default for Pass {
    fn default() -> Self {
        Self {
            number: 0,
            last: 0,
            length: 0,
            lanes: 0,
            has_copy: false,
            closes: 0,
            aside: false,
            base: 1.0,
            leg_at_begin: Ramp::at(1.0),
            leg_at_end: Ramp::at(1.0),
            silence_expected: 0,
            duck_expected: 0,
            silent_until: 0,
            ducked_until: 0,
            duck: 1.0,
            silence_next: 0,
            duck_next: 0,
            duck_gain_next: 1.0,
            room_at_begin: Ramp::at(1.0),
            room: Ramp::at(1.0),
            sources: 0,
            sources_next: 0,
        }
    }
}

impl Pass {
    /// A new frame has come; `last_may_be_gone`: it is not known which slot will end the pass.
    fn begin(&mut self, length: u32, lanes: u32, base: f32, last_may_be_gone: bool) {
        let mut room = self.room;
        room.skip(self.length as usize);
        *self = Self {
            number: self.number.wrapping_add(1),
            length,
            lanes,
            has_copy: false,
            closes: if last_may_be_gone { 0 } else { self.last },
            aside: false,
            base,
            leg_at_begin: self.leg_at_end,
            silence_expected: self.silence_next,
            duck_expected: self.duck_next,
            silent_until: 0,
            ducked_until: 0,
            duck: if self.duck_next > 0 { self.duck_gain_next } else { 1.0 },
            silence_next: 0,
            duck_next: 0,
            duck_gain_next: 1.0,
            room_at_begin: room,
            room,
            sources: self.sources_next,
            sources_next: 0,
            ..*self
        };
    }

    /// Takes what a stream adds; returns what the stream has to remember.
    fn take(&mut self, part: &Part, last: &Own) -> Own {
        self.silence_expected -= u32::from(last.silences).min(self.silence_expected);
        self.duck_expected -= u32::from(last.ducks).min(self.duck_expected);
        let until = u32::try_from(part.until).unwrap_or(u32::MAX).min(self.length);
        let goes_on = until == self.length && until > 0;
        let (mut silences, mut ducks) = (false, false);
        match part.mode {
            InjectMode::Replace => {
                self.silent_until = self.silent_until.max(until);
                silences = goes_on;
            }
            InjectMode::Duck if until > 0 => {
                self.ducked_until = self.ducked_until.max(until);
                self.duck = self.duck.min(part.duck);
                ducks = goes_on;
            }
            InjectMode::Duck | InjectMode::Mix => {}
        }
        self.silence_next += u32::from(silences);
        self.duck_next += u32::from(ducks);
        if ducks {
            self.duck_gain_next = self.duck_gain_next.min(part.duck);
        }
        for (now, before) in [(part.voice, last.voice), (part.tone, last.tone)] {
            self.sources = (self.sources + u32::from(now && !before)).saturating_sub(u32::from(before && !now));
            self.sources_next += u32::from(now);
        }
        Own { pass: self.number, silences, ducks, voice: part.voice, tone: part.tone }
    }

    /// Where the leg's gain changes, and to what: silence up to the first, ducked up to the second.
    fn cover(&self) -> (u32, u32, f32) {
        let silent = if self.silence_expected > 0 { self.length } else { self.silent_until };
        let ducked = if self.duck_expected > 0 { self.length } else { self.ducked_until };
        (silent, ducked.max(silent), if ducked > silent { self.duck } else { 1.0 })
    }

    /// Sets out for the level that the sources known so far need; returns whether one that begins has to swell.
    fn make_room(&mut self, glide: usize, own_clock: bool) -> bool {
        let (silent, ..) = self.cover();
        let leg_stays = !own_clock && silent < self.length && self.base > 0.0;
        let leg_fades = !own_clock && !self.leg_at_begin.stands_at(0.0);
        let sources = self.sources + u32::from(leg_stays);
        let level = if sources > UNSCALED_SOURCES { UNSCALED_SOURCES as f32 / sources as f32 } else { 1.0 };
        self.room = self.room_at_begin;
        let falls = level < self.room.target();
        self.room.toward(level, if falls { glide } else { glide * RECOVERY });
        self.sources + u32::from(leg_stays || leg_fades) > UNSCALED_SOURCES
    }

    fn to_words(self) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        let ramps = [self.leg_at_begin, self.leg_at_end, self.room_at_begin, self.room];
        for (chunk, ramp) in words.chunks_exact_mut(4).zip(ramps) {
            chunk.copy_from_slice(&ramp.to_words());
        }
        let rest = [
            self.number,
            self.last,
            self.length,
            self.lanes,
            u32::from(self.has_copy),
            self.base.to_bits(),
            self.silence_expected,
            self.duck_expected,
            self.silent_until,
            self.ducked_until,
            self.duck.to_bits(),
            self.silence_next,
            self.duck_next,
            self.duck_gain_next.to_bits(),
            self.sources,
            self.sources_next,
            self.closes,
            u32::from(self.aside),
        ];
        for (word, value) in words.iter_mut().skip(16).zip(rest) {
            *word = value;
        }
        words
    }

    fn from_words(words: [u32; WORDS]) -> Self {
        let ramp = |at: usize| Ramp::from_words(std::array::from_fn(|offset| words[at * 4 + offset]));
        Self {
            leg_at_begin: ramp(0),
            leg_at_end: ramp(1),
            room_at_begin: ramp(2),
            room: ramp(3),
            number: words[16],
            last: words[17],
            length: words[18],
            lanes: words[19],
            has_copy: words[20] != 0,
            base: f32::from_bits(words[21]),
            silence_expected: words[22],
            duck_expected: words[23],
            silent_until: words[24],
            ducked_until: words[25],
            duck: f32::from_bits(words[26]),
            silence_next: words[27],
            duck_next: words[28],
            duck_gain_next: f32::from_bits(words[29]),
            sources: words[30],
            sources_next: words[31],
            closes: words[32],
            aside: words[33] != 0,
        }
    }
}

/// The other leg's gain over a frame, as a pass has it.
struct Curve {
    ramp: Ramp,
    at: u32,
    length: u32,
    /// Where the target changes, and what it is up to there.
    targets: [(u32, f32); 3],
    glide: usize,
}

impl Curve {
    fn new(pass: &Pass, glide: usize) -> Self {
        let (silent, ducked, duck) = pass.cover();
        let targets = [(silent, 0.0), (ducked, duck * pass.base), (pass.length, pass.base)];
        Self { ramp: pass.leg_at_begin, at: 0, length: pass.length, targets, glide }
    }

    /// The one gain of the whole frame, if it has only one.
    fn constant(&self) -> Option<f32> {
        let (mut begin, mut only) = (0, None);
        for (until, target) in self.targets {
            if until > begin {
                if only.is_some_and(|known| known != target) {
                    return None;
                }
                (begin, only) = (until, Some(target));
            }
        }
        only.filter(|target| self.ramp.stands_at(*target))
    }

    fn advance(&mut self) -> f32 {
        if let Some((_, target)) = self.targets.iter().find(|(until, _)| self.at < *until) {
            self.ramp.toward(*target, self.glide);
        }
        self.at += 1;
        self.ramp.advance()
    }

    /// Goes to the end of the frame.
    fn run_out(&mut self) {
        while self.at < self.length {
            let Some((until, target)) = self.targets.iter().find(|(until, _)| self.at < *until).copied() else { break };
            self.ramp.toward(target, self.glide);
            self.ramp.skip((until - self.at) as usize);
            self.at = until;
        }
    }
}

/// The first turn: brings the leg, which is all there is in `frame`, to its gain. Returns whether that changes anything.
fn lower(curve: &mut Curve, mut room: Ramp, lanes: usize, frame: &mut [i16]) -> bool {
    if let (Some(gain), true) = (curve.constant(), room.stands()) {
        let gain = gain * room.target();
        if gain == 1.0 {
            return false;
        }
        if gain == 0.0 {
            frame.fill(0);
        } else {
            frame.iter_mut().for_each(|sample| *sample = scaled(*sample, gain));
        }
        return true;
    }
    for instant in frame.chunks_exact_mut(lanes) {
        let gain = curve.advance() * room.advance();
        for sample in instant {
            *sample = scaled(*sample, gain);
        }
    }
    true
}

/// A later turn needs more room than the ones before it had left.
fn rescale(mut before: Ramp, mut after: Ramp, lanes: usize, frame: &mut [i16]) {
    for instant in frame.chunks_exact_mut(lanes) {
        let gain = after.advance() / before.advance().max(f32::MIN_POSITIVE);
        for sample in instant {
            *sample = scaled(*sample, gain);
        }
    }
}

/// A later turn knows better how much of the `leg` is to be heard: adds the difference.
fn correct(before: &mut Curve, after: &mut Curve, mut room: Ramp, lanes: usize, leg: &KeptFrame, frame: &mut [i16]) {
    let mut leg = leg.samples(frame.len());
    for instant in frame.chunks_exact_mut(lanes) {
        let room = room.advance();
        let (before, after) = (before.advance() * room, after.advance() * room);
        for (sample, leg) in instant.iter_mut().zip(leg.by_ref()) {
            let difference = i32::from(scaled(leg, after)) - i32::from(scaled(leg, before));
            *sample = saturated(i32::from(*sample) + difference);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
