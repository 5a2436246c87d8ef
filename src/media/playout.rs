//! Audio on its way to the caller: from the injecting worker to the WRITE_REPLACE callback.
//!
//! Owners: the stream's task has the [`PlayoutWriter`] (worker), the bug's state the [`PlayoutReader`] (media thread),
//! anybody the [`PlayoutShared`]. The ring is mono `i16` at the call's rate and short; the long queue is the worker's. A
//! full ring takes what fits and says how much. While the ring is empty the caller hears the other leg's frame as it is.
//! What is played is added to the frame, after the call's [`MixSlot`] has lowered the other leg; tones are a second source, with
//! a tiny ring of their own.
//!
//! What may change during [`PlayoutReader::render`]: more may be written, and a flush asked for, which is then performed at
//! the next frame. What cannot: nobody else takes samples out, and the samples that were counted stay of one rate.
//!
//! Memory: as in [`capture`](super::capture): the half dropped last frees.

use std::time::Duration;

use crate::dsp::tone::{MOST_DIGITS, ToneGenerator, ToneStep};
use crate::units::SampleRate;

use super::call_mix::{CallMix, InjectMode, MixSlot, Part};
use super::conceal::Conceal;
use super::counters::Counter;
use super::declick::{Declick, GLIDE_MS, MAX_CHANNELS};
use super::flush::{MarkedReader, MarkedWriter, Observed, Watermark, marked};
use super::mixer::{Ramp, amplify};
use super::ring::{RingSize, SampleReader, SampleWriter, sample_ring};
use super::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, CacheLine, Ordering};

/// Starvation that lasts longer is the end of an utterance, not an underrun.
const LONGEST_UNDERRUN_MS: u32 = 500;
/// Tones that may wait: two commands.
pub const MOST_TONES: usize = 2 * MOST_DIGITS;
/// Samples worked on at a time, on the stack; more than the longest glide.
const CHUNK: usize = 512;

/// A ring for `size` samples of mono audio at `rate`. Allocates; not for the media thread.
#[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
pub fn playout_ring(rate: SampleRate, size: impl Into<RingSize>) -> (PlayoutWriter, PlayoutReader, Arc<PlayoutShared>) {
    let (samples_in, samples_out) = sample_ring(size.into());
    let (writer, reader, mark) = marked(samples_in, samples_out, rate.hz());
    let (tones_in, tones_out) = rtrb::RingBuffer::new(MOST_TONES);
    let shared = Arc::new(PlayoutShared {
        mark,
        media: CacheLine(MediaSide::default()),
        wanted: CacheLine(AtomicU64::new(0)),
        paused: AtomicBool::new(false),
        held: AtomicBool::new(false),
        expects_more: AtomicBool::new(false),
        stops: AtomicU64::new(0),
        tones_queued: AtomicU64::new(0),
        tones_void_to: AtomicU64::new(0),
    });
    shared.media.rate_hz.store(rate.hz(), Ordering::Relaxed);
    let writer = PlayoutWriter { ring: writer, rate, tones: tones_in, shared: shared.clone() };
    let reader = PlayoutReader {
        ring: reader,
        shared: shared.clone(),
        slot: CallMix::new().join(),
        voice: Voice::new(),
        tones: Tones {
            steps: tones_out,
            generator: ToneGenerator::default(),
            taken: 0,
            declick: Declick::default(),
            swell: Ramp::at(1.0),
            last: 0,
            on: false,
        },
        gap: None,
        stops: 0,
        clock: PlayedClock { rate_hz: rate.hz(), ..PlayedClock::default() },
        frame_rate_hz: rate.hz(),
    };
    (writer, reader, shared)
}

/// What everybody may know and ask of a playout ring. Never waits; any thread. Positions and counts are in samples of the
/// ring, so of one channel.
#[derive(Debug)]
pub struct PlayoutShared {
    mark: Arc<Watermark>,
    media: CacheLine<MediaSide>,
    wanted: CacheLine<AtomicU64>,
    paused: AtomicBool,
    held: AtomicBool,
    expects_more: AtomicBool,
    /// Times that nobody wrote frames any more.
    stops: AtomicU64,
    /// Tones queued since the beginning; written by the worker, each after the tone is in its ring.
    tones_queued: AtomicU64,
    /// Those below are not to be heard any more.
    tones_void_to: AtomicU64,
}

