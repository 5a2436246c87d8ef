//! One direction of a call on its way into a recording: from the media thread to the thread that writes files.
//!
//! Owners: the recorder's bug has a [`TapWriter`] for each callback (media threads), the writer's thread the [`TapReader`],
//! anybody the [`TapShared`]. Samples are `i16`, interleaved as FreeSWITCH gives them. Beside the samples a second ring carries
//! a mark for each frame: its length, its format, when it was there, and which frames of the other direction came before it, since
//! that decides where it belongs in the file. When a ring is full the frame is dropped whole and counted; the marks of what follows leave its place silent.
//!
//! Memory: as with the capture ring, the half dropped last frees the rings: the media half at CLOSE of the bug.

use std::time::{Duration, Instant};

use super::capture::{CaptureFormat, MAX_LANES};
use super::counters::Counter;
use super::ring::{RingSize, SampleReader, SampleSink as _, SampleSource as _, SampleWriter, sample_ring};
use super::sync::{Arc, AtomicBool, AtomicU64, CacheLine, Ordering};

/// Marks there is room for: one for so many samples. The shortest frame of a call, 10 ms at 8 kHz, has 80.
const SAMPLES_PER_MARK: usize = 40;

/// A frame that was recorded, as the media thread saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameMark {
    /// When the frame was there, after the recording's start.
    pub at: Duration,
    /// What its samples are.
    pub format: CaptureFormat,
    /// How many samples it has, all channels counted.
    pub samples: usize,
    /// How many frames of the other direction were recorded before it, if the last of them was on the same thread: one that
    /// reads and writes in turns.
    pub after: Option<u64>,
}

/// A ring for `size` samples of one direction, all channels counted, whose marks count from `epoch`. Allocates; not for
/// the media thread.
#[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
pub fn tap_ring(size: impl Into<RingSize>, epoch: Instant) -> (TapWriter, TapReader, Arc<TapShared>) {
    let size = size.into();
    let (samples_in, samples_out) = sample_ring(size);
    let (marks_in, marks_out) = rtrb::RingBuffer::new(size.all() / SAMPLES_PER_MARK + 1);
    let shared = Arc::new(TapShared { media: CacheLine(MediaSide::default()), leaving: AtomicBool::new(false) });
    let writer = TapWriter { samples: samples_in, marks: marks_in, epoch, shared: shared.clone() };
    (writer, TapReader { samples: samples_out, marks: marks_out }, shared)
}

/// What everybody may know of one direction. Never waits; any thread.
#[derive(Debug)]
pub struct TapShared {
    media: CacheLine<MediaSide>,
    leaving: AtomicBool,
}

/// Written by the media thread alone.
#[derive(Debug, Default)]
struct MediaSide {
    frames: Counter,
    dropped_frames: Counter,
    panicked: AtomicBool,
    /// Of the last frame; 0 before the first.
    thread: AtomicU64,
}

impl TapShared {
    /// Frames recorded, without the dropped ones.
    pub fn frames(&self) -> u64 {
        self.media.frames.get()
    }

    /// [`frames`](Self::frames) if `thread`, which is not 0, recorded the last of them: for the other direction's
    /// [`TapWriter::frame`] on that thread.
    pub fn frames_on(&self, thread: u64) -> Option<u64> {
        (self.media.thread.load(Ordering::Relaxed) == thread).then(|| self.frames())
    }

    /// Frames dropped because a ring was full, or had no whole number of samples for each channel.
    pub fn dropped_frames(&self) -> u64 {
        self.media.dropped_frames.get()
    }

    /// Makes the callback do nothing from now on, until the bug is taken off the call.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether the callback has nothing more to do.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// The callback panicked: the recording ends, the call goes on.
    pub fn panicked(&self) {
        self.media.panicked.store(true, Ordering::Release);
        self.leave();
    }

    /// Whether the callback has panicked.
    pub fn has_panicked(&self) -> bool {
        self.media.panicked.load(Ordering::Acquire)
    }
}

/// The media thread's half.
#[derive(Debug)]
pub struct TapWriter {
    samples: SampleWriter,
    marks: rtrb::Producer<FrameMark>,
    epoch: Instant,
    shared: Arc<TapShared>,
}

impl TapWriter {
    /// What others may know of it.
    pub const fn shared(&self) -> &Arc<TapShared> {
        &self.shared
    }

    /// Records one frame that is there now, or drops and counts the whole of it; returns whether it was recorded. `thread` is a
    /// number that no other thread has, `after` what [`frames_on`](TapShared::frames_on) it says of the other direction.
    ///
    /// Real-time safe whether or not the reader still exists: one copy and a reading of the clock, no wait, no allocation.
    #[expect(clippy::disallowed_methods, reason = "one reading of the clock, without a system call")]
    pub fn frame(&mut self, thread: u64, after: Option<u64>, format: CaptureFormat, samples: &[i16]) -> bool {
        let at = self.epoch.elapsed();
        self.shared.media.thread.store(thread, Ordering::Relaxed);
        self.mark(FrameMark { at, format, samples: samples.len(), after }, samples)
    }

