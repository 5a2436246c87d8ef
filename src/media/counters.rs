//! Counters and the latency histogram that the media thread bumps and everybody else reads.
//!
//! Relaxed atomics: a reader may be a frame behind, and two counters read one after the other may be a frame apart.
//! Nothing here waits or allocates. A [`Counter`] has one writer; a [`LatencyHistogram`] any number (the READ and the
//! WRITE_REPLACE callback of one bug overlap).

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// A count with one writing thread at a time. Wraps after 2⁶⁴.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owning thread may call this: with one writer a load and a store do, without a bus lock.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// [`add`](Self::add); a thread that sees it by [`observed`](Self::observed) sees all that was done before it.
    pub fn publish(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Release);
    }

    /// The value, and with it what was done before it was [`publish`](Self::publish)ed.
    pub fn observed(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Replaces the value; same owner as [`add`](Self::add).
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value as last seen.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The smallest bucket ends at 2⁶ = 64 ns.
const FIRST_OCTAVE: u32 = 6;
/// 64 ns … 2²⁶ ns = 67 ms.
const OCTAVES: usize = 20;
/// Buckets of each octave: a percentile is at most 25 % too high.
const PER_OCTAVE: usize = 4;
/// One below 64 ns, one at or above 67 ms.
const BUCKETS: usize = OCTAVES * PER_OCTAVE + 2;

/// How long the callbacks took: a log-linear histogram from 64 ns to 67 ms, four buckets to the octave.
///
/// 340 bytes. A bucket wraps after 2³² callbacks: 2.7 years of one call at 50 a second.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: [AtomicU32; BUCKETS],
    max_ns: AtomicU64,
    sum_ns: AtomicU64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
            max_ns: AtomicU64::new(0),
            sum_ns: AtomicU64::new(0),
        }
    }
}

impl LatencyHistogram {
    /// Counts one callback of `ns` nanoseconds. Any thread; two atomic additions.
    pub fn record_ns(&self, ns: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(ns)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.fetch_max(ns, Ordering::Relaxed);
        }
    }

    /// [`record_ns`](Self::record_ns) for a duration.
    pub fn record(&self, took: Duration) {
        self.record_ns(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The counts now. Not for the media thread: it copies all buckets.
    pub fn snapshot(&self) -> LatencySnapshot {
        let mut counts = [0; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = u64::from(bucket.load(Ordering::Relaxed));
        }
        LatencySnapshot {
            counts,
            max_ns: self.max_ns.load(Ordering::Relaxed),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

/// A [`LatencyHistogram`] at one moment, or several merged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LatencySnapshot {
    counts: [u64; BUCKETS],
    max_ns: u64,
    sum_ns: u64,
}

impl Default for LatencySnapshot {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], max_ns: 0, sum_ns: 0 }
    }
}

impl LatencySnapshot {
    /// Callbacks counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Time in all of them, ns. Wraps after 584 years.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Adds the callbacks to `within`: to each place those of at most the bound there, in ns, and to the place behind the last bound
    /// those above it. The bounds ascend; exact for the ends of octaves from 64 ns to 67 ms.
    pub fn add_within(&self, bounds: &[u64], within: &mut [u64]) {
        for (index, count) in self.counts.iter().enumerate() {
            let at = bounds.partition_point(|bound| *bound < upper_end_of(index));
            if let Some(sum) = within.get_mut(at) {
                *sum += count;
            }
        }
    }

    /// The longest one, exact.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// Half of the callbacks took no longer. Zero when there was none.
    pub fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// 99 of 100 callbacks took no longer. Zero when there was none.
    pub fn p99(&self) -> Duration {
        self.percentile(99)
    }

    /// The upper end of the bucket in which the `percent`-th percentile falls, and never above [`max`](Self::max).
    fn percentile(&self, percent: u64) -> Duration {
        let wanted = (self.count() * percent.min(100)).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return Duration::from_nanos(upper_end_of(index).min(self.max_ns));
            }
        }
        Duration::ZERO
    }

    /// Adds another stream's callbacks.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

