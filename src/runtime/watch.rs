//! The thread that watches over all streams, every second: [`crate::stream::watch`].
//!
//! It is no worker, so that a worker that hangs is noticed. It waits for nothing but its clock and short locks.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ending::Ending;
use super::host::Host;
use super::module::Module;
use crate::call::Sink as _;
use crate::event::{Event, Health, HealthChanged, Part, Stalled};
use crate::stream::handle::StreamHandle;
use crate::stream::watch::EVERY;

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-watch";

/// The thread.
#[derive(Default)]
pub(super) struct WatchThread {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    stopping: Mutex<bool>,
    changed: Condvar,
}

impl WatchThread {
    /// Starts the thread.
    pub(super) fn run(&self, module: Weak<Module>, host: Arc<dyn Host>) -> std::io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            while !shared.stops_within(EVERY) {
                let Some(module) = module.upgrade() else { return };
                module.watch(Instant::now());
            }
        })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self, ending: &Ending, rest: Duration) {
        *self.shared.stopping.lock() = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            ending.join_named(rest, THREAD, thread);
        }
    }
}

impl Shared {
    /// Waits for `time`, or until the thread is to end; whether it is.
    fn stops_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut stopping = self.stopping.lock();
        while !*stopping && !self.changed.wait_until(&mut stopping, until).timed_out() {}
        *stopping
    }
}

impl Module {
    /// Looks at every stream.
    fn watch(&self, now: Instant) {
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
