//! What the module counts besides what its streams do, and the streams that have ended.
//!
//! Counted on workers; read from atomics and under short locks by the thread that asks for the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::clock::ClockMetrics;
use crate::call::Registry;
use crate::stream::handle::StreamHandle;
use crate::stream::spec::StreamSpec;
use crate::stream::totals::StreamTotals;
use crate::telemetry::metrics::list::WORKER_LATENESS;
use crate::telemetry::metrics::{AllSeries, Histogram, NO_PROFILE, Outcomes, Series, SeriesKey};

/// Counts of streams by their labels.
type Totals = BTreeMap<SeriesKey, StreamTotals>;

/// What the module counts besides what its streams do.
pub(super) struct ModuleMetrics {
    /// What streams count.
    pub(super) series: AllSeries,
    /// Of streams that have ended. Locked from the moment a stream's counts are added here until it is out of the registry, and
    /// while a page reads both: so each stream is counted once.
    ended: Mutex<Totals>,
    /// Starts that were refused.
    pub(super) refused: Outcomes,
    /// Of the playout clock.
    pub(super) clock: Arc<ClockMetrics>,
    /// How late the workers' ticks are.
    pub(super) worker_lateness: Arc<Histogram>,
}

impl Default for ModuleMetrics {
    fn default() -> Self {
        Self {
            series: AllSeries::default(),
            ended: Mutex::default(),
            refused: Outcomes::default(),
            clock: Arc::default(),
            worker_lateness: Arc::new(Histogram::new(&WORKER_LATENESS)),
        }
    }
}

impl ModuleMetrics {
    /// The series of a stream that is about to start.
    pub(super) fn series_of(&self, spec: &StreamSpec) -> Arc<Series> {
        self.series.of(SeriesKey {
            protocol: spec.options.protocol,
            profile: spec.profile.clone().unwrap_or_else(|| NO_PROFILE.to_owned()),
            server: spec.endpoint.endpoint().origin(),
        })
    }

    /// Takes a stream that has ended out of the registry; its counts stay.
    pub(super) fn forget(&self, registry: &Registry<StreamHandle>, stream: &StreamHandle) {
        let well = stream.outcome().is_none_or(|error| error.is_empty());
        stream.series.ended.count(if well { "ok" } else { "error" });
        let mut ended = self.ended.lock();
        ended.entry(stream.series.key.clone()).or_default().add(&StreamTotals::of(stream));
        registry.remove(stream);
    }

    /// The streams there are, and the counts of all there were.
    pub(super) fn totals(&self, registry: &Registry<StreamHandle>) -> (Vec<Arc<StreamHandle>>, Totals) {
        let ended = self.ended.lock();
        let streams = registry.all();
        let mut totals = ended.clone();
        for stream in &streams {
            totals.entry(stream.series.key.clone()).or_default().add(&StreamTotals::of(stream));
        }
        (streams, totals)
    }
}
