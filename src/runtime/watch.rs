//! The thread that watches over all streams, every second: [`crate::stream::watch`].
//!
//! It is no worker, so that a worker that hangs is noticed. It waits for nothing but its clock and short locks.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ending::Ending;
use super::host::Host;
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
    /// Starts the thread, which calls `look` until that returns `false`.
    pub(super) fn run(
        &self,
        host: Arc<dyn Host>,
        look: impl Fn(Instant) -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            while !shared.stops_within(EVERY) && look(Instant::now()) {}
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
