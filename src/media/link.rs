//! What one stream's media bug and its task share beside the two rings: switches, gains, the writer's pulse, and how long the callbacks take.
//!
//! The bug owns a [`ReadHalf`] and a [`WriteHalf`], each used by one callback at a time (the two callbacks overlap); the task and
//! the API threads have the [`MediaLink`]. Nothing here waits or allocates.

use super::call_mix::CallMix;
use super::call_mix::InjectMode;
use super::capture::{CaptureFormat, CaptureShared, CaptureWriter, Gained};
use super::counters::{Counter, LatencyHistogram};
use super::dtmf::{DtmfCursor, DtmfQueue, DtmfRing};
use super::mask::Withheld;
use super::mixer::MixerControls;
use super::playout::{PlayoutReader, PlayoutShared, Rendered, Voicing};
use super::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::dsp::gain::Gain;
use crate::units::SampleRate;

/// Sounds that a stream may have beside its voice: one that goes on, and one while the agent thinks.
pub const MOST_BACKGROUNDS: usize = 2;

/// What one stream's media bug and the rest of the module share.
#[derive(Debug)]
pub struct MediaLink {
    /// The capture ring's positions and counters.
    pub capture: Arc<CaptureShared>,
    /// The playout ring's positions and counters.
    pub playout: Arc<PlayoutShared>,
    /// Durations of the READ and WRITE_REPLACE callbacks.
    pub latency: LatencyHistogram,
    /// The stream's gains.
    pub mixer: MixerControls,
    /// Keys the caller has pressed.
    pub dtmf: DtmfQueue,
    call: std::sync::Arc<CallMix>,
    backgrounds: [Option<Arc<PlayoutShared>>; MOST_BACKGROUNDS],
    paused: AtomicBool,
    masked: AtomicBool,
    leaving: AtomicBool,
    panics: AtomicU64,
    foreign_writes: Counter,
    not_sent: Counter,
    beat: Beat,
}

/// Counts what the callbacks do, in a cache line of its own: a worker's tick, which looks at hundreds of streams every few ms, reads
/// this one alone of the streams whose callbacks have done nothing since.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Beat {
    /// By the READ callback.
    read: Counter,
    /// By the WRITE_REPLACE callback.
    written: Counter,
}

impl MediaLink {
    /// A link over the two rings' shared halves, for a stream that is alone on its call.
    pub fn new(capture: Arc<CaptureShared>, playout: Arc<PlayoutShared>) -> Self {
        Self::in_call(capture, playout, CallMix::new())
    }

    /// A link over the two rings' shared halves, for a stream beside others on `call`.
    pub fn in_call(capture: Arc<CaptureShared>, playout: Arc<PlayoutShared>, call: std::sync::Arc<CallMix>) -> Self {
        Self {
            capture,
            playout,
            latency: LatencyHistogram::default(),
            mixer: MixerControls::default(),
            dtmf: DtmfQueue::default(),
            call,
            backgrounds: Default::default(),
            paused: AtomicBool::new(false),
            masked: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            foreign_writes: Counter::default(),
            not_sent: Counter::default(),
            beat: Beat::default(),
        }
    }

    /// With these sounds beside the voice.
    #[must_use]
    pub fn with_backgrounds(mut self, backgrounds: [Option<Arc<PlayoutShared>>; MOST_BACKGROUNDS]) -> Self {
        self.backgrounds = backgrounds;
        self
    }

    /// Whether the task has something to do for the playback: of the voice or of a sound beside it. For the tick of a worker.
    pub fn wants_playback(&self) -> bool {
        self.playout.ready() || self.backgrounds.iter().flatten().any(|sound| sound.ready())
    }

    /// Differs from what it was if a callback has read, played or taken keys since. Any thread. A reader that sees the new value finds
    /// rings and keys as they were then, or newer.
    pub fn beat(&self) -> u64 {
        self.beat.read.observed().wrapping_add(self.beat.written.observed())
    }

    /// What the stream shares with the others of its call: the other leg's gain.
    pub fn call(&self) -> &std::sync::Arc<CallMix> {
        &self.call
    }

    /// Stops or continues capture with the next frame. Any thread.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// Whether capture is stopped.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Whether a leg of the last captured frame was withheld by the call's [`Mask`](super::Mask).
    pub fn is_masked(&self) -> bool {
        self.masked.load(Ordering::Relaxed)
    }

