//! Fills the playout ring from the queue, ahead of the media thread and no further.
//!
//! On the worker's thread; the stream's task owns it and calls [`Injector::play`] with what arrives, [`Injector::pump`] when
//! [`PlayoutShared::ready`] or [`Injector::deadline`] says so, [`Injector::clear`] for barge-in, and passes on what
//! [`Injector::take_events`] gives after each of them. The media thread meanwhile takes
//! samples out of the ring; it never sees the queue or the resampler, so it waits for neither.
//!
//! Position: counted by the media thread in samples the caller was given; see [`Injector::played_ms`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::overflow::{OverflowAlarm, OverflowMeter};
use super::pace::{Pace, Prebuffer};
use super::progress::{Heard, PlaybackEvent, Progress, TooManyMarks};
use super::queue::{PIECE_SAMPLES, Queue};
use crate::dsp::Resampler;
use crate::dsp::pcm::peak;
use crate::dsp::tone::ToneStep;
use crate::media::{PlayoutShared, PlayoutWriter};
use crate::protocol::MarkId;
use crate::units::{PcmFormat, SampleRate, least};

/// Resamplers made in one pump: a server that changes its rate with every sample waits for the next tick.
const MAX_MADE_PER_PUMP: u32 = 4;

/// Readings of the media thread's counts before a torn one is put up with: it writes them within some ns, 50 times a second.
const READS: u32 = 16;

/// How a stream plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InjectConfig {
    /// Longest queue, in ms: `inject_buffer_ms`.
    pub buffer_ms: u32,
    /// What may wait beyond that, in ms, for an owner who stops receiving once [`Injector::excess_bytes`] says so: room for what had
    /// been received by then.
    pub excess_ms: u32,
    /// Prebuffer at the start of an utterance, in ms: `inject_min_buffer_ms`; at most `buffer_ms` counts.
    pub min_buffer_ms: u32,
    /// Audio kept in the ring, in ms; refilled at half of it. The ring should hold twice as much, for a flush leaves what it
    /// flushed in there until the media thread's next frame.
    pub ring_ms: u32,
    /// The call's ptime in ms: with less than this in the ring, the next frame would end in silence.
    pub frame_ms: u32,
}

impl Default for InjectConfig {
    fn default() -> Self {
        Self { buffer_ms: 5_000, excess_ms: 0, min_buffer_ms: 40, ring_ms: 120, frame_ms: 20 }
    }
}

/// More tones than may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many tones are waiting; try again when they have been played")]
pub struct TooManyTones;

/// What became of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlayOutcome {
    /// Samples of one channel, at the message's rate, that will be played.
    pub accepted: u64,
    /// Those that did not fit.
    pub dropped: u64,
    /// [`Self::accepted`] in ms, rounded down.
    pub accepted_ms: u64,
    /// [`Self::dropped`] in ms, rounded down.
    pub dropped_ms: u64,
    /// What was waiting, in ms, and was dropped to start afresh, since messages overflow all the time.
    pub restarted_ms: Option<u64>,
    /// To be logged and sent as an event.
    pub alarm: Option<OverflowAlarm>,
}

/// The state of playback, for health and logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InjectorStatus {
    /// Bytes of audio in the queue.
    pub inuse_bytes: u64,
    /// Those and what would still fit, at the rate of the last message.
    pub capacity_bytes: u64,
    /// [`Injector::buffered`], in ms.
    pub buffered_ms: u64,
    /// [`Injector::played_ms`].
    pub played_ms: u64,
    /// Messages that did not fit, whole or in part.
    pub overflow_count: u64,
    /// What overflows cost, in ms.
    pub dropped_ms: u64,
    /// How irregularly messages arrive, smoothed, in ms.
    pub jitter_ms: u64,
    /// The prebuffer of an utterance that would begin now, in ms.
    pub prebuffer_ms: u64,
}