/// Written by the media thread alone.
#[derive(Debug, Default)]
struct MediaSide {
    rate_hz: AtomicU32,
    played: Counter,
    played_ns: Counter,
    withheld_ns: Counter,
    frames: Counter,
    voiced_frames: Counter,
    starved_frames: Counter,
    underruns: Counter,
    flushes: Counter,
    refused_frames: Counter,
    tones_done: Counter,
}

impl PlayoutShared {
    /// Asks that nothing queued so far be heard; returns the position up to which it is flushed.
    ///
    /// Performed by the media thread before its next frame; the sound glides out in [`GLIDE_MS`]. What is written after the
    /// request is heard. What waits outside the ring (queue, resampler) is the caller's to drop.
    pub fn flush(&self) -> u64 {
        self.mark.flush()
    }

    /// Samples written since the beginning.
    pub fn written(&self) -> u64 {
        self.mark.written()
    }

    /// Samples that have left the ring since the beginning, played or flushed.
    pub fn consumed(&self) -> u64 {
        self.mark.consumed()
    }

    /// Samples flushed without having been heard. With `consumed` at or past a flush's position, exact for that flush.
    pub fn flushed(&self) -> u64 {
        self.mark.discarded()
    }

    /// Samples that the caller was given, whatever their rate. Exact as of [`consumed`](Self::consumed) when read after it.
    pub fn played(&self) -> u64 {
        self.media.played.get()
    }

    /// [`played`](Self::played) as time, each sample at its own rate; exact except for 1 ns at each change of the rate.
    pub fn played_time(&self) -> Duration {
        Duration::from_nanos(self.media.played_ns.get())
    }

    /// How long audio waited because the frames may have been dropped.
    pub fn withheld_time(&self) -> Duration {
        Duration::from_nanos(self.media.withheld_ns.get())
    }

    /// Samples in the ring now, flushed ones included until the media thread has looked.
    pub fn level(&self) -> usize {
        usize::try_from(self.mark.level()).unwrap_or(usize::MAX)
    }

    /// The rate of the call's frames as last seen: the ring's own until a frame of another rate comes.
    ///
    /// When it differs from [`PlayoutWriter::rate`] nothing is played until the writer follows with
    /// [`set_rate`](PlayoutWriter::set_rate).
    pub fn wanted_rate(&self) -> SampleRate {
        // Only rates that are valid are ever stored.
        SampleRate::from_hz(self.media.rate_hz.load(Ordering::Relaxed)).unwrap_or(SampleRate::HZ_8000)
    }

    /// Frames offered by the call.
    pub fn frames(&self) -> u64 {
        self.media.frames.get()
    }

    /// Frames in which the caller heard something of ours.
    pub fn voiced_frames(&self) -> u64 {
        self.media.voiced_frames.get()
    }

    /// Frames, whole or in part without our audio, inside of underruns.
    pub fn starved_frames(&self) -> u64 {
        self.media.starved_frames.get()
    }

    /// Gaps within an utterance: the ring ran dry and was filled again within 500 ms, with no flush in between.
    pub fn underruns(&self) -> u64 {
        self.media.underruns.get()
    }

    /// Flushes performed.
    pub fn flushes(&self) -> u64 {
        self.media.flushes.get()
    }

    /// Frames not touched because of their shape: no channel, more than [`MAX_CHANNELS`], or a rate that no codec has.
    pub fn refused_frames(&self) -> u64 {
        self.media.refused_frames.get()
    }

    /// Whether the writer's task has something to do: the position it [`want`](Self::want)s has been consumed, the call's
    /// rate has changed, or the reader is gone. For the tick of a worker.
    pub fn ready(&self) -> bool {
        self.consumed() >= self.wanted.load(Ordering::Relaxed)
            || self.media.rate_hz.load(Ordering::Relaxed) != self.mark.rate_hz()
            || self.is_closed()
    }

