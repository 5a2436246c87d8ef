//! Rings of samples between one producer and one consumer, and the little that the media path asks of them.
//!
//! A ring is walked from end to end however few samples wait in it, so a long one keeps as much of the processor's cache busy
//! as it has room, for each of thousands of calls. What may come needs a long one: a re-INVITE to another codec, a busy
//! worker. Therefore [`sample_ring`] makes two: a short one for what an ordinary call keeps in it, and a spare one whose memory
//! nobody touches until the short one is full.
//!
//! ```text
//! producer ─┬─► usual ─┬─► consumer    all that waits in `usual` is older than what waits in `spare`:
//!           └─► spare ─┘               once something is in `spare`, the rest follows there until it is empty
//! ```
//! `rtrb` in the module, a model in `tests/loom_flush.rs` (rtrb's own atomics are not loom's). Unit: `i16` samples, all
//! channels counted. Neither side ever waits, allocates or frees; the blocks are freed by the half dropped last.

/// The producer's half. One thread at a time.
pub trait SampleSink {
    /// Samples that fit now; it can only grow until the next write.
    fn free(&self) -> usize;

    /// Copies as many of the first `samples` as fit and makes them visible to the consumer; returns how many.
    fn write(&mut self, samples: &[i16]) -> usize;
}

/// The consumer's half. One thread at a time.
pub trait SampleSource {
    /// Samples that can be read now; it can only grow until the next read.
    fn held(&self) -> usize;

    /// Hands the `count` oldest samples to `visit`, in one slice or, around an end of a ring, in more, and frees their
    /// room. Nothing is read where there are fewer than `count`.
    fn read(&mut self, count: usize, visit: impl FnMut(&[i16]));

    /// Frees the room of the `count` oldest samples unread; same bound as [`read`](Self::read).
    fn skip(&mut self, count: usize);
}

/// How many samples a ring has room for, all channels counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingSize {
    /// As many as wait in an ordinary call.
    pub usual: usize,
    /// As many as may come beside them. It is reserved and not touched before it is needed.
    pub spare: usize,
}

impl RingSize {
    /// All that there is room for.
    pub const fn all(self) -> usize {
        self.usual + self.spare
    }
}

impl From<usize> for RingSize {
    /// Of one ring alone.
    fn from(usual: usize) -> Self {
        Self { usual, spare: 0 }
    }
}

/// The producer's half of a ring of samples.
pub type SampleWriter = Spilling<rtrb::Producer<i16>>;
/// The consumer's half of a ring of samples.
pub type SampleReader = Gathering<rtrb::Consumer<i16>>;

/// A ring for `size` samples. Allocates; not for the media thread.
#[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
pub fn sample_ring(size: RingSize) -> (SampleWriter, SampleReader) {
    let (usual_in, usual_out) = rtrb::RingBuffer::new(size.usual);
    let (spare_in, spare_out) = rtrb::RingBuffer::new(size.spare);
    (Spilling::new(usual_in, spare_in), Gathering::new(usual_out, spare_out))
}

/// Writes to one ring, and to a second one from when the first is full until the second is empty.
#[derive(Debug)]
pub struct Spilling<W: SampleSink> {
    usual: W,
    spare: W,
    /// Room in `spare` while nothing is in it.
    spare_size: usize,
    /// Something was written to `spare` and was still there at the last look.
    spilled: bool,
}

impl<W: SampleSink> Spilling<W> {
    /// Over two empty rings.
    pub fn new(usual: W, spare: W) -> Self {
        let spare_size = spare.free();
        Self { usual, spare, spare_size, spilled: false }
    }

    /// Whether something is still in `spare`. Does not touch it where nothing was written to it.
    fn spills(&self) -> bool {
        self.spilled && self.spare.free() < self.spare_size
    }
}

impl<W: SampleSink> SampleSink for Spilling<W> {
    fn free(&self) -> usize {
        if self.spills() { self.spare.free() } else { self.usual.free() + self.spare_size }
    }

    fn write(&mut self, samples: &[i16]) -> usize {
        self.spilled = self.spills();
        let before = if self.spilled { 0 } else { self.usual.write(samples) };
        let rest = samples.get(before..).unwrap_or_default();
        if rest.is_empty() || self.spare_size == 0 {
            return before;
        }
        let spilled = self.spare.write(rest);
        self.spilled |= spilled > 0;
        before + spilled
    }
}

/// Reads what a [`Spilling`] has written, in its order.
#[derive(Debug)]
pub struct Gathering<R: SampleSource> {
    usual: R,
    spare: R,
}

impl<R: SampleSource> Gathering<R> {
    /// Over the other halves of a [`Spilling`]'s rings.
    pub const fn new(usual: R, spare: R) -> Self {
        Self { usual, spare }
    }

    /// How many of the `count` oldest samples are in `usual` and in `spare`; `None` where there are fewer than `count`.
    ///
    /// What `usual` holds is older than all in `spare`, and stays so: nothing is written to it before `spare` is empty.
    fn parts(&self, count: usize) -> Option<(usize, usize)> {
        let held = self.usual.held();
        if held >= count {
            return Some((count, 0));
        }
        // Looked at once more: had `spare` been empty, both may have been written to in between, `usual` first.
        let spare = count - held;
        (self.spare.held() >= spare && self.usual.held() == held).then_some((held, spare))
    }
}

impl<R: SampleSource> SampleSource for Gathering<R> {
    fn held(&self) -> usize {
        // In this order: what is written between the two looks is newer than what the first one counts.
        let usual = self.usual.held();
        usual + self.spare.held()
    }

    fn read(&mut self, count: usize, mut visit: impl FnMut(&[i16])) {
        let Some((usual, spare)) = self.parts(count) else { return };
        if usual > 0 {
            self.usual.read(usual, &mut visit);
        }
        if spare > 0 {
            self.spare.read(spare, visit);
        }
    }

    fn skip(&mut self, count: usize) {
        let Some((usual, spare)) = self.parts(count) else { return };
        if usual > 0 {
            self.usual.skip(usual);
        }
        if spare > 0 {
            self.spare.skip(spare);
        }
    }
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
    fn held(&self) -> usize {
        self.slots()
    }

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

#[cfg(all(test, not(loom)))]
mod tests;
