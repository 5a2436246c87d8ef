//! Peak and RMS of a channel, over all of a recording.
//!
//! The writer's thread adds what it writes; any thread reads. Three atomics, stored one after the other: a reader may see a
//! moment's RMS with the peak of the moment before, never a torn number.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::event::ChannelLevel;

/// The level of one channel so far.
#[derive(Debug, Default)]
pub struct Level {
    peak: AtomicU16,
    /// Exact: 2^64 holds the squares of full scale for 2^34 samples, sixteen times what fits into a file.
    squares: AtomicU64,
    samples: AtomicU64,
}

impl Level {
    /// Adds samples. The writer's thread alone.
    pub fn add(&self, samples: impl Iterator<Item = i16>) {
        let (mut peak, mut squares, mut count) = (self.peak.load(Ordering::Relaxed), 0_u64, 0_u64);
        for sample in samples {
            let size = sample.unsigned_abs();
            peak = peak.max(size);
            squares += u64::from(size) * u64::from(size);
            count += 1;
        }
        self.peak.store(peak, Ordering::Relaxed);
        self.squares.fetch_add(squares, Ordering::Relaxed);
        self.samples.fetch_add(count, Ordering::Relaxed);
    }

    /// The level now.
    pub fn read(&self) -> ChannelLevel {
        let samples = self.samples.load(Ordering::Relaxed).max(1);
        let mean_square = self.squares.load(Ordering::Relaxed) / samples;
        ChannelLevel { peak: self.peak.load(Ordering::Relaxed), mean_square }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_and_rms_are_those_of_everything_added() {
        let level = Level::default();
        assert_eq!(level.read(), ChannelLevel { peak: 0, mean_square: 0 });
        level.add([30, -40].into_iter());
        level.add(std::iter::repeat_n(0, 2));
        assert_eq!(level.read(), ChannelLevel { peak: 40, mean_square: 625 });
        level.add([i16::MIN; 1_000].into_iter());
        let squares = 2_500 + 1_000 * (1 << 30);
        assert_eq!(level.read(), ChannelLevel { peak: 32_768, mean_square: squares / 1_004 });
    }
}