    /// Be [`ready`](Self::ready) once [`consumed`](Self::consumed) has reached `position`. Set by the writer's task; 0 at first.
    pub fn want(&self, position: u64) {
        self.wanted.store(position, Ordering::Relaxed);
    }

    /// Whether the reader is gone: nothing more will be heard, and all counts are final.
    pub fn is_closed(&self) -> bool {
        self.mark.reader_gone()
    }

    /// Stops the voice where it is, or lets it go on from there, for the operator: with the next frame and without a click. Nothing is lost; a
    /// flush works meanwhile. Tones go on.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// The same for the server, whose pause and the operator's do not end each other.
    pub fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    /// Whether the voice is stopped, by either.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire) || self.held.load(Ordering::Acquire)
    }

    /// Nobody writes frames for now, since nothing was left to be played: whatever is played next, it was no underrun until
    /// then. Any thread.
    pub fn frames_stop(&self) {
        self.stops.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether more of the current utterance is on its way, so that a gap is concealed.
    fn expects_more(&self) -> bool {
        self.expects_more.load(Ordering::Relaxed)
    }

    /// Tones that have not been heard to their end.
    pub fn tones_waiting(&self) -> u64 {
        // In this order, or a tone that ends in between could make it negative.
        let done = self.media.tones_done.get();
        self.tones_queued.load(Ordering::Acquire).saturating_sub(done)
    }

    /// Asks that no tone queued so far be heard any more; the one that sounds glides out. Performed with the next frame.
    pub fn stop_tones(&self) {
        self.tones_void_to.fetch_max(self.tones_queued.load(Ordering::Acquire), Ordering::AcqRel);
    }

    /// Whether a frame would take something: for the clock of a channel that nobody writes to.
    pub fn has_audio(&self) -> bool {
        (self.level() > 0 && !self.is_paused()) || self.tones_waiting() > 0
    }
}

/// The worker's half.
#[derive(Debug)]
pub struct PlayoutWriter {
    ring: MarkedWriter<SampleWriter>,
    rate: SampleRate,
    tones: rtrb::Producer<ToneStep>,
    shared: Arc<PlayoutShared>,
}

impl PlayoutWriter {
    /// Queues as many of the first `samples` as fit and returns how many. Wait-free.
    pub fn push(&mut self, samples: &[i16]) -> usize {
        self.ring.push(samples)
    }

    /// Samples that fit now.
    pub fn free(&self) -> usize {
        self.ring.free()
    }

    /// Position of the next sample to be written: [`PlayoutShared::written`], without asking another thread.
    pub fn position(&self) -> u64 {
        self.ring.position()
    }

    /// The rate of what is written now.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Flushes the ring and goes on at `rate`; returns the position at which the new rate begins.
    ///
    /// What had been queued and not heard is to be sent again at the new rate: its length is how much
    /// [`PlayoutShared::flushed`] has grown once [`PlayoutShared::consumed`] has reached the returned position. While frames
    /// of another rate come, the media thread plays nothing, so `written − consumed` before the call gives the same.
    pub fn set_rate(&mut self, rate: SampleRate) -> u64 {
        self.rate = rate;
        self.ring.set_rate(rate.hz())
    }

    /// Whether the reader is gone.
    pub fn is_closed(&self) -> bool {
        self.ring.mark().reader_gone()
    }

    /// Says whether more of the current utterance is on its way: then a gap of up to 60 ms is concealed instead of ending in
    /// silence. False at first.
    pub fn expect_more(&self, more: bool) {
        self.shared.expects_more.store(more, Ordering::Relaxed);
    }

    /// Queues tones, all or none; whether there was room.
    pub fn push_tones(&mut self, steps: &[ToneStep]) -> bool {
        let fits = steps.len() <= self.tones.slots();
        if fits {
            for step in steps {
                // There is room: nobody else pushes.
                let _ = self.tones.push(*step);
            }
            self.shared.tones_queued.fetch_add(steps.len() as u64, Ordering::Release);
        }
        fits
    }
}

