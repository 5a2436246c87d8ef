//! The metrics of the module: what all streams, those that have ended included, and the threads have counted.
//!
//! Written on the API thread or the status server's, from atomics and short locks.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::module::{BUILD, Module};
use crate::stream::handle::StreamHandle;
use crate::stream::spec::StreamSpec;
use crate::stream::state::StreamMode;
use crate::stream::totals::StreamTotals;
use crate::telemetry::metrics::list::{
    BREAKER_STATE, BREAKERS, BUILD_INFO, CLOCK_LATENESS, EVENTS_DROPPED, PLAYBACK_WAITING, RECORDINGS, REFUSED,
    STREAM_HEALTH, STREAM_STATES, STREAMS, TTS_CACHE, TTS_CACHE_BYTES, TTS_CACHE_ENTRIES, UPTIME, WORKER_LATENESS,
};
use crate::telemetry::metrics::{AllSeries, Histogram, NO_PROFILE, Outcomes, Page, Series, SeriesKey};
use crate::transport::BreakerState;

/// What the module counts besides what its streams do.
pub(super) struct ModuleMetrics {
    series: AllSeries,
    /// Of streams that have ended. Locked from the moment a stream's counts are added here until it is out of the registry, and
    /// while a page reads both: so each stream is counted once.
    ended: Mutex<BTreeMap<SeriesKey, StreamTotals>>,
    /// Starts that were refused.
    pub(super) refused: Outcomes,
    /// How late the playout clock is.
    pub(super) clock_lateness: Arc<Histogram>,
    /// How late the workers' ticks are.
    pub(super) worker_lateness: Arc<Histogram>,
}

impl Default for ModuleMetrics {
    fn default() -> Self {
        Self {
            series: AllSeries::default(),
            ended: Mutex::default(),
            refused: Outcomes::default(),
            clock_lateness: Arc::new(Histogram::new(&CLOCK_LATENESS)),
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
}

impl Module {
    /// Takes a stream that has ended out of the registry; its counts stay.
    pub(super) fn forget(&self, stream: &StreamHandle) {
        let outcome = stream.outcome().is_none_or(|error| error.is_empty());
        stream.series.ended.count(if outcome { "ok" } else { "error" });
        let mut ended = self.metrics.ended.lock();
        ended.entry(stream.series.key.clone()).or_default().add(&StreamTotals::of(stream));
        self.registry().remove(stream);
    }

    /// Everything as Prometheus reads it.
    pub fn metrics_page(&self) -> String {
        let mut page = Page::default();
        self.write_streams(&mut page);
        self.write_module(&mut page);
        page.finish()
    }

    fn write_streams(&self, page: &mut Page) {
        let (streams, mut totals) = {
            let ended = self.metrics.ended.lock();
            let streams = self.registry().all();
            let mut totals = ended.clone();
            for stream in &streams {
                totals.entry(stream.series.key.clone()).or_default().add(&StreamTotals::of(stream));
            }
            (streams, totals)
        };
        for series in self.metrics.series.all() {
            let totals = totals.remove(&series.key).unwrap_or_default();
            totals.write(&series.key, page);
            series.write(page);
            page.count(&STREAMS, &series.key.labels(), 0);
        }
        let mut waiting = 0;
        for stream in &streams {
            page.count(&STREAMS, &stream.series.key.labels(), 1);
            let status = self.status_of(stream, None);
            let mode = match status.mode {
                StreamMode::Ws => "ws",
                StreamMode::Ai => "ai",
            };
            page.count(&STREAM_STATES, &[("mode", mode), ("state", status.state)], 1);
            page.count(&STREAM_HEALTH, &[("health", status.health.as_str())], 1);
            waiting += status.inject.buffer_inuse_bytes;
        }
        page.count(&PLAYBACK_WAITING, &[], waiting);
    }

    fn write_module(&self, page: &mut Page) {
        page.count(&BUILD_INFO, &[("version", BUILD.version), ("commit", BUILD.build.commit)], 1);
        page.count(&UPTIME, &[], self.uptime().as_secs());
        for (reason, count) in self.metrics.refused.snapshot() {
            page.count(&REFUSED, &[("reason", reason)], count);
        }
        page.count(&RECORDINGS, &[], self.recorder().registry().all().len() as u64);
        page.distribution(&CLOCK_LATENESS, &[], self.metrics.clock_lateness.snapshot());
        page.distribution(&WORKER_LATENESS, &[], self.metrics.worker_lateness.snapshot());
        page.count(&EVENTS_DROPPED, &[], self.events_dropped());
        let cache = self.speech_cache();
        for (outcome, count) in [("hit", cache.hits), ("joined", cache.joined), ("miss", cache.misses)] {
            page.count(&TTS_CACHE, &[("outcome", outcome)], count);
        }
        page.count(&TTS_CACHE_BYTES, &[], cache.bytes as u64);
        page.count(&TTS_CACHE_ENTRIES, &[], cache.entries as u64);
        self.write_breakers(page);
    }

    fn write_breakers(&self, page: &mut Page) {
        let mut worst: BTreeMap<(&str, String), u64> = BTreeMap::new();
        for report in self.breakers() {
            let (kind, state) = (report.kind.as_str(), report.state);
            page.count(&BREAKERS, &[("kind", kind), ("state", state.as_str())], 1);
            let number = match state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            let label = self.metrics.series.server_label(&report.place).to_owned();
            let known = worst.entry((kind, label)).or_default();
            *known = number.max(*known);
        }
        for ((kind, server), number) in worst {
            page.count(&BREAKER_STATE, &[("kind", kind), ("server", &server)], number);
        }
    }
}
