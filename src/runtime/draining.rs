//! Draining and the limits of the process, as starts and commands meet them.
//!
//! On API and dialplan threads, and for the time limit of draining on a shard, which waits for nothing.

use std::sync::Arc;
use std::time::Instant;

use super::execute::OK;
use super::memory::resident_bytes;
use super::module::{Module, StartError};
use crate::call::Sink as _;
use crate::control::command::DrainOrder;
use crate::control::health::{DrainReport, json};
use crate::stream::handle::StreamCommand;

/// What the final events say of what draining has ended.
const DRAIN: &str = "drain";

impl Module {
    /// Refuses what is new while the module drains or memory is short.
    pub(super) fn admit(&self) -> Result<(), StartError> {
        if self.drain.is_on() {
            return Err(StartError::Draining);
        }
        let limit = self.config().module().max_memory_mib;
        if limit > 0
            && let Some(used) = resident_bytes().map(|bytes| bytes >> 20).filter(|used| *used >= limit.into())
        {
            return Err(StartError::Memory { limit, used });
        }
        Ok(())
    }

    /// Carries out an order about draining.
    pub(super) fn order_drain(self: &Arc<Self>, order: DrainOrder) -> String {
        match order {
            DrainOrder::On { limit } => {
                if let Some(until) = self.drain.begin(limit) {
                    self.end_live_at(until);
                }
                let DrainReport { streams, recordings, waiting, .. } = self.drain_report();
                tracing::info!(target: "LIFECYCLE", notice = true, op = "drain", outcome = "on", streams, recordings, waiting,
                    limit_s = limit.map_or(0, |limit| limit.as_secs()));
                OK.to_owned()
            }
            DrainOrder::Off => {
                if self.drain.end() {
                    tracing::info!(target: "LIFECYCLE", notice = true, op = "drain", outcome = "off");
                }
                OK.to_owned()
            }
            DrainOrder::Status => json(&self.drain_report()),
        }
    }

    fn drain_report(&self) -> DrainReport {
        DrainReport {
            drain: self.drain.status(),
            streams: self.registry().all().len(),
            recordings: self.recorder().registry().all().len(),
            waiting: self.starts().count(),
        }
    }

    /// Has what is live ended at `until`, unless draining has ended or has another limit by then.
    fn end_live_at(self: &Arc<Self>, until: Instant) {
        let module = Arc::downgrade(self);
        let Some(shard) = self.shards().first() else { return };
        shard.spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            if let Some(module) = module.upgrade().filter(|module| module.drain.take_due(Instant::now())) {
                module.end_drained();
            }
        });
    }

    /// Ends everything that is live. Never waits: the bugs are taken off by the thread for that.
    fn end_drained(&self) {
        let DrainReport { streams, recordings, waiting, .. } = self.drain_report();
        tracing::warn!(target: "LIFECYCLE", op = "drain", outcome = "limit", streams, recordings, waiting,
            text = "the time limit is over; what is still live ends now");
        for (waiting, idle) in self.starts().take_all() {
            // The thread that tries it finds it gone, and does the rest.
            if idle {
                self.no_longer_waits(&waiting, None, "", DRAIN);
            }
        }
        for stream in self.registry().all() {
            self.registry().release_name(&stream);
            // An ended or overwhelmed task ends anyway, by the bug's removal.
            let _ = stream.command(StreamCommand::Expire { limit: DRAIN });
            self.events().detach(&stream);
        }
        for recording in self.recorder().registry().all() {
            self.recorder().registry().release_name(&recording);
            recording.end_because(DRAIN);
            self.events().detach(&recording);
        }
    }
}
