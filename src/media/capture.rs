//! Captured audio on its way out: from the READ callback to the worker that streams it.
//!
//! Owners: the bug's state has the [`CaptureWriter`] (media thread), the stream's task the [`CaptureReader`] (worker),
//! anybody the [`CaptureShared`]. Samples are `i16`, interleaved as FreeSWITCH gives them. When the ring is full the newest
//! frame is dropped whole and counted; a frame is never torn. The rate and the lanes may change in mid-call: a second, tiny
//! ring carries each format with the position from which it holds, never among the samples.
//!
//! Memory: the half dropped last frees the rings. The media half is dropped at CLOSE of the bug, where a free is allowed; a
//! worker that keeps its half until then ([`CaptureShared::is_closed`]) frees on its own thread.

use std::time::{Duration, Instant};

use crate::units::SampleRate;

use super::counters::Counter;
use super::declick::GLIDE_MS;
use super::flush::{MarkedReader, MarkedWriter, Watermark, marked};
use super::mixer::{Ramp, scaled};
use super::ring::{RingSize, SampleReader, SampleWriter, sample_ring};
use super::sync::{Arc, AtomicU64, CacheLine, Ordering};

/// Interleaved lanes a captured frame may have: caller and other leg of a codec with two channels.
pub const MAX_LANES: usize = 4;

/// Samples that are amplified at a time, on the stack; a whole number of instants for every number of lanes.
const CHUNK: usize = 480;

/// Format changes that may wait to be read. A codec change comes seconds after the last one; the worker reads every few ms.
const WAITING_FORMATS: usize = 16;

/// How captured samples are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CaptureFormat {
    /// Samples a second of each lane.
    pub rate: SampleRate,
    /// Interleaved lanes as FreeSWITCH gives them: 1; 2 (caller and other leg, or both channels of the caller); or 4
    /// (caller and other leg of the first channel, then of the second).
    pub channels: u8,
}

#[derive(Clone, Copy, Debug)]
struct FormatFrom {
    position: u64,
    format: CaptureFormat,
}

/// A ring for `size` captured samples, all lanes counted. Allocates; not for the media thread.
#[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
pub fn capture_ring(size: impl Into<RingSize>) -> (CaptureWriter, CaptureReader, Arc<CaptureShared>) {
    let size = size.into();
    let (samples_in, samples_out) = sample_ring(size);
    let (formats_in, formats_out) = rtrb::RingBuffer::new(WAITING_FORMATS);
    let (writer, reader, mark) = marked(samples_in, samples_out, 0);
    let shared = Arc::new(CaptureShared {
        mark,
        media: CacheLine(MediaSide::default()),
        wanted: CacheLine(AtomicU64::new(0)),
        capacity: size.all() as u64,
        epoch: Instant::now(),
    });
    let writer = CaptureWriter { ring: writer, formats: formats_in, format: None, shared: shared.clone() };
    let reader = CaptureReader { ring: reader, formats: formats_out, format: None };
    (writer, reader, shared)
}

/// What everybody may know of a capture ring. Never waits; any thread.
#[derive(Debug)]
pub struct CaptureShared {
    mark: Arc<Watermark>,
    media: CacheLine<MediaSide>,
    wanted: CacheLine<AtomicU64>,
    capacity: u64,
    epoch: Instant,
}

/// Written by the media thread alone.
#[derive(Debug, Default)]
struct MediaSide {
    frames: Counter,
    dropped_frames: Counter,
    dropped_samples: Counter,
    /// ns after `epoch`, 0 before the first frame.
    last_frame: Counter,
}

impl CaptureShared {
    /// Samples captured since the beginning, all lanes counted, without the dropped ones.
    pub fn written(&self) -> u64 {
        self.mark.written()
    }

    /// Frames captured, without the dropped ones.
    pub fn frames(&self) -> u64 {
        self.media.frames.get()
    }

    /// Frames dropped because the ring was full, or had no whole number of samples for each lane.
    pub fn dropped_frames(&self) -> u64 {
        self.media.dropped_frames.get()
    }

    /// Samples of the dropped frames, all lanes counted.
    pub fn dropped_samples(&self) -> u64 {
        self.media.dropped_samples.get()
    }

    /// When the call last gave a frame, kept or dropped: another number with each; 0 before the first.
    pub fn last_frame(&self) -> u64 {
        self.media.last_frame.get()
    }

    /// How long before `now` the call last gave a frame, kept or dropped; `None` before the first.
    pub fn last_frame_ago(&self, now: Instant) -> Option<Duration> {
        let at = self.media.last_frame.get();
        (at > 0).then(|| now.saturating_duration_since(self.epoch).saturating_sub(Duration::from_nanos(at)))
    }