/// What [`PlayoutReader::render`] did to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rendered {
    /// Samples of ours that each channel of the frame was given.
    pub played: usize,
    /// The frame is not what it was: it has to be handed back to FreeSWITCH.
    pub changed: bool,
}

/// How a frame is to be rendered: read from the stream's controls with every frame.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Voicing {
    /// What our audio does to the other leg.
    pub mode: InjectMode,
    /// Factor on our audio.
    pub level: f32,
    /// Factor on the other leg while we speak in the mode `duck`.
    pub duck: f32,
    /// The frame is the module's own clock's, so that the other leg says nothing in it.
    pub own_clock: bool,
    /// The frame may be dropped: voice and tones wait.
    pub withheld: bool,
}

impl Voicing {
    /// In `mode`, at the level it has.
    pub const fn plain(mode: InjectMode) -> Self {
        Self { mode, level: 1.0, duck: 0.25, own_clock: false, withheld: false }
    }
}

/// The media thread's half.
#[derive(Debug)]
pub struct PlayoutReader {
    ring: MarkedReader<SampleReader>,
    shared: Arc<PlayoutShared>,
    slot: MixSlot,
    voice: Voice,
    tones: Tones,
    gap: Option<Gap>,
    /// Of [`PlayoutShared::frames_stop`].
    stops: u64,
    clock: PlayedClock,
    frame_rate_hz: u32,
}

/// Frames without audio of ours since the ring ran dry in the middle of an utterance.
#[derive(Clone, Copy, Debug)]
struct Gap {
    frames: u64,
    samples: u64,
}

impl PlayoutReader {
    /// Takes its turns beside the other streams of a call from now on. Not for the media thread: frees the place it had.
    pub fn attach(&mut self, slot: MixSlot) {
        self.slot = slot;
    }

    /// [`render_with`](Self::render_with) at the levels as they are.
    pub fn render(&mut self, rate_hz: u32, channels: u16, frame: &mut [i16], mode: InjectMode) -> Rendered {
        self.render_with(rate_hz, channels, frame, &Voicing::plain(mode))
    }

    /// Turns `frame`, interleaved over `channels` at `rate_hz`, from what the other leg and the streams before this one
    /// say into what the caller hears.
    ///
    /// Performs a requested flush, then plays what the ring holds, up to a whole frame; what is missing is concealed
    /// for 60 ms where more is [expected](PlayoutWriter::expect_more), and the other leg's again. Every join glides
    /// over [`GLIDE_MS`]. A frame of another rate than the ring's consumes nothing and makes it
    /// [`wanted_rate`](PlayoutShared::wanted_rate). Real-time safe: under 1 µs for 160 samples (some 4 µs where a
    /// gap begins), no wait, no allocation.
    pub fn render_with(&mut self, rate_hz: u32, channels: u16, frame: &mut [i16], how: &Voicing) -> Rendered {
        self.render_heard(rate_hz, channels, frame, how, |_| {})
    }

    /// [`render_with`](Self::render_with); `heard` sees the frame with all that is mixed so far, before it is put aside for the turn of
    /// the next stream.
    pub fn render_heard(
        &mut self,
        rate_hz: u32,
        channels: u16,
        frame: &mut [i16],
        how: &Voicing,
        heard: impl FnOnce(&[i16]),
    ) -> Rendered {
        let lanes = usize::from(channels);
        // Before the flush is looked for: who flushes and then lets playback go on has nothing of what is flushed heard.
        let paused = self.shared.is_paused() || how.withheld;
        let seen = self.ring.observe();
        self.voice.cut |= seen.discarded > 0;
        let rendered = if (1..=MAX_CHANNELS).contains(&lanes) && self.follow(rate_hz) {
            let whole = frame.len() / lanes * lanes;
            let frame = frame.get_mut(..whole).unwrap_or_default();
            let layout = Layout { rate_hz, lanes, glide: (rate_hz * GLIDE_MS / 1_000) as usize };
            self.fill(&seen, layout, frame, (how, paused), heard)
        } else {
            self.shared.media.refused_frames.add(1);
            Rendered::default()
        };
        let media = &self.shared.media;
        media.frames.add(1);
        if seen.flushed {
            media.flushes.add(1);
        }
        if rendered.played > 0 {
            self.clock.add(rendered.played as u64);
            media.voiced_frames.add(1);
            media.played.add(rendered.played as u64);
            media.played_ns.set(self.clock.ns());
        }
        // Last: a thread that sees the new position sees these counts.
        self.ring.publish();
        rendered
    }