/// The worker's half of playback; see the [module](self).
#[derive(Debug)]
pub struct Injector {
    writer: PlayoutWriter,
    shared: Arc<PlayoutShared>,
    config: InjectConfig,
    queue: Queue,
    pace: Pace,
    resampler: Option<Resampler>,
    /// Samples at the call's rate that are to go into the ring next; `staged_at` are in already.
    staged: Vec<i16>,
    staged_at: usize,
    in_flight: InFlight,
    /// Ring position up to which everything is flushed, though the consumer may not have come by yet.
    void_to: u64,
    /// When the resampler is drained unless more audio comes.
    tail_at: Option<Instant>,
    overflow: OverflowMeter,
    dropped: Duration,
    progress: Progress,
    /// Source samples accepted since the beginning, cleared ones included.
    accepted: u64,
    /// The last pump stopped before it was done.
    unfinished: bool,
    /// The greatest absolute sample written since it was last taken.
    peak: u16,
    /// The changes of the queue as of the last news.
    told: Option<u64>,
}

impl Injector {
    /// Plays through `writer`; `shared` is the same ring's.
    pub fn new(writer: PlayoutWriter, shared: Arc<PlayoutShared>, config: InjectConfig) -> Self {
        let min_buffer_ms = config.min_buffer_ms.min(config.buffer_ms);
        let capacity_ms = u64::from(config.buffer_ms) + u64::from(config.excess_ms);
        let queue = Queue::new(Duration::from_millis(capacity_ms), writer.rate());
        let injector = Self {
            writer,
            shared,
            config,
            queue,
            pace: Pace::new(Prebuffer::Fixed(Duration::from_millis(min_buffer_ms.into()))),
            resampler: None,
            staged: Vec::new(),
            staged_at: 0,
            in_flight: InFlight::default(),
            void_to: 0,
            tail_at: None,
            overflow: OverflowMeter::default(),
            dropped: Duration::ZERO,
            progress: Progress::default(),
            accepted: 0,
            unfinished: false,
            peak: 0,
            told: None,
        };
        injector.shared.want(injector.needs_pump_at());
        injector
    }

    /// Another prebuffer than `min_buffer_ms`, from the next utterance on; see [`Prebuffer::Auto`].
    pub fn set_prebuffer(&mut self, prebuffer: Prebuffer) {
        self.pace.set_prebuffer(prebuffer);
    }

    /// Queues `samples` (interleaved; a frame cut at the end goes on in the next message of the format), then pumps.
    ///
    /// What does not fit in `buffer_ms` and `excess_ms` is dropped from the end of the message and counted. One copy, and the resampling of at
    /// most `ring_ms`, whatever the length.
    pub fn play(&mut self, now: Instant, samples: &[i16], format: PcmFormat) -> PlayOutcome {
        if self.is_silent() {
            self.pace.ended();
        }
        let mut pushed = self.queue.push(samples, format);
        self.accepted += pushed.accepted;
        let (mut restarted_ms, mut alarm) = (None, None);
        if pushed.refused > 0 {
            let verdict = self.overflow.overflowed(now);
            alarm = verdict.alarm;
            if verdict.start_afresh {
                let waiting = self.buffered();
                // What of this message is in the queue already goes too, and comes again below.
                let lost = waiting.saturating_sub(format.rate.duration_of(pushed.accepted));
                self.clear();
                pushed = self.queue.push(samples, format);
                self.accepted += pushed.accepted;
                self.dropped += lost;
                restarted_ms = Some(lost.as_millis() as u64);
            }
            self.dropped += format.rate.duration_of(pushed.refused);
        }
        if pushed.accepted > 0 {
            self.pace.arrived(now);
            let length = format.rate.duration_of(pushed.accepted + pushed.refused);
            self.pace.measure(now, length, self.buffered());
        }
        self.pump(now);
        PlayOutcome {
            accepted: pushed.accepted,
            dropped: pushed.refused,
            accepted_ms: format.rate.duration_of(pushed.accepted).as_millis() as u64,
            dropped_ms: format.rate.duration_of(pushed.refused).as_millis() as u64,
            restarted_ms,
            alarm,
        }
    }

    /// Has `id` answered when everything queued until now has been heard, or has been cleared: at once, with the next pump,
    /// when there is nothing. An error refuses it.
    pub fn mark(&mut self, id: MarkId) -> Result<(), TooManyMarks> {
        let marked = self.progress.mark(id, self.accepted);
        self.place_marks();
        self.shared.want(self.needs_pump_at());
        marked
    }

