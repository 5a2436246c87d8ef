//! The crossing between two threads: a ring of samples, the watermark up to which it is flushed, and its life cycle.
//!
//! Owners: the producer's thread has the [`MarkedWriter`], the consumer's thread the [`MarkedReader`], anybody a clone
//! of the [`Watermark`]. Positions count samples since the ring was made, from 0, and never run backwards.
//!
//! Flushing is asked for by any thread and done by the consumer alone: a request raises `flush_to` to what had been
//! written, and the consumer discards up to there before it plays anything. Requests may race each other, the producer and
//! the consumer; the highest wins and none needs an answer. What is written after a request lies above its mark and stays.
//! (A generation counter would make the consumer empty the ring, and drop what was written after the request.)
//!
//! | written by | fields | meaning of a stale value |
//! |---|---|---|
//! | producer | `written`, `epoch`, `writer_gone` | fewer samples than there are, never more |
//! | anybody | `flush_to` | the flush is seen at the next frame |
//! | consumer | `consumed`, `discarded`, `reader_gone` | less room than there is, never more |
//!
//! Modelled with loom in `tests/loom_flush.rs`.

use super::ring::{SampleSink, SampleSource};
use super::sync::{Arc, AtomicBool, AtomicU64, CacheLine, Ordering};

/// The shared state of one ring. Every method may be called from any thread and never waits.
#[derive(Debug)]
pub struct Watermark {
    writer: CacheLine<WriterSide>,
    flush_to: CacheLine<AtomicU64>,
    reader: CacheLine<ReaderSide>,
}

#[derive(Debug)]
struct WriterSide {
    written: AtomicU64,
    /// Sampling rate in the low 32 bits, number of the change in the high ones: 8 → 16 → 8 kHz is seen as a change.
    epoch: AtomicU64,
    gone: AtomicBool,
}

#[derive(Debug)]
struct ReaderSide {
    consumed: AtomicU64,
    discarded: AtomicU64,
    gone: AtomicBool,
}

impl Watermark {
    /// Asks that every sample written so far and not yet consumed be discarded; returns the position it flushes up to.
    ///
    /// Performed by the consumer when it next looks. Idempotent; costs one atomic read-modify-write.
    pub fn flush(&self) -> u64 {
        let mark = self.written();
        // Release, so that a consumer that sees the mark sees in the ring everything below it too.
        self.flush_to.fetch_max(mark, Ordering::AcqRel);
        mark
    }

    /// Samples written since the beginning. A thread that sees a position here finds the samples below it in the ring.
    pub fn written(&self) -> u64 {
        self.writer.written.load(Ordering::Acquire)
    }

    /// Samples that have left the ring since the beginning, read or discarded; never above a later
    /// [`written`](Self::written).
    pub fn consumed(&self) -> u64 {
        self.reader.consumed.load(Ordering::Acquire)
    }

    /// Of [`consumed`](Self::consumed), those that were discarded. Exact up to a position once `consumed` has reached it.
    pub fn discarded(&self) -> u64 {
        self.reader.discarded.load(Ordering::Relaxed)
    }

    /// Samples in the ring, flushed ones included until the consumer has looked.
    pub fn level(&self) -> u64 {
        // In this order, or a consumer in between could make it negative.
        let consumed = self.consumed();
        self.written().saturating_sub(consumed)
    }

    /// The rate in Hz of what is written now.
    pub fn rate_hz(&self) -> u32 {
        rate_of(self.writer.epoch.load(Ordering::Acquire))
    }

    /// Whether the producer's half is gone; if so, everything it wrote is already visible.
    pub fn writer_gone(&self) -> bool {
        self.writer.gone.load(Ordering::Acquire)
    }

    /// Whether the consumer's half is gone; if so, [`consumed`](Self::consumed) is final.
    pub fn reader_gone(&self) -> bool {
        self.reader.gone.load(Ordering::Acquire)
    }
}

const fn rate_of(epoch: u64) -> u32 {
    epoch as u32
}

/// Puts a watermark over the two halves of an empty ring whose samples have `rate_hz` (0 where the rate does not matter).
#[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
pub fn marked<W: SampleSink, R: SampleSource>(
    sink: W,
    source: R,
    rate_hz: u32,
) -> (MarkedWriter<W>, MarkedReader<R>, Arc<Watermark>) {
    let mark = Arc::new(Watermark {
        writer: CacheLine(WriterSide {
            written: AtomicU64::new(0),
            epoch: AtomicU64::new(u64::from(rate_hz)),
            gone: AtomicBool::new(false),
        }),
        flush_to: CacheLine(AtomicU64::new(0)),
        reader: CacheLine(ReaderSide {
            consumed: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        }),
    });
    let writer = MarkedWriter { ring: sink, written: 0, epoch: u64::from(rate_hz), mark: mark.clone() };
    let reader = MarkedReader { ring: source, read: 0, discarded: 0, flushed_to: 0, mark: mark.clone() };
    (writer, reader, mark)
}

/// The producer's half: the only place that moves `written`.
#[derive(Debug)]
pub struct MarkedWriter<W: SampleSink> {
    ring: W,
    written: u64,
    epoch: u64,
    mark: Arc<Watermark>,
}

