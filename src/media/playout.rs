//! Audio on its way to the caller: from the injecting worker to the WRITE_REPLACE callback.
//!
//! Owners: the stream's task has the [`PlayoutWriter`] (worker), the bug's state the [`PlayoutReader`] (media thread),
//! anybody the [`PlayoutShared`]. The ring is mono `i16` at the call's rate and short; the long queue is the worker's. A
//! full ring takes what fits and says how much. While the ring is empty the caller hears the other leg's frame as it is.
//!
//! What may change during [`PlayoutReader::render`]: more may be written, and a flush asked for, which is then performed at
//! the next frame. What cannot: nobody else takes samples out, and the samples that were counted stay of one rate.
//!
//! Memory: as in [`capture`](super::capture): the half dropped last frees.

use std::time::Duration;

use crate::units::SampleRate;

use super::counters::Counter;
use super::declick::{Declick, GLIDE_MS, MAX_CHANNELS};
use super::flush::{MarkedReader, MarkedWriter, Observed, Watermark, marked};
use super::sync::{Arc, AtomicU32, AtomicU64, CacheLine, Ordering};

/// Starvation that lasts longer is the end of an utterance, not an underrun.
const LONGEST_UNDERRUN_MS: u32 = 500;

/// What our audio does to the frame that the other leg wrote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum InjectMode {
    /// While there is audio of ours the caller hears it alone.
    #[default]
    Replace,
    /// The caller hears both; the sum saturates.
    Mix,
}