    /// Whether the reader has something to do: what it [`want`](Self::want)s is there, the ring is half full (more may be wanted
    /// than fits in it), or nothing more will come.
    ///
    /// For the tick of a worker, which asks all of its streams every few ms.
    pub fn ready(&self) -> bool {
        self.written() >= self.wanted.load(Ordering::Relaxed)
            || self.mark.level() >= self.capacity / 2
            || self.is_closed()
    }

    /// Be [`ready`](Self::ready) once [`written`](Self::written) has reached `position`. Set by the reader's task; 0 at first.
    pub fn want(&self, position: u64) {
        self.wanted.store(position, Ordering::Relaxed);
    }

    /// Whether the writer is gone; what it wrote can still be read.
    pub fn is_closed(&self) -> bool {
        self.mark.writer_gone()
    }
}

/// The media thread's half.
#[derive(Debug)]
pub struct CaptureWriter {
    ring: MarkedWriter<SampleWriter>,
    formats: rtrb::Producer<FormatFrom>,
    format: Option<CaptureFormat>,
    shared: Arc<CaptureShared>,
}

impl CaptureWriter {
    /// Notes that the call gives frames, though none is wanted now. Real-time safe: a reading of the clock.
    #[expect(clippy::disallowed_methods, reason = "one reading of the clock, without a system call")]
    pub fn pass_over(&self) {
        let since = u64::try_from(self.shared.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.shared.media.last_frame.set(since.max(1));
    }

    /// Queues one frame, or drops and counts the whole of it; returns whether it was queued.
    ///
    /// Dropped: what does not fit, and what is no whole number of samples for each of 1 to [`MAX_LANES`] lanes.
    /// An empty frame is queued as nothing. Real-time safe whether or not the reader still exists: one copy and a reading of the clock, no wait, no allocation.
    pub fn push(&mut self, format: CaptureFormat, samples: &[i16]) -> bool {
        self.pass_over();
        if samples.is_empty() {
            return true;
        }
        let lanes = usize::from(format.channels);
        let whole = (1..=MAX_LANES).contains(&lanes) && samples.len().is_multiple_of(lanes);
        let queued = whole && samples.len() <= self.ring.free() && self.announce(format);
        if queued {
            self.ring.push(samples);
            self.shared.media.frames.add(1);
        } else {
            self.dropped(samples);
        }
        queued
    }

    fn dropped(&self, samples: &[i16]) {
        self.shared.media.dropped_frames.add(1);
        self.shared.media.dropped_samples.add(samples.len() as u64);
    }

    /// [`push`](Self::push) at the level of `gained`. A level of 1 changes no bit and costs nothing; any other some 1 ns a
    /// sample.
    pub fn push_gained(&mut self, format: CaptureFormat, samples: &[i16], gained: &mut Gained) -> bool {
        if gained.ramp.stands_at(1.0) && !gained.others_silent {
            return self.push(format, samples);
        }
        let lanes = usize::from(format.channels);
        let whole = (1..=MAX_LANES).contains(&lanes) && samples.len().is_multiple_of(lanes);
        self.pass_over();
        if samples.is_empty() {
            return true;
        }
        if !whole || samples.len() > self.ring.free() || !self.announce(format) {
            // Not by `push`, which would look again: the reader may have made room since, and the frame would go in as it came.
            self.dropped(samples);
            return false;
        }
        let mut scratch = [0; CHUNK];
        for part in samples.chunks(CHUNK) {
            let Some(amplified) = scratch.get_mut(..part.len()) else { break };
            amplified.copy_from_slice(part);
            gained.apply(lanes, amplified);
            // It fits: what is free can only grow until this thread writes.
            self.ring.push(amplified);
        }
        self.shared.media.frames.add(1);
        true
    }

    /// Says that the samples from here on have `format`, before they become visible; false when it could not be said.
    fn announce(&mut self, format: CaptureFormat) -> bool {
        if self.format == Some(format) {
            return true;
        }
        let said = self.formats.push(FormatFrom { position: self.ring.position(), format }).is_ok();
        if said {
            self.format = Some(format);
        }
        said
    }
}

/// The level of what is captured, and of which lanes. Media thread; plain data.
#[derive(Clone, Copy, Debug)]
pub struct Gained {
    ramp: Ramp,
    /// Of how many lanes one is amplified.
    stride: usize,
    /// All others are silent.
    others_silent: bool,
}

impl Gained {
    /// Every lane in its initial state.
    pub const fn every_lane() -> Self {
        Self { ramp: Ramp::at(1.0), stride: 1, others_silent: false }
    }

