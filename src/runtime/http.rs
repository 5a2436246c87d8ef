//! The thread that answers HTTP requests: the pages of [`PAGES`](crate::control::web::PAGES), made from atomics and short locks.
//!
//! It has a runtime of its own, so that a page of a thousand streams delays no audio. It exists only where `http_listen` is set.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::Notify;

use super::host::Host;
use super::module::Module;
use crate::control::health::{BreakerList, json};
use crate::control::web::{PageRow, Readiness, StatusJson, WebPage, status_page};
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
    /// Listens on `address` and answers for `module` until [`stop`](Self::stop). The error is for the operator: nothing is
    /// served then, and nothing else depends on it.
    pub(super) fn start(
        &self,
        address: ListenAddress,
        host: Arc<dyn Host>,
        module: Weak<Module>,
    ) -> std::io::Result<()> {
        let listener = HttpListener::bind(address)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let at = listener.address();
        let stop = self.stop.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            let answer = move |path: &str| Some(module.upgrade()?.web_page(PageRow::of(path)?));
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
                advice = "everybody who reaches this address can read the pages: they name calls and servers");
        }
        Ok(())
    }

    /// Ends the thread and waits for it; replies that are being sent are cut off.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Module {
    fn web_page(&self, row: &PageRow) -> Reply {
        let (mut status, mut content_security_policy) = (StatusCode::OK, None);
        let body = match row.page {
            WebPage::Status => {
                // Randomly keyed each time.
                let (page, policy) = status_page(RandomState::new().hash_one(()));
                content_security_policy = Some(policy);
                page
            }
            WebPage::StatusJson => self.status_json(),
            WebPage::Metrics => self.metrics_page(),
            WebPage::Healthz => json(&self.global_health()),
            WebPage::Readyz => {
                let reason = self.registry().is_closed().then_some("unloading");
                if reason.is_some() {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                }
                json(&Readiness { ready: reason.is_none(), reason })
            }
        };
        Reply { status, content_type: row.content_type, content_security_policy, body }
    }

    fn status_json(&self) -> String {
        let streams = self.registry().all();
        let statuses = self.statuses(&streams);
        let recordings = self.recorder().registry().all().len();
        let shown = streams.iter().map(|stream| &stream.spec).zip(&statuses);
        json(&StatusJson::of(self.global_health(), recordings, BreakerList::of(self.breakers()), shown))
    }
}
