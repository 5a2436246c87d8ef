//! The thread that answers HTTP requests.
//!
//! It has a runtime of its own, so that a page of a thousand streams delays no audio. It exists only where `http_listen` is set.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::Notify;

use super::ending::Ending;
use super::host::Host;
use crate::transport::{HttpListener, ListenAddress, Reply};

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-http";

/// The thread, if there is one.
#[derive(Default)]
pub(super) struct HttpThread {
    stop: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl HttpThread {
    /// Listens on `address` until [`stop`](Self::stop); `answer` makes the page of a path. The error is for the operator: nothing
    /// is served then, and nothing else depends on it.
    pub(super) fn start(
        &self,
        address: ListenAddress,
        host: &Arc<dyn Host>,
        answer: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static,
    ) -> std::io::Result<()> {
        let listener = HttpListener::bind(address)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let at = listener.address();
        let (stop, host) = (self.stop.clone(), host.clone());
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            let served = runtime.block_on(async {
                tokio::select! {
                    () = stop.notified() => Ok(()),
                    served = listener.serve(answer) => served.map(|_| ()),
                }
            });
            if let Err(error) = served {
                tracing::error!(target: "LIFECYCLE", op = "http", outcome = "failed", %error);
            }
        })?;
        *self.thread.lock() = Some(thread);
        tracing::info!(target: "LIFECYCLE", notice = true, op = "http", outcome = "ok", address = %at);
        if !at.is_loopback() {
            tracing::warn!(target: "LIFECYCLE", op = "http", outcome = "public", address = %at,
                advice = "everybody who can reach this address can read the pages, which name calls and servers");
        }
        Ok(())
    }

    /// Ends the thread and waits for it; replies that are being sent are cut off.
    pub(super) fn stop(&self, ending: &Ending, rest: Duration) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            ending.join_named(rest, THREAD, thread);
        }
    }
}