    /// The first lane, and every other one after it.
    pub const fn every_other_lane() -> Self {
        Self { ramp: Ramp::at(1.0), stride: 2, others_silent: false }
    }

    /// Goes over to `level` within 5 ms of the samples of `format` that come next.
    pub fn set_level(&mut self, level: f32, format: CaptureFormat) {
        self.ramp.toward(level, format.rate.samples_in_ms(GLIDE_MS));
    }

    /// Silence from the next sample on.
    pub const fn silence(&mut self) {
        self.ramp = Ramp::at(0.0);
    }

    /// Silence of the lanes that are not amplified, from the next sample on, or no longer.
    pub const fn silence_others(&mut self, silent: bool) {
        self.others_silent = silent;
    }

    fn apply(&mut self, lanes: usize, samples: &mut [i16]) {
        for instant in samples.chunks_mut(lanes) {
            let gain = self.ramp.advance();
            for sample in instant.iter_mut().step_by(self.stride) {
                *sample = scaled(*sample, gain);
            }
            if self.others_silent {
                for (_, sample) in instant.iter_mut().enumerate().filter(|(lane, _)| lane % self.stride != 0) {
                    *sample = 0;
                }
            }
        }
    }
}

/// The worker's half.
#[derive(Debug)]
pub struct CaptureReader {
    ring: MarkedReader<SampleReader>,
    formats: rtrb::Consumer<FormatFrom>,
    format: Option<CaptureFormat>,
}

impl CaptureReader {
    /// Samples waiting, all lanes counted.
    pub fn available(&self) -> usize {
        self.ring.available()
    }

    /// Samples read or discarded since the beginning: what [`CaptureShared::want`] counts from.
    pub fn position(&self) -> u64 {
        self.ring.position()
    }

    /// Hands the oldest samples to `f`, at most `max` of them, in order and each with its format; returns how many.
    ///
    /// Every slice has a whole number of samples for each lane; so `max` is rounded down to that. A format change or the
    /// ring's end makes more than one slice.
    pub fn read_with(&mut self, max: usize, mut f: impl FnMut(CaptureFormat, &[i16])) -> usize {
        let mut left = max.min(self.ring.available());
        let mut done = 0;
        while left > 0 {
            // Everything visible in the ring has had its format announced before.
            let Some((format, run)) = self.current_run() else { break };
            let lanes = usize::from(format.channels);
            let count = left.min(run) / lanes * lanes;
            if count == 0 {
                break;
            }
            read_whole(&mut self.ring, count, lanes, |samples| f(format, samples));
            done += count;
            left -= count;
        }
        self.ring.publish();
        done
    }

    /// Discards everything that waits; returns how many samples.
    pub fn discard_all(&mut self) -> usize {
        let count = self.ring.discard(usize::MAX);
        // Keeps the formats' ring empty too, however long nothing is read.
        let _ = self.current_run();
        self.ring.publish();
        count
    }

    /// Whether the writer is gone; once true, [`available`](Self::available) is final.
    pub fn is_closed(&self) -> bool {
        self.ring.mark().writer_gone()
    }

    /// The format of the next sample, and how many samples have it for certain.
    fn current_run(&mut self) -> Option<(CaptureFormat, usize)> {
        let here = self.ring.position();
        let mut next = self.formats.peek().ok().copied();
        while let Some(change) = next.filter(|change| change.position <= here) {
            self.format = Some(change.format);
            let _ = self.formats.pop();
            next = self.formats.peek().ok().copied();
        }
        let run = next.map_or(usize::MAX, |change| usize::try_from(change.position - here).unwrap_or(usize::MAX));
        self.format.map(|format| (format, run))
    }
}

/// Reads `count` samples and joins each group of lanes that an end of the ring has parted.
fn read_whole(ring: &mut MarkedReader<SampleReader>, count: usize, lanes: usize, mut f: impl FnMut(&[i16])) {
    let mut parted = [0; MAX_LANES];
    let mut held = 0;
    ring.read(count, |mut samples| {
        if held > 0 {
            let (rest, after) = samples.split_at((lanes - held).min(samples.len()));
            parted[held..held + rest.len()].copy_from_slice(rest);
            held += rest.len();
            if held < lanes {
                return;
            }
            f(&parted[..lanes]);
            samples = after;
        }
        let (whole, begun) = samples.split_at(samples.len() / lanes * lanes);
        if !whole.is_empty() {
            f(whole);
        }
        parted[..begun.len()].copy_from_slice(begun);
        held = begun.len();
    });
}

#[cfg(all(test, not(loom)))]
mod tests;