    /// Stands in for [`render_with`](Self::render_with) where the caller is sent nothing of the frame: what waits goes on waiting, a
    /// flush that was asked for is performed, and the gap is no underrun. Real-time safe.
    pub fn wait(&mut self) {
        let seen = self.ring.observe();
        self.voice.cut |= seen.discarded > 0;
        self.gap = None;
        if seen.flushed {
            self.shared.media.flushes.add(1);
        }
        self.ring.publish();
    }

    /// Stands in for [`render_with`](Self::render_with) once the stream leaves: nothing is played, and what newer streams have mixed goes
    /// on to the caller. Whether the frame has changed. Real-time safe.
    pub fn pass_on(&self, channels: u16, frame: &mut [i16]) -> bool {
        let lanes = usize::from(channels);
        let whole = frame.len() / lanes.max(1) * lanes;
        (1..=MAX_CHANNELS).contains(&lanes) && self.slot.pass_on(frame.get_mut(..whole).unwrap_or_default(), lanes)
    }

    /// Whether a voice is heard in the next frame, as far as can be told before it comes. Real-time safe.
    pub fn speaks(&self) -> bool {
        self.voice.is_on() || (self.shared.level() > 0 && !self.shared.is_paused())
    }

    /// Lets the writer know the frames' rate; false where it is no rate at all.
    fn follow(&mut self, rate_hz: u32) -> bool {
        if rate_hz == self.frame_rate_hz {
            return true;
        }
        let known = SampleRate::from_hz(rate_hz).is_some();
        if known {
            self.frame_rate_hz = rate_hz;
            self.shared.media.rate_hz.store(rate_hz, Ordering::Relaxed);
        }
        known
    }

    fn fill(
        &mut self,
        seen: &Observed,
        layout: Layout,
        frame: &mut [i16],
        (how, paused): (&Voicing, bool),
        heard: impl FnOnce(&[i16]),
    ) -> Rendered {
        let Layout { rate_hz, lanes, glide } = layout;
        let wanted = frame.len() / lanes;
        if how.withheld && seen.available > 0 {
            self.shared.media.withheld_ns.add(wanted as u64 * 1_000_000_000 / u64::from(rate_hz));
        }
        let playable = seen.rate_hz == Some(rate_hz) && !paused;
        let played = if playable { seen.available.min(wanted) } else { 0 };
        if paused {
            self.gap = None;
        } else {
            self.account(seen, rate_hz, played, wanted);
        }
        if wanted == 0 {
            return Rendered::default();
        }
        let may_conceal = playable && !seen.flushed && self.shared.expects_more();
        let plan = self.voice.plan(rate_hz, played, wanted, may_conceal);
        let tone_is_heard = !how.withheld && self.tones.look(&self.shared, layout);
        let part = Part {
            mode: how.mode,
            duck: how.duck,
            until: plan.played + plan.made,
            // What is silent needs no room.
            voice: plan.played + plan.made > 0 && how.level > 0.0,
            tone: self.tones.on && !how.withheld,
            own_clock: how.own_clock,
        };
        let turn = self.slot.turn(frame, lanes, glide, &part);
        if played > 0 {
            self.clock.set_rate(rate_hz);
        }
        let out = Out { frame: &mut *frame, lanes, at: 0, room: turn.room };
        let voiced = self.voice.sound(&mut self.ring, layout, plan, out, (how.level, turn.voice_swells));
        if tone_is_heard {
            let out = Out { frame: &mut *frame, lanes, at: 0, room: turn.room };
            self.tones.sound(&self.shared, layout, out, turn.tone_swells);
        }
        heard(frame);
        if turn.puts_back {
            self.slot.put_back(frame);
        }
        let changed = turn.changed || voiced || tone_is_heard;
        Rendered { played, changed }
    }