    /// Makes the callbacks capture and play nothing from now on, until the bug is taken off the call. Any thread; for streams that end by
    /// themselves.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether the stream has done with the call.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A callback panicked, or the firing of an event: the stream ends, the call goes on.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        self.leave();
    }

    /// Callbacks and events that panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Frames written to the channel by somebody other than the module's playout clock. While it grows, the clock keeps away.
    pub fn foreign_writes(&self) -> u64 {
        self.foreign_writes.get()
    }

    /// Frames written to the channel of which the caller is sent nothing, so that playback waits.
    pub fn not_sent(&self) -> u64 {
        self.not_sent.get()
    }
}

/// The READ callback's half.
#[derive(Debug)]
pub struct ReadHalf {
    capture: CaptureWriter,
    link: Arc<MediaLink>,
    gained: Gained,
    withheld: Withheld,
}

impl ReadHalf {
    /// Takes the capture ring's writing end. All lanes are taken for the caller's.
    pub fn new(capture: CaptureWriter, link: Arc<MediaLink>) -> Self {
        Self { capture, link, gained: Gained::every_lane(), withheld: Withheld::default() }
    }

    /// Of two legs captured side by side, only the caller's gets the caller's gain: every other lane, from the first on.
    #[must_use]
    pub fn with_both_legs(mut self) -> Self {
        self.gained = Gained::every_other_lane();
        self
    }

    /// Which legs are withheld from the next frames on.
    pub fn withhold(&mut self, withheld: Withheld) {
        self.withheld = withheld;
        let masked = withheld.caller || withheld.other;
        // Its cache line is the other callback's as well: written only where it changes.
        if self.link.is_masked() != masked {
            self.link.masked.store(masked, Ordering::Relaxed);
        }
    }

    /// One frame from the call. Real-time safe: a copy into the ring; a full ring drops the frame and counts it.
    pub fn frame(&mut self, format: CaptureFormat, samples: &[i16]) {
        if self.link.is_paused() {
            self.capture.pass_over();
        } else {
            if self.withheld.caller {
                // At once: a glide would let the beginning through.
                self.gained.silence();
            } else {
                self.gained.set_level(self.link.mixer.caller_level(), format);
            }
            self.gained.silence_others(self.withheld.other);
            self.capture.push_gained(format, samples, &mut self.gained);
        }
        self.link.beat.read.publish(1);
    }

    /// The keys that have come into the call's ring since, except those pressed during a pause: what is not to be heard is
    /// not to be read either. Real-time safe: one load where there is none.
    pub fn take_dtmf(&mut self, ring: &DtmfRing, cursor: &mut DtmfCursor) {
        while let Some(key) = cursor.next(ring) {
            if !self.link.is_paused() {
                self.link.dtmf.push(key);
                self.link.beat.read.publish(1);
            }
        }
    }
}

/// A sound beside the voice of a stream: mixed into what the caller hears, whatever the mode of the voice.
#[derive(Debug)]
pub struct Background {
    playout: PlayoutReader,
    level: f32,
    under_voice: f32,
}

impl Background {
    /// At `gain`, and at `under_voice` of that while the voice is heard: 0 for not at all.
    pub const fn new(playout: PlayoutReader, gain: Gain, under_voice: f32) -> Self {
        Self { playout, level: gain.linear(), under_voice }
    }
}

/// The sounds of a stream; most streams have none, and need no room for them.
#[expect(clippy::disallowed_types, reason = "made before the media thread has them, freed after it")]
pub type Backgrounds = [Option<Box<Background>>; MOST_BACKGROUNDS];

/// The WRITE_REPLACE callback's half. Dropping it takes the stream out of the call's mix.
#[derive(Debug)]
pub struct WriteHalf {
    playout: PlayoutReader,
    backgrounds: Backgrounds,
    mode: InjectMode,
    link: Arc<MediaLink>,
    withheld: bool,
    /// Takes what the caller hears, where somebody wants to know.
    reference: Option<CaptureWriter>,
}

impl WriteHalf {
    /// Takes the playout ring's reading end, and a place in the call's mix: between this and the adding of the bug no other
    /// stream may join the call; see [`CallMix::join`].
    pub fn new(mut playout: PlayoutReader, mode: InjectMode, link: Arc<MediaLink>) -> Self {
        playout.attach(link.call.join());
        Self { playout, backgrounds: Default::default(), mode, link, withheld: false, reference: None }
    }

    /// With these sounds, which take places in the call's mix behind the voice's: before the bug is added, as in [`new`](Self::new).
    #[must_use]
    pub fn with_backgrounds(mut self, backgrounds: Backgrounds) -> Self {
        self.backgrounds = backgrounds;
        for sound in self.backgrounds.iter_mut().flatten() {
            sound.playout.attach(self.link.call.join());
        }
        self
    }

