//! The page of metrics: what all streams, those that have ended included, and the module's threads have counted.
//!
//! Written on the thread that asks, from atomics and short locks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::memory::resident_bytes;
use super::module::{BUILD, Module};
use crate::blocking;
use crate::stream::state::StreamMode;
use crate::telemetry::metrics::Page;
use crate::telemetry::metrics::list::{
    BLOCKING_JOBS, BLOCKING_WAITED, BREAKER_STATE, BREAKERS, BUILD_INFO, CLOCK_HELD_UP, CLOCK_LATENESS, DRAINING,
    EVENTS_DROPPED, PLAYBACK_WAITING, PROCESS_MEMORY, RECORDINGS, REFUSED, STREAM_HEALTH, STREAM_STATES, STREAMS,
    TTS_CACHE, TTS_CACHE_BYTES, TTS_CACHE_ENTRIES, UPTIME, WORKER_LATENESS,
};
use crate::transport::BreakerState;

impl Module {
    /// Everything as Prometheus reads it.
    pub fn metrics_page(&self) -> String {
        let mut page = Page::default();
        self.write_streams(&mut page);
        self.write_module(&mut page);
        page.finish()
    }

    fn write_streams(&self, page: &mut Page) {
        let (streams, mut totals) = self.metrics.totals(self.registry());
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
        if let Some(bytes) = resident_bytes() {
            page.count(&PROCESS_MEMORY, &[], bytes);
        }
        page.count(&DRAINING, &[], u64::from(self.drain.is_on()));
        for (reason, count) in self.metrics.refused.snapshot() {
            page.count(&REFUSED, &[("reason", reason)], count);
        }
        page.count(&RECORDINGS, &[], self.recorder().registry().all().len() as u64);
        page.distribution(&CLOCK_LATENESS, &[], self.metrics.clock.lateness.snapshot());
        page.count(&CLOCK_HELD_UP, &[], self.metrics.clock.held_up.load(Ordering::Relaxed));
        page.distribution(&WORKER_LATENESS, &[], self.metrics.worker_lateness.snapshot());
        page.count(&EVENTS_DROPPED, &[], self.events_dropped());
        let cache = self.speech_cache();
        for (outcome, count) in [("hit", cache.hits), ("joined", cache.joined), ("miss", cache.misses)] {
            page.count(&TTS_CACHE, &[("outcome", outcome)], count);
        }
        page.count(&TTS_CACHE_BYTES, &[], cache.bytes as u64);
        page.count(&TTS_CACHE_ENTRIES, &[], cache.entries as u64);
        self.write_blocking(page);
        self.write_breakers(page);
    }

    fn write_blocking(&self, page: &mut Page) {
        for kind in blocking::Kind::all() {
            let (load, kind) = (self.blocking.load(kind), kind.as_str());
            page.count(&BLOCKING_JOBS, &[("kind", kind), ("state", "running")], load.running as u64);
            page.count(&BLOCKING_JOBS, &[("kind", kind), ("state", "waiting")], load.waiting);
            page.count(&BLOCKING_WAITED, &[("kind", kind)], load.waited);
        }
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
                BreakerState::Busy => 3,
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