    /// Counts a gap once it has turned out to be an underrun: when audio follows within 500 ms of frames and no flush asked for
    /// it.
    fn account(&mut self, seen: &Observed, rate_hz: u32, played: usize, wanted: usize) {
        let was_playing = self.voice.sounding == Sounding::Ring;
        let stops = self.shared.stops.load(Ordering::Relaxed);
        if seen.flushed || stops != self.stops {
            self.stops = stops;
            self.gap = None;
        }
        if played > 0
            && let Some(gap) = self.gap.take()
        {
            self.shared.media.underruns.add(1);
            self.shared.media.starved_frames.add(gap.frames);
        }
        if played == wanted {
            return;
        }
        let runs_dry = played > 0 || (was_playing && !seen.flushed);
        let missing = (wanted - played) as u64;
        let gap = match self.gap {
            Some(gap) => Gap { frames: gap.frames + 1, samples: gap.samples + missing },
            None if runs_dry => Gap { frames: 1, samples: missing },
            None => return,
        };
        let longest = u64::from(rate_hz) * u64::from(LONGEST_UNDERRUN_MS) / 1_000;
        self.gap = (gap.samples <= longest).then_some(gap);
    }
}

/// The shape of the current frame.
#[derive(Clone, Copy, Debug)]
struct Layout {
    rate_hz: u32,
    lanes: usize,
    /// Samples of each channel that a glide takes.
    glide: usize,
}

/// What one source adds to a frame, from its first sample on.
#[derive(Debug)]
struct Out<'a> {
    frame: &'a mut [i16],
    lanes: usize,
    /// Instants done.
    at: usize,
    room: Ramp,
}

impl Out<'_> {
    /// Adds mono `samples` to every channel, glide and `gains` applied. `samples` are spent.
    fn add(&mut self, samples: &mut [i16], declick: &mut Declick, gains: [&mut Ramp; 2]) {
        declick.apply(1, samples);
        for gain in gains {
            amplify(gain, 1, samples);
        }
        amplify(&mut self.room, 1, samples);
        let (begin, end) = (self.at * self.lanes, (self.at + samples.len()) * self.lanes);
        let frame = self.frame.get_mut(begin..end).unwrap_or_default();
        if self.lanes == 1 {
            for (out, sample) in frame.iter_mut().zip(&*samples) {
                *out = out.saturating_add(*sample);
            }
        } else {
            for (out, sample) in frame.chunks_exact_mut(self.lanes).zip(&*samples) {
                for out in out {
                    *out = out.saturating_add(*sample);
                }
            }
        }
        self.at += samples.len();
    }

    /// Instants still to come.
    fn left(&self) -> usize {
        self.frame.len() / self.lanes - self.at
    }
}

/// Where the voice's sound comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Sounding {
    #[default]
    Nothing,
    Ring,
    /// A gap is being concealed.
    MadeUp,
}

/// What the voice will do in the current frame, in samples.
#[derive(Clone, Copy, Debug)]
struct VoicePlan {
    played: usize,
    /// Made up to conceal a gap, after what is played.
    made: usize,
    /// A gap may follow that is to be concealed.
    remember: bool,
}

/// The voice that the caller is hearing, and how it goes over into something else.
#[derive(Debug)]
struct Voice {
    sounding: Sounding,
    /// A flush has taken audio from between what was played last and what comes next.
    cut: bool,
    declick: Declick,
    conceal: Conceal,
    level: Ramp,
    swell: Ramp,
    /// Our last sample, without glide and gains; 0 when nothing sounds.
    last: i16,
}