/// A ring for `capacity_samples` samples of mono audio at `rate`. Allocates; not for the media thread.
#[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
pub fn playout_ring(rate: SampleRate, capacity_samples: usize) -> (PlayoutWriter, PlayoutReader, Arc<PlayoutShared>) {
    let (samples_in, samples_out) = rtrb::RingBuffer::new(capacity_samples);
    let (writer, reader, mark) = marked(samples_in, samples_out, rate.hz());
    let shared =
        Arc::new(PlayoutShared { mark, media: CacheLine(MediaSide::default()), wanted: CacheLine(AtomicU64::new(0)) });
    shared.media.rate_hz.store(rate.hz(), Ordering::Relaxed);
    let writer = PlayoutWriter { ring: writer, rate };
    let reader = PlayoutReader {
        ring: reader,
        shared: shared.clone(),
        voice: Voice::default(),
        gap: None,
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
}

/// Written by the media thread alone.
#[derive(Debug, Default)]
struct MediaSide {
    rate_hz: AtomicU32,
    played: Counter,
    played_ns: Counter,
    frames: Counter,
    voiced_frames: Counter,
    starved_frames: Counter,
    underruns: Counter,
    flushes: Counter,
    refused_frames: Counter,
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

    /// [`played`](Self::played) as time, each sample at its own rate; exact but for 1 ns at each change of the rate.
    pub fn played_time(&self) -> Duration {
        Duration::from_nanos(self.media.played_ns.get())
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

    /// Frames left alone because of their shape: no channel, more than [`MAX_CHANNELS`], or a rate that no codec has.
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
}

/// The worker's half.
#[derive(Debug)]
pub struct PlayoutWriter {
    ring: MarkedWriter<rtrb::Producer<i16>>,
    rate: SampleRate,
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
}

/// What [`PlayoutReader::render`] did to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rendered {
    /// Samples of ours that each channel of the frame was given.
    pub played: usize,
    /// The frame is not what it was: it has to be handed back to FreeSWITCH.
    pub changed: bool,
}

/// The media thread's half.
#[derive(Debug)]
pub struct PlayoutReader {
    ring: MarkedReader<rtrb::Consumer<i16>>,
    shared: Arc<PlayoutShared>,
    voice: Voice,
    gap: Option<Gap>,
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
    /// Turns `frame`, interleaved over `channels` at `rate_hz`, from what the other leg says into what the caller hears.
    ///
    /// Performs a flush that was asked for, then plays what there is, up to a whole frame; what is missing is the other
    /// leg's again. Every join glides over [`GLIDE_MS`]. A frame of another rate than the ring's consumes nothing and makes
    /// it [`wanted_rate`](PlayoutShared::wanted_rate). Real-time safe: under 1 µs for 160 samples, no wait, no allocation.
    pub fn render(&mut self, rate_hz: u32, channels: u16, frame: &mut [i16], mode: InjectMode) -> Rendered {
        let lanes = usize::from(channels);
        let seen = self.ring.observe();
        self.voice.cut |= seen.discarded > 0;
        let rendered = if (1..=MAX_CHANNELS).contains(&lanes) && self.follow(rate_hz) {
            let whole = frame.len() / lanes * lanes;
            let frame = frame.get_mut(..whole).unwrap_or_default();
            self.fill(&seen, rate_hz, lanes, frame, mode)
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
        // Last: whoever sees the new position sees these counts.
        self.ring.publish();
        rendered
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

    fn fill(&mut self, seen: &Observed, rate_hz: u32, lanes: usize, frame: &mut [i16], mode: InjectMode) -> Rendered {
        let wanted = frame.len() / lanes;
        let played = if seen.rate_hz == Some(rate_hz) { seen.available.min(wanted) } else { 0 };
        self.account(seen, rate_hz, played, wanted);
        let glide = (rate_hz * GLIDE_MS / 1_000) as usize;
        let (ours, theirs) = frame.split_at_mut(played * lanes);
        let mut changed = played > 0;
        if played > 0 {
            self.clock.set_rate(rate_hz);
            self.voice.play(&mut self.ring, Layout { glide, lanes, mode }, ours);
        }
        if !theirs.is_empty() {
            changed |= self.voice.rest(Layout { glide, lanes, mode }, theirs);
        }
        Rendered { played, changed }
    }

    /// Counts a gap once it has turned out to be an underrun: when audio follows within 500 ms and no flush asked for it.
    fn account(&mut self, seen: &Observed, rate_hz: u32, played: usize, wanted: usize) {
        let was_playing = self.voice.is_playing();
        if seen.flushed {
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

/// The shape of the frame at hand.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Samples of each channel that a glide takes.
    glide: usize,
    lanes: usize,
    mode: InjectMode,
}

/// What the caller is hearing, and how it goes over into something else.
#[derive(Debug, Default)]
struct Voice {
    playing: Option<InjectMode>,
    /// A flush has taken audio from between what was played last and what comes next.
    cut: bool,
    declick: Declick,
    /// What each channel was given last, the glide included.
    last_heard: [i16; MAX_CHANNELS],
    /// Our last sample, without the glide; 0 when we are not playing.
    last_own: i16,
}

impl Voice {
    fn is_playing(&self) -> bool {
        self.playing.is_some()
    }

    /// Plays as many samples as `frame` has room for.
    fn play(&mut self, ring: &mut MarkedReader<rtrb::Consumer<i16>>, layout: Layout, frame: &mut [i16]) {
        let mut own = None;
        let mut at = 0;
        ring.read(frame.len() / layout.lanes, |samples| {
            let end = at + samples.len() * layout.lanes;
            put(samples, layout, frame.get_mut(at..end).unwrap_or_default());
            at = end;
            if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
                own = Some((own.map_or(*first, |(first, _)| first), *last));
            }
        });
        let Some((first, last)) = own else { return };
        if self.cut || self.playing != Some(layout.mode) {
            self.join(Some(layout.mode), first, layout, frame);
        }
        self.finish(Some(layout.mode), last, layout, frame);
    }

    /// Leaves `frame` to the other leg but for the end of a glide; returns whether it was changed.
    fn rest(&mut self, layout: Layout, frame: &mut [i16]) -> bool {
        if self.is_playing() {
            self.join(None, 0, layout, frame);
        }
        let changes = self.declick.is_active();
        self.finish(None, 0, layout, frame);
        changes
    }

    /// Starts the glide from what was heard last to the new sound, which begins with `first` of ours.
    fn join(&mut self, next: Option<InjectMode>, first: i16, layout: Layout, frame: &[i16]) {
        let only_own_changes = self.playing != Some(InjectMode::Replace) && next != Some(InjectMode::Replace);
        let mut jumps = [0; MAX_CHANNELS];
        for (channel, jump) in jumps.iter_mut().enumerate().take(layout.lanes) {
            *jump = if only_own_changes {
                // The other leg goes on through the join: it must not be bent.
                i32::from(self.last_own) + self.declick.residual(channel) - i32::from(first)
            } else {
                i32::from(self.last_heard[channel]) - frame.get(channel).map_or(0, |sample| i32::from(*sample))
            };
        }
        self.declick.start(layout.glide, &jumps);
    }

    fn finish(&mut self, playing: Option<InjectMode>, last_own: i16, layout: Layout, frame: &mut [i16]) {
        self.declick.apply(layout.lanes, frame);
        let last = frame.len().saturating_sub(layout.lanes);
        for (heard, sample) in self.last_heard.iter_mut().zip(frame.iter().skip(last)) {
            *heard = *sample;
        }
        self.playing = playing;
        self.cut = false;
        self.last_own = last_own;
    }
}

/// Puts mono `samples` on every channel of `frame`.
fn put(samples: &[i16], layout: Layout, frame: &mut [i16]) {
    match (layout.mode, layout.lanes) {
        (InjectMode::Replace, 1) => {
            for (out, sample) in frame.iter_mut().zip(samples) {
                *out = *sample;
            }
        }
        (InjectMode::Mix, 1) => {
            for (out, sample) in frame.iter_mut().zip(samples) {
                *out = out.saturating_add(*sample);
            }
        }
        (InjectMode::Replace, lanes) => {
            for (out, sample) in frame.chunks_exact_mut(lanes).zip(samples) {
                out.fill(*sample);
            }
        }
        (InjectMode::Mix, lanes) => {
            for (out, sample) in frame.chunks_exact_mut(lanes).zip(samples) {
                for out in out {
                    *out = out.saturating_add(*sample);
                }
            }
        }
    }
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