impl<W: SampleSink> MarkedWriter<W> {
    /// Writes as many of the first `samples` as fit and returns how many. Real-time safe: one copy, two stores.
    pub fn push(&mut self, samples: &[i16]) -> usize {
        let count = self.ring.write(samples);
        self.written += count as u64;
        // After the ring's own release: a flush up to `written` must find these samples in the ring.
        self.mark.writer.written.store(self.written, Ordering::Release);
        count
    }

    /// Samples that fit now.
    pub fn free(&self) -> usize {
        self.ring.free()
    }

    /// Position of the next sample to be written.
    pub fn position(&self) -> u64 {
        self.written
    }

    /// The rate in Hz of what is written now.
    pub fn rate_hz(&self) -> u32 {
        rate_of(self.epoch)
    }

    /// Flushes what is queued and says that what follows has `rate_hz`; returns the position where the new rate begins.
    ///
    /// The flush comes first: a consumer that sees the new rate sees that the old samples are void.
    pub fn set_rate(&mut self, rate_hz: u32) -> u64 {
        let from = self.mark.flush();
        self.epoch = (((self.epoch >> 32) + 1) << 32) | u64::from(rate_hz);
        self.mark.writer.epoch.store(self.epoch, Ordering::Release);
        from
    }

    /// The shared state.
    pub fn mark(&self) -> &Arc<Watermark> {
        &self.mark
    }
}

impl<W: SampleSink> Drop for MarkedWriter<W> {
    fn drop(&mut self) {
        self.mark.writer.gone.store(true, Ordering::Release);
    }
}

/// What the consumer found when it looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observed {
    /// A flush was asked for since the last look.
    pub flushed: bool,
    /// Samples discarded for it.
    pub discarded: usize,
    /// Samples that may be read now; none of them is flushed and all have `rate_hz`.
    pub available: usize,
    /// Their rate in Hz; `None` while the producer is just changing it, for one look.
    pub rate_hz: Option<u32>,
}

/// The consumer's half: the only place that takes samples out of the ring, flushed or not.
#[derive(Debug)]
pub struct MarkedReader<R: SampleSource> {
    ring: R,
    read: u64,
    discarded: u64,
    flushed_to: u64,
    mark: Arc<Watermark>,
}

impl<R: SampleSource> MarkedReader<R> {
    /// Performs a requested flush, then returns what the ring holds. Real-time safe: four loads.
    pub fn observe(&mut self) -> Observed {
        // A sample that `available` counts was written under the rate read after it; a sample of an earlier rate is below
        // the mark read after `before`. So where both agree, what is left after the discard is all of that rate.
        let before = self.mark.writer.epoch.load(Ordering::Acquire);
        let flush_to = self.mark.flush_to.load(Ordering::Acquire);
        let flushed = flush_to > self.flushed_to;
        self.flushed_to = flush_to;
        let discarded = if flush_to > self.read { self.discard((flush_to - self.read) as usize) } else { 0 };
        let available = self.available();
        let after = self.mark.writer.epoch.load(Ordering::Acquire);
        if before == after {
            Observed { flushed, discarded, available, rate_hz: Some(rate_of(after)) }
        } else {
            Observed { flushed, discarded, available: 0, rate_hz: None }
        }
    }

    /// Hands the `count` oldest samples to `visit`, in one slice or more. `count` at most what
    /// [`observe`](Self::observe) found: above it nothing is read.
    pub fn read(&mut self, count: usize, visit: impl FnMut(&[i16])) {
        if count > 0 && count <= self.available() {
            self.ring.read(count, visit);
            self.read += count as u64;
        }
    }

    /// Discards the `count` oldest samples, or all if there are fewer; returns how many.
    pub fn discard(&mut self, count: usize) -> usize {
        let count = count.min(self.available());
        if count > 0 {
            self.ring.skip(count);
            self.read += count as u64;
            self.discarded += count as u64;
        }
        count
    }

    /// Samples waiting, flushed or not.
    pub fn available(&self) -> usize {
        // Not what the ring says, which knows of samples a moment before `written` does: what is consumed would be more
        // than what is written.
        self.mark.written().saturating_sub(self.read) as usize
    }

    /// The highest mark seen: nothing below it will be read any more.
    pub fn flushed_to(&self) -> u64 {
        self.flushed_to
    }

    /// Position of the next sample to be read.
    pub fn position(&self) -> u64 {
        self.read
    }

    /// Lets the other threads see how far this half has come.
    pub fn publish(&self) {
        self.mark.reader.discarded.store(self.discarded, Ordering::Relaxed);
        // Last, with release: who sees this position sees every counter that belongs to it.
        self.mark.reader.consumed.store(self.read, Ordering::Release);
    }

    /// The shared state.
    pub fn mark(&self) -> &Arc<Watermark> {
        &self.mark
    }
}

impl<R: SampleSource> Drop for MarkedReader<R> {
    fn drop(&mut self) {
        self.publish();
        self.mark.reader.gone.store(true, Ordering::Release);
    }
}