impl Voice {
    fn new() -> Self {
        Self {
            sounding: Sounding::Nothing,
            cut: false,
            declick: Declick::default(),
            conceal: Conceal::default(),
            level: Ramp::at(1.0),
            swell: Ramp::at(1.0),
            last: 0,
        }
    }

    /// Whether the frame before ended in the middle of something.
    fn is_on(&self) -> bool {
        self.sounding != Sounding::Nothing
    }

    fn plan(&self, rate_hz: u32, played: usize, wanted: usize, may_conceal: bool) -> VoicePlan {
        let goes_on = !self.cut && may_conceal;
        let made = if played == wanted || !goes_on {
            0
        } else if played == 0 && self.sounding == Sounding::MadeUp {
            self.conceal.left().min(wanted)
        } else if played > 0 || self.sounding == Sounding::Ring {
            self.conceal.would_make(rate_hz, played).min(wanted - played)
        } else {
            0
        };
        VoicePlan { played, made, remember: may_conceal }
    }

    /// Adds what `plan` says to the frame; returns whether there was anything to add.
    fn sound(
        &mut self,
        ring: &mut MarkedReader<SampleReader>,
        layout: Layout,
        plan: VoicePlan,
        mut out: Out<'_>,
        levels: (f32, bool),
    ) -> bool {
        let (level, swells) = levels;
        if self.is_on() {
            self.level.toward(level, layout.glide);
        } else if plan.played > 0 {
            // Nobody hears the level of silence change.
            self.level = Ramp::at(level);
            self.swell = Ramp::at(if swells { 0.0 } else { 1.0 });
            self.swell.toward(1.0, 2 * layout.glide);
        }
        let mut scratch = [0; CHUNK];
        while out.at < plan.played {
            let samples = take(&mut scratch, plan.played - out.at);
            let mut at = 0;
            ring.read(samples.len(), |part| {
                if let Some(room) = samples.get_mut(at..at + part.len()) {
                    room.copy_from_slice(part);
                }
                at += part.len();
            });
            if self.cut || !self.is_on() {
                self.join(samples, layout);
                self.conceal.forget();
                self.sounding = Sounding::Ring;
            }
            if plan.remember {
                self.conceal.remember(layout.rate_hz, samples);
            }
            if self.sounding == Sounding::MadeUp {
                self.return_to(samples, layout);
            }
            self.last = samples.last().copied().unwrap_or(0);
            (self.sounding, self.cut) = (Sounding::Ring, false);
            self.add(samples, &mut out);
        }
        let made_until = plan.played + plan.made;
        while out.at < made_until {
            let samples = take(&mut scratch, made_until - out.at);
            let begins = self.sounding == Sounding::Ring;
            if begins && !self.conceal.start() {
                break;
            }
            self.conceal.fill(samples);
            if begins {
                self.join(samples, layout);
            }
            self.last = samples.last().copied().unwrap_or(0);
            self.sounding = Sounding::MadeUp;
            self.add(samples, &mut out);
        }
        if out.left() > 0 && self.is_on() {
            self.join(&[0], layout);
            self.conceal.stop();
            (self.sounding, self.last) = (Sounding::Nothing, 0);
        }
        self.cut = false;
        while out.left() > 0 && self.declick.is_active() {
            let samples = take(&mut scratch, out.left());
            samples.fill(0);
            self.add(samples, &mut out);
        }
        out.at > 0
    }

    fn add(&mut self, samples: &mut [i16], out: &mut Out<'_>) {
        out.add(samples, &mut self.declick, [&mut self.level, &mut self.swell]);
    }

    /// Starts the glide from what was heard last to `next`.
    fn join(&mut self, next: &[i16], layout: Layout) {
        glide_to(&mut self.declick, self.last, next.first().copied().unwrap_or(0), layout.glide);
    }

    /// The ring goes on where audio was being made up: fades from the one to the other.
    fn return_to(&mut self, samples: &mut [i16], layout: Layout) {
        let mut made = [0; CHUNK];
        let length = samples.len().min(layout.glide).min(CHUNK);
        let made = made.get_mut(..length).unwrap_or_default();
        self.conceal.fill(made);
        self.conceal.stop();
        for (at, (sample, made)) in samples.iter_mut().zip(&*made).enumerate() {
            let weight = at as f32 / length.max(1) as f32;
            *sample = (f32::from(*made) + weight * (f32::from(*sample) - f32::from(*made))) as i16;
        }
    }
}