fn bucket_of(ns: u64) -> usize {
    let Some(octave) = ns.checked_ilog2().filter(|octave| *octave >= FIRST_OCTAVE) else { return 0 };
    let quarter = (ns >> (octave - 2)) as usize & (PER_OCTAVE - 1);
    (1 + (octave - FIRST_OCTAVE) as usize * PER_OCTAVE + quarter).min(BUCKETS - 1)
}

/// First duration in ns above the bucket.
fn upper_end_of(index: usize) -> u64 {
    if index == BUCKETS - 1 {
        return u64::MAX;
    }
    let (octave, quarter) = (index / PER_OCTAVE, index % PER_OCTAVE);
    ((PER_OCTAVE + quarter) as u64) << (FIRST_OCTAVE as usize + octave - 2)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_durations_bucket_ends_at_most_a_quarter_above_it() {
        for ns in (0..64).map(|bit| 1_u64 << bit).flat_map(|base| [base - 1, base, base + base / 3, base + base / 2]) {
            let index = bucket_of(ns);
            let upper = upper_end_of(index);
            assert!(index == BUCKETS - 1 || ns < upper, "{ns} in {index} ending at {upper}");
            assert!(index == 0 || index == BUCKETS - 1 || upper <= ns + ns.div_ceil(4), "{ns} in {index} to {upper}");
            assert!(index == 0 || ns >= upper_end_of(index - 1), "{ns} belongs below {index}");
        }
        assert_eq!((upper_end_of(0), upper_end_of(BUCKETS - 2)), (64, 1 << 26));
    }

    #[test]
    fn percentiles_and_maximum_of_a_known_distribution() {
        let histogram = LatencyHistogram::default();
        for _ in 0..98 {
            histogram.record_ns(1_000);
        }
        histogram.record_ns(20_000);
        histogram.record(Duration::from_millis(3));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 100);
        assert_eq!(snapshot.p50(), Duration::from_nanos(1_024));
        assert!((20_000..=25_000).contains(&snapshot.p99().as_nanos()), "{:?}", snapshot.p99());
        assert_eq!(snapshot.max(), Duration::from_millis(3));
        assert_eq!(snapshot.sum_ns(), 98 * 1_000 + 20_000 + 3_000_000);
        let mut within = [0; 4];
        snapshot.add_within(&[512, 1_024, 32_768], &mut within);
        assert_eq!(within, [0, 98, 1, 1]);
        assert_eq!(snapshot.percentile(100), Duration::from_millis(3));
    }

    #[test]
    fn an_empty_histogram_has_zeros_and_a_second_does_not_overflow() {
        assert_eq!(LatencySnapshot::default().p99(), Duration::ZERO);
        let histogram = LatencyHistogram::default();
        histogram.record(Duration::from_secs(1));
        histogram.record_ns(u64::MAX);
        assert_eq!(histogram.snapshot().p50(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn merging_adds_the_callbacks_of_two_streams() {
        let (one, two) = (LatencyHistogram::default(), LatencyHistogram::default());
        one.record_ns(100);
        two.record_ns(5_000);
        let mut both = one.snapshot();
        both.merge(&two.snapshot());
        assert_eq!((both.count(), both.max()), (2, Duration::from_nanos(5_000)));
    }

    #[test]
    fn finding_018_two_threads_lose_no_count_while_a_third_reads() {
        let histogram = LatencyHistogram::default();
        let frames = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..20_000).for_each(|ns| histogram.record_ns(ns)));
            }
            scope.spawn(|| (0..20_000).for_each(|_| frames.add(1)));
            let mut last = (0, 0);
            while last.1 < 40_000 {
                let now = (frames.get(), histogram.snapshot().count());
                assert!(now.0 >= last.0 && now.1 >= last.1, "{now:?} after {last:?}");
                last = now;
            }
        });
        assert_eq!((frames.get(), histogram.snapshot().count()), (20_000, 40_000));
    }
}
