//! One look at every stream: what it reports is logged, counted and fired as an event. On the thread of [`super::watch`].

use std::time::Instant;

use super::module::Module;
use crate::call::Sink as _;
use crate::event::{Event, Health, HealthChanged, Part, Stalled};
use crate::stream::handle::StreamHandle;

impl Module {
    /// Looks at every stream.
    pub(super) fn look_after_streams(&self, now: Instant) {
        for shard in self.shards() {
            let late = shard.since_tick(now);
            for stream in shard.streams() {
                stream.look_after(late, now, |event| {
                    report(&stream, &event);
                    self.events().emit(&stream, event);
                });
            }
        }
    }
}

/// Logs and counts what is reported of a stream.
fn report(stream: &StreamHandle, event: &Event) {
    let (call, name) = (stream.call(), stream.name());
    match event {
        Event::Stalled(Stalled { part, stalled: true, stalled_ms }) => {
            stream.series.stalls.count(part.as_str());
            match part {
                Part::Capture => {
                    tracing::error!(target: "CAPTURE", %call, op = "watchdog", outcome = "stalled", stream = %name,
                    stalled_ms, advice = "nobody reads the channel: the server receives no audio")
                }
                Part::Playback => {
                    tracing::error!(target: "INJECT", %call, op = "watchdog", outcome = "stalled", stream = %name,
                    stalled_ms, advice = "FreeSWITCH sends nothing to the caller: playback waits")
                }
                Part::Worker => {
                    tracing::error!(target: "LIFECYCLE", %call, op = "watchdog", outcome = "stalled", stream = %name,
                    stalled_ms, advice = "the module's thread is late: is the machine overloaded?")
                }
                Part::Service => {
                    tracing::error!(target: "AI_ENGINE", %call, op = "watchdog", outcome = "stalled", stream = %name,
                    stalled_ms, url = %stream.spec.endpoint, advice = "the service says nothing while the caller speaks")
                }
            }
        }
        Event::Stalled(Stalled { part, stalled: false, stalled_ms }) => {
            tracing::info!(target: "LIFECYCLE", notice = true, %call, op = "watchdog", outcome = "moving", stream = %name,
                part = part.as_str(), stalled_ms);
        }
        Event::HealthChanged(changed) => {
            let HealthChanged { health, before, .. } = changed;
            let (health_now, before, reasons) = (health.as_str(), before.as_str(), changed.why());
            if *health == Health::Healthy {
                tracing::info!(target: "LIFECYCLE", notice = true, %call, op = "health", outcome = "changed", stream = %name,
                    health = health_now, before);
            } else {
                tracing::warn!(target: "LIFECYCLE", %call, op = "health", outcome = "changed", stream = %name,
                    health = health_now, before, reasons);
            }
        }
        _ => {}
    }
}