/// The tones of a stream: a second source beside its voice, which neither covers the other leg nor is flushed with the voice.
#[derive(Debug)]
struct Tones {
    steps: rtrb::Consumer<ToneStep>,
    generator: ToneGenerator,
    /// Steps taken out of the ring.
    taken: u64,
    declick: Declick,
    swell: Ramp,
    /// The last sample, without glide and gains.
    last: i16,
    on: bool,
}

impl Tones {
    /// Stops what was asked to be stopped; returns whether a tone or its silence is heard in the current frame.
    fn look(&mut self, shared: &PlayoutShared, layout: Layout) -> bool {
        let void_to = shared.tones_void_to.load(Ordering::Acquire);
        if self.generator.is_active() && self.taken <= void_to {
            self.generator.stop();
        }
        while self.taken < void_to && self.steps.pop().is_ok() {
            self.taken += 1;
        }
        let goes_on = self.generator.is_active();
        if !goes_on && self.last != 0 {
            glide_to(&mut self.declick, self.last, 0, layout.glide);
            self.last = 0;
        }
        self.on = goes_on || !self.steps.is_empty();
        self.publish(shared);
        self.on || self.declick.is_active()
    }

    fn sound(&mut self, shared: &PlayoutShared, layout: Layout, mut out: Out<'_>, swells: bool) {
        if swells {
            self.swell = Ramp::at(0.0);
        }
        self.swell.toward(1.0, 2 * layout.glide);
        let mut scratch = [0; CHUNK];
        while out.left() > 0 {
            let samples = take(&mut scratch, out.left());
            samples.fill(0);
            let Self { steps, generator, taken, .. } = self;
            let count = generator.fill(layout.rate_hz, samples, || {
                let step = steps.pop().ok();
                *taken += u64::from(step.is_some());
                step
            });
            self.last = count.checked_sub(1).and_then(|last| samples.get(last)).copied().unwrap_or(0);
            if count == 0 && !self.declick.is_active() {
                break;
            }
            out.add(samples, &mut self.declick, [&mut self.swell, &mut Ramp::at(1.0)]);
        }
        self.publish(shared);
    }

    /// Steps that are done, so that others know whether any are left.
    fn publish(&self, shared: &PlayoutShared) {
        let done = self.taken - u64::from(self.generator.is_active() && self.taken > 0);
        shared.media.tones_done.set(done);
    }
}

/// Starts the glide from `last` (and what was left of a glide) to `next`.
fn glide_to(declick: &mut Declick, last: i16, next: i16, length: usize) {
    let mut jumps = [0; MAX_CHANNELS];
    jumps[0] = i32::from(last) + declick.residual(0) - i32::from(next);
    declick.start(length, &jumps);
}

/// At most `count` samples of `scratch`.
fn take(scratch: &mut [i16; CHUNK], count: usize) -> &mut [i16] {
    scratch.get_mut(..count.min(CHUNK)).unwrap_or_default()
}

/// Samples played as time, without adding up what each frame rounds off.
#[derive(Debug, Default)]
struct PlayedClock {
    rate_hz: u32,
    samples: u64,
    before_ns: u64,
}

impl PlayedClock {
    fn set_rate(&mut self, rate_hz: u32) {
        if rate_hz != self.rate_hz {
            (self.before_ns, self.samples, self.rate_hz) = (self.ns(), 0, rate_hz);
        }
    }

    fn add(&mut self, samples: u64) {
        self.samples += samples;
    }

    fn ns(&self) -> u64 {
        let rate = u64::from(self.rate_hz.max(1));
        // In two parts, or a call of weeks would overflow.
        self.before_ns + self.samples / rate * 1_000_000_000 + self.samples % rate * 1_000_000_000 / rate
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