    /// What has happened since the last call, in order. To be called after [`play`](Self::play), [`pump`](Self::pump) and
    /// [`clear`](Self::clear).
    pub fn take_events(&mut self) -> impl Iterator<Item = PlaybackEvent> + use<> {
        self.progress.take_events()
    }

    /// Mixes tones into what the caller hears, after those that wait already; at once, whatever else is queued. They cover
    /// nothing, and neither [`clear`](Self::clear) nor a pause stops them. An error takes none of them.
    pub fn play_tones(&mut self, steps: &[ToneStep]) -> Result<(), TooManyTones> {
        if self.writer.push_tones(steps) { Ok(()) } else { Err(TooManyTones) }
    }

    /// Drops the tones that wait; the one that sounds ends in a glide.
    pub fn stop_tones(&mut self) {
        self.shared.stop_tones();
    }

    /// Stops playback where it is, or lets it go on, with the next frame and without a click. What arrives meanwhile waits.
    pub fn set_paused(&mut self, paused: bool) {
        self.shared.set_paused(paused);
    }

    /// Refills the ring and says in [`PlayoutShared::want`] when to be called again. Idempotent; some µs when there is work.
    pub fn pump(&mut self, now: Instant) {
        self.unfinished = false;
        if self.shared.is_closed() {
            if !self.is_silent() || !self.progress.is_settled() {
                self.clear();
            }
        } else {
            self.in_flight.consumed(self.shared.consumed(), self.writer.rate());
            self.follow_rate();
            if self.pace.may_play(now, self.queue.duration()) {
                let from = self.writer.position();
                self.refill();
                self.drain_tail(now);
                if self.writer.position() > from {
                    self.progress.wrote(from);
                }
                if self.is_silent() {
                    self.pace.ended();
                }
            }
        }
        self.writer.expect_more(self.pace.expect_more());
        self.place_marks();
        // In this order: what is idle now has been heard by the counts that are read after it.
        let idle = self.is_silent();
        self.progress.look(now, &self.heard(), idle, self.pace.last_arrival());
        self.shared.want(self.needs_pump_at());
    }

    /// Drops everything that has not been heard: queue, resampler, ring. What is played afterwards is a new utterance.
    ///
    /// The ring is flushed by the media thread before its next frame; how much of it had been heard by then, the
    /// [`PlaybackEvent::Cleared`] says that follows. Code that flushes the ring through [`PlayoutShared::flush`] without this
    /// call leaves the queue to play on.
    pub fn clear(&mut self) {
        let audio = !self.is_silent();
        self.place_marks();
        let before = self.heard();
        self.drop_waiting();
        self.void_to = self.shared.flush();
        self.progress.cleared(&before, self.void_to, audio);
        self.shared.want(self.needs_pump_at());
    }

    /// Ring position whose consumption calls for a pump; `u64::MAX` when only time or new audio does, 0 for at once.
    pub fn needs_pump_at(&self) -> u64 {
        self.ring_needs_pump_at().min(self.progress.wants().unwrap_or(u64::MAX))
    }

    fn ring_needs_pump_at(&self) -> u64 {
        let written = self.writer.position();
        if self.unfinished {
            0
        } else if self.pace.deadline().is_some() {
            u64::MAX
        } else if self.has_samples() {
            written.saturating_sub(self.samples_in(self.config.ring_ms / 2))
        } else if self.tail() > 0 {
            let below_a_frame = (written + 1).saturating_sub(self.samples_in(self.config.frame_ms));
            if self.tail_at.is_some() { u64::MAX } else { below_a_frame }
        } else if self.ring_level() > 0 {
            written
        } else {
            u64::MAX
        }
    }

    /// When to pump whatever the ring says: a held utterance starts, the resampler's tail is due, an utterance is taken for
    /// finished, a clear for done.
    pub fn deadline(&self) -> Option<Instant> {
        least([self.pace.deadline().or(self.tail_at), self.progress.deadline()])
    }

    /// Whether everything accepted has been heard or cleared, and every mark answered.
    pub fn is_idle(&self) -> bool {
        self.is_silent() && self.progress.is_settled() && self.shared.tones_waiting() == 0
    }

