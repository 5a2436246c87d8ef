//! Values that workers count and the page reads.
//!
//! Relaxed atomics, except [`Outcomes`], whose lock is held for a look-up. Any thread but the media thread, which has counters
//! of its own in [`crate::media`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::list::{Kind, Metric};

/// Durations, counted by their bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Empty, with the bounds of `metric`.
    pub fn new(metric: &Metric) -> Self {
        let bounds = match metric.kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        };
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum_ns: AtomicU64::new(0) }
    }

    /// Counts one duration. Never waits.
    pub fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn snapshot(&self) -> Distribution {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Distribution { bounds: self.bounds, counts, sum_ns: self.sum_ns.load(Ordering::Relaxed) }
    }
}

/// A histogram at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Distribution {
    /// Upper bounds, ns; each belongs to its bucket.
    pub bounds: &'static [u64],
    /// Observations of each bucket, and of what is above the last bound.
    pub counts: Vec<u64>,
    /// Sum of all observations, ns.
    pub sum_ns: u64,
}

/// A count for each of a few words.
#[derive(Debug, Default)]
pub struct Outcomes(Mutex<BTreeMap<&'static str, u64>>);

impl Outcomes {
    /// Counts one.
    pub fn count(&self, outcome: &'static str) {
        self.add(outcome, 1);
    }

    /// Counts several.
    pub fn add(&self, outcome: &'static str, count: u64) {
        *self.0.lock().entry(outcome).or_default() += count;
    }

    /// The counts now.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_under_the_first_bound_not_exceeded() {
        let metric = Metric { name: "x_seconds", help: "", kind: Kind::Histogram(&[10, 20]) };
        let histogram = Histogram::new(&metric);
        [0, 10, 11, 20, 21, 1_000].iter().for_each(|ns| histogram.record(Duration::from_nanos(*ns)));
        assert_eq!(histogram.snapshot(), Distribution { bounds: &[10, 20], counts: vec![2, 2, 2], sum_ns: 1_062 });
    }

    #[test]
    fn each_outcome_has_a_count_of_its_own() {
        let outcomes = Outcomes::default();
        ["ok", "error", "ok"].iter().for_each(|outcome| outcomes.count(outcome));
        assert_eq!(outcomes.snapshot(), BTreeMap::from([("error", 1), ("ok", 2)]));
    }
}