    /// Copies each frame, as the caller hears it of this stream, its sounds and the call, into this ring as well; what older streams
    /// of the call add is not in it. What does not fit is dropped.
    #[must_use]
    pub fn with_reference(mut self, reference: CaptureWriter) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Whether FreeSWITCH may drop what the next frames have, so that playback waits.
    pub fn withhold(&mut self, withheld: bool) {
        self.withheld = withheld;
    }

    /// One frame on its way to the caller, changed in place; `own_clock` says that the module's playout clock wrote it.
    /// Real-time safe: under 1 µs for 160 samples.
    pub fn frame(&mut self, rate_hz: u32, channels: u16, frame: &mut [i16], own_clock: bool) -> Rendered {
        if !own_clock {
            self.link.foreign_writes.add(1);
        }
        let mixer = &self.link.mixer;
        let how = Voicing {
            mode: self.mode,
            level: mixer.agent.level(),
            duck: mixer.duck(),
            own_clock,
            withheld: self.withheld,
        };
        let (speaks, mut changed) = (self.playout.speaks(), false);
        // The last place in the mix has the first turn.
        for sound in self.backgrounds.iter_mut().rev().flatten() {
            let level = how.level * sound.level * if speaks { sound.under_voice } else { 1.0 };
            let how = Voicing { mode: InjectMode::Mix, level, ..how };
            changed |= sound.playout.render_with(rate_hz, channels, frame, &how).changed;
        }
        let reference = &mut self.reference;
        let rendered = self.playout.render_heard(rate_hz, channels, frame, &how, |heard| {
            if let (Some(reference), Some(rate), Ok(channels)) =
                (reference, SampleRate::from_hz(rate_hz), u8::try_from(channels))
            {
                reference.push(CaptureFormat { rate, channels }, heard);
            }
        });
        self.link.beat.written.publish(1);
        Rendered { changed: rendered.changed || changed, ..rendered }
    }

    /// One frame on its way to the caller after the stream has begun to leave: nothing is added, and the voices of newer streams, which
    /// may wait for this one's turn, go on. Real-time safe.
    pub fn pass_on(&self, channels: u16, frame: &mut [i16]) {
        // The voice has the last turn of the stream.
        self.playout.pass_on(channels, frame);
    }

    /// One frame that FreeSWITCH will not send: playback waits where it is. Real-time safe.
    pub fn frame_not_sent(&mut self, own_clock: bool) {
        if !own_clock {
            self.link.foreign_writes.add(1);
        }
        self.link.not_sent.add(1);
        self.playout.wait();
        for sound in self.backgrounds.iter_mut().flatten() {
            sound.playout.wait();
        }
        self.link.beat.written.publish(1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::capture::capture_ring;
    use super::super::playout::playout_ring;
    use super::*;
    use crate::units::SampleRate;

    /// A leg masked from the first sample on, as the reader gets it; with both legs the other one goes on.
    #[test]
    fn a_mask_is_silence_of_its_leg_from_its_first_sample_on() {
        let (caller, other) = (Withheld { caller: true, other: false }, Withheld { caller: false, other: true });
        let both = Withheld { caller: true, other: true };
        for (channels, withheld, masked) in
            [(1, caller, [0, 0, 0, 0]), (2, caller, [0, 2, 0, 2]), (2, other, [1, 0, 1, 0]), (2, both, [0, 0, 0, 0])]
        {
            let (writer, mut reader, capture) = capture_ring(1_600);
            let (_playback, _playout, playout) = playout_ring(SampleRate::HZ_8000, 960);
            let half = ReadHalf::new(writer, Arc::new(MediaLink::new(capture, playout)));
            let mut half = if channels == 2 { half.with_both_legs() } else { half };
            let format = CaptureFormat { rate: SampleRate::HZ_8000, channels };
            let frame = [1, 2, 1, 2];
            let mut read = |half: &mut ReadHalf| {
                half.frame(format, &frame);
                let mut got = Vec::new();
                reader.read_with(usize::MAX, |_, samples| got.extend_from_slice(samples));
                got
            };
            assert_eq!(read(&mut half), frame);
            half.withhold(withheld);
            assert_eq!((read(&mut half), read(&mut half)), (masked.to_vec(), masked.to_vec()), "{channels} channels");
            assert!(half.link.is_masked());
            half.withhold(Withheld::default());
            assert!(!half.link.is_masked());
            // Back within a glide of 5 ms.
            let mut last = Vec::new();
            for _ in 0..20 {
                last = read(&mut half);
            }
            assert_eq!(last, frame);
        }
    }
}
