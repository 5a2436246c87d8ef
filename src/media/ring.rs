//! The little that the media path asks of a single-producer single-consumer ring of samples.
//!
//! `rtrb` in the module, a model in `tests/loom_flush.rs` (rtrb's own atomics are not loom's). Unit: `i16` samples, all
//! channels counted. Neither side ever waits, allocates or frees; the block is freed by the half dropped last.

/// The producer's half. One thread at a time.
pub trait SampleSink {
    /// Samples that fit now; it can only grow until the next write.
    fn free(&self) -> usize;

    /// Copies as many of the first `samples` as fit and makes them visible to the consumer at once; returns how many.
    fn write(&mut self, samples: &[i16]) -> usize;
}

/// The consumer's half. One thread at a time.
pub trait SampleSource {
    /// Hands the `count` oldest samples to `visit`, in one slice or, around the ring's end, in two, and frees their
    /// room. Nothing is read where there are fewer than `count`.
    fn read(&mut self, count: usize, visit: impl FnMut(&[i16]));

    /// Frees the room of the `count` oldest samples unread; same bound as [`read`](Self::read).
    fn skip(&mut self, count: usize);
}

impl SampleSink for rtrb::Producer<i16> {
    fn free(&self) -> usize {
        self.slots()
    }

    fn write(&mut self, samples: &[i16]) -> usize {
        self.push_partial_slice(samples).0.len()
    }
}

impl SampleSource for rtrb::Consumer<i16> {
    fn read(&mut self, count: usize, mut visit: impl FnMut(&[i16])) {
        if let Ok(chunk) = self.read_chunk(count) {
            let (first, second) = chunk.as_slices();
            for part in [first, second] {
                if !part.is_empty() {
                    visit(part);
                }
            }
            chunk.commit_all();
        }
    }

    fn skip(&mut self, count: usize) {
        if let Ok(chunk) = self.read_chunk(count) {
            chunk.commit_all();
        }
    }
}