    /// Whether the media thread may not have performed a [`clear`](Self::clear); [`PlaybackEvent::Cleared`] tells when it has.
    pub fn is_clearing(&self) -> bool {
        self.progress.is_clearing()
    }

    /// Whether no audio waits to be heard. Read it before the position that it is used with.
    pub fn is_silent(&self) -> bool {
        !self.has_samples() && self.tail() == 0 && self.ring_level() == 0
    }

    /// Bytes of audio that wait in the queue beyond `buffer_ms`.
    pub fn excess_bytes(&self) -> u64 {
        let (waiting, most) = (self.queue.duration(), Duration::from_millis(self.config.buffer_ms.into()));
        // Asked several times at each wake of the stream.
        if waiting <= most {
            return 0;
        }
        let bytes = self.queue.samples() * 2;
        (bytes as f64 * (waiting - most).as_secs_f64() / waiting.as_secs_f64()) as u64
    }

    /// The greatest absolute sample that has gone into the ring since the last call.
    pub const fn take_peak(&mut self) -> u16 {
        std::mem::replace(&mut self.peak, 0)
    }

    /// The state of playback now.
    pub fn status(&self) -> InjectorStatus {
        let inuse = self.queue.samples();
        InjectorStatus {
            inuse_bytes: inuse * 2,
            capacity_bytes: (inuse + self.queue.room_before(Duration::from_millis(self.config.excess_ms.into()))) * 2,
            buffered_ms: self.buffered().as_millis() as u64,
            played_ms: self.played_ms(),
            overflow_count: self.overflow.count(),
            dropped_ms: self.dropped.as_millis() as u64,
            jitter_ms: self.pace.jitter().as_millis() as u64,
            prebuffer_ms: self.pace.amount().as_millis() as u64,
        }
    }

    /// The state of playback, where the queue has changed since the last call.
    pub fn news(&mut self) -> Option<InjectorStatus> {
        let changes = Some(self.queue.changes());
        (std::mem::replace(&mut self.told, changes) != changes).then(|| self.status())
    }

    /// Bytes held for audio that waits, the ring excluded.
    pub fn allocated_bytes(&self) -> usize {
        self.queue.allocated_bytes() + self.staged.capacity() * size_of::<i16>()
    }

    /// The ring runs at another rate than the call's frames: goes over to theirs, and back to what nobody has heard.
    fn follow_rate(&mut self) {
        let wanted = self.shared.wanted_rate();
        if wanted == self.writer.rate() {
            return;
        }
        // Frames of the new rate take nothing out of the ring, so what was in flight a moment ago still is.
        self.place_marks();
        self.progress.refilled(self.shared.consumed());
        for (rate, unheard) in self.in_flight.take().rev() {
            self.queue.put_back(rate, unheard);
        }
        self.void_to = self.writer.set_rate(wanted);
        self.resampler = None;
        self.tail_at = None;
        self.staged.clear();
        self.staged_at = 0;
    }

    /// Moves audio from the queue to the ring until there is `ring_ms` in it.
    fn refill(&mut self) {
        let to = self.writer.rate();
        let mut made = 0;
        loop {
            self.write_staged();
            let missing = self.ring_missing();
            if missing == 0 || self.staged_at < self.staged.len() {
                return;
            }
            let Some(from) = self.queue.front(0).map(|(rate, _)| rate) else { return };
            if self.resampler.as_ref().is_none_or(|resampler| resampler.from() != from) {
                if let Some(mut old) = self.resampler.take() {
                    old.drain(&mut self.staged);
                }
                self.in_flight.close();
                made += u32::from(from != to);
                if made > MAX_MADE_PER_PUMP {
                    self.write_staged();
                    self.unfinished = true;
                    return;
                }
                self.resampler = Some(Resampler::new(from, to, 1));
            }
            let wanted = (missing as u64 * u64::from(from.hz())).div_ceil(u64::from(to.hz())) as usize;
            let start = self.writer.position() + (self.staged.len() - self.staged_at) as u64;
            let first = self.taken();
            if let (Some((_, samples)), Some(resampler)) =
                (self.queue.front(wanted.min(PIECE_SAMPLES)), &mut self.resampler)
            {
                self.in_flight.fed(start, first, from, samples);
                resampler.process(samples, &mut self.staged);
                let count = samples.len();
                self.queue.advance(count);
                self.tail_at = None;
            }
        }
    }