    /// [`frame`](Self::frame) that was there at another time, on a thread that gives no other direction.
    pub fn frame_at(&mut self, at: Duration, format: CaptureFormat, samples: &[i16]) -> bool {
        self.mark(FrameMark { at, format, samples: samples.len(), after: None }, samples)
    }

    fn mark(&mut self, mark: FrameMark, samples: &[i16]) -> bool {
        if samples.is_empty() {
            return true;
        }
        let lanes = usize::from(mark.format.channels);
        let whole = (1..=MAX_LANES).contains(&lanes) && samples.len().is_multiple_of(lanes);
        // The samples before their mark: a thread that sees the mark finds them there.
        let recorded = whole
            && !self.marks.is_full()
            && samples.len() <= self.samples.free()
            && self.samples.write(samples) == samples.len()
            && self.marks.push(mark).is_ok();
        let counter = if recorded { &self.shared.media.frames } else { &self.shared.media.dropped_frames };
        counter.add(1);
        recorded
    }
}

/// The writer's half.
#[derive(Debug)]
pub struct TapReader {
    samples: SampleReader,
    marks: rtrb::Consumer<FrameMark>,
}

impl TapReader {
    /// Hands the oldest frame to `visit`, its samples in one slice or, around an end of the ring, in more; whether there was one.
    pub fn next(&mut self, mut visit: impl FnMut(&FrameMark, &[i16])) -> Option<FrameMark> {
        let mark = self.marks.pop().ok()?;
        self.samples.read(mark.samples, |part| visit(&mark, part));
        Some(mark)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::units::SampleRate;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const MONO: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 };
    const WIDE: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_48000, channels: 2 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn recorder_004_a_full_ring_drops_and_counts_whole_frames() {
        let (mut writer, mut reader, shared) = tap_ring(400, Instant::now());
        assert!(writer.frame_at(ms(20), MONO, &[1; 160]));
        assert!(writer.frame_at(ms(40), MONO, &[2; 160]));
        assert!(!writer.frame_at(ms(60), MONO, &[3; 160]), "full");
        assert!(!writer.frame_at(ms(60), WIDE, &[3; 79]), "torn");
        let mut got = Vec::new();
        while let Some(mark) = reader.next(|_, part| got.extend_from_slice(part)) {
            assert_eq!(mark.samples, 160);
        }
        assert_eq!(got, [[1; 160], [2; 160]].concat());
        assert!(writer.frame_at(ms(80), WIDE, &[4; 160]), "there is room again");
        assert_eq!((shared.frames(), shared.dropped_frames()), (3, 2));
        assert_eq!(reader.next(|_, _| ()), Some(FrameMark { at: ms(80), format: WIDE, samples: 160, after: None }));
        drop(reader);
        for _ in 0..10 {
            writer.frame(1, None, MONO, &[5; 160]);
        }
        assert!(shared.dropped_frames() > 2, "nobody reads any more, and nothing is harmed by it");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn recorded_frames_come_out_as_they_went_in_in_any_interleaving(
            turns in prop::collection::vec((prop::option::of(1_usize..200), prop::bool::ANY), 1..200),
        ) {
            let (mut writer, mut reader, shared) = tap_ring(600, Instant::now());
            let mut waiting: VecDeque<(FrameMark, Vec<i16>)> = VecDeque::new();
            let (mut used, mut dropped) = (0, 0);
            for (turn, (push, pop)) in turns.into_iter().enumerate() {
                if let Some(instants) = push {
                    let format = if turn % 3 == 0 { WIDE } else { MONO };
                    let samples = vec![turn as i16; instants * usize::from(format.channels)];
                    let at = ms(turn as u64);
                    let fits = used + samples.len() <= 600 && waiting.len() < 16;
                    prop_assert_eq!(writer.frame_at(at, format, &samples), fits);
                    if fits {
                        used += samples.len();
                        waiting.push_back((FrameMark { at, format, samples: samples.len(), after: None }, samples));
                    } else {
                        dropped += 1;
                    }
                }
                if pop {
                    let mut got = Vec::new();
                    let mark = reader.next(|_, part| got.extend_from_slice(part));
                    let expected = waiting.pop_front();
                    used -= expected.as_ref().map_or(0, |(_, samples)| samples.len());
                    prop_assert_eq!(mark.map(|mark| (mark, got)), expected);
                }
            }
            prop_assert_eq!(shared.dropped_frames(), dropped);
        }
    }
}