    /// With nothing queued and less than a frame in the ring, what the resampler holds back is played; but not until half a
    /// frame later, since audio that arrives just in time would have gone on without a seam.
    fn drain_tail(&mut self, now: Instant) {
        if self.has_samples() || self.tail() == 0 || self.ring_level() >= self.samples_in(self.config.frame_ms) {
            return;
        }
        let grace = Duration::from_millis(u64::from(self.config.frame_ms) / 2);
        if now >= *self.tail_at.get_or_insert(now + grace) {
            self.tail_at = None;
            if let Some(resampler) = &mut self.resampler {
                resampler.drain(&mut self.staged);
            }
            self.in_flight.close();
            self.write_staged();
        }
    }

    /// Writes staged samples as far as the ring is to be filled.
    fn write_staged(&mut self) {
        let waiting = &self.staged[self.staged_at..];
        let samples = &waiting[..waiting.len().min(self.ring_missing())];
        let written = self.writer.push(samples);
        self.peak = self.peak.max(peak(samples.get(..written).unwrap_or_default()));
        self.staged_at += written;
        if self.staged_at == self.staged.len() {
            self.staged.clear();
            self.staged_at = 0;
        }
    }

    fn drop_waiting(&mut self) {
        self.queue.clear();
        self.staged = Vec::new();
        self.staged_at = 0;
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        self.in_flight.clear();
        self.tail_at = None;
        self.unfinished = false;
        self.pace.ended();
    }

    /// Number of the source sample that is the next to be on its way.
    fn taken(&self) -> u64 {
        self.accepted - self.queue.samples()
    }

    /// Tells marks where in the ring they are, as far as that is known.
    fn place_marks(&mut self) {
        let (taken, to) = (self.taken(), self.writer.rate());
        self.progress.place(taken, |number| self.in_flight.position_after(number, to));
    }

    /// The media thread's counts, all of one moment.
    fn heard(&self) -> Heard {
        let shared = &self.shared;
        let read = || {
            let consumed = shared.consumed();
            // In this order: the media thread writes them in the other.
            let played = shared.played_time();
            let (samples, flushed) = (shared.played(), shared.flushed());
            let heard = Heard {
                consumed,
                flushed,
                played,
                underruns: shared.underruns(),
                rate: self.writer.rate(),
                closed: shared.is_closed(),
            };
            (heard, samples + flushed == consumed)
        };
        let (mut heard, mut of_one_moment) = read();
        for _ in 0..READS {
            if of_one_moment {
                break;
            }
            (heard, of_one_moment) = read();
        }
        heard
    }

    /// Whether anything but the resampler's tail is still to be written.
    fn has_samples(&self) -> bool {
        self.staged_at < self.staged.len() || !self.queue.is_empty()
    }

    /// Samples that the resampler holds back.
    fn tail(&self) -> usize {
        self.resampler.as_ref().map_or(0, Resampler::pending)
    }

    /// Samples in the ring that will be heard.
    fn ring_level(&self) -> u64 {
        self.writer.position() - self.shared.consumed().max(self.void_to)
    }

    /// Samples to be written until the ring holds what it should.
    fn ring_missing(&self) -> usize {
        let missing = self.samples_in(self.config.ring_ms).saturating_sub(self.ring_level());
        self.writer.free().min(missing as usize)
    }

    fn samples_in(&self, ms: u32) -> u64 {
        self.writer.rate().samples_in_ms(ms) as u64
    }

    /// What the caller was given, in ms: exact, each sample at its own rate.
    pub fn played_ms(&self) -> u64 {
        self.shared.played_time().as_millis() as u64
    }

    /// Audio accepted and not heard yet: queue and ring.
    pub fn buffered(&self) -> Duration {
        let rate: SampleRate = self.writer.rate();
        let waiting = self.ring_level() + (self.staged.len() - self.staged_at + self.tail()) as u64;
        self.queue.duration() + rate.duration_of(waiting)
    }
}

#[cfg(test)]
mod tests;
