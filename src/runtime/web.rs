//! The pages of [`PAGES`](crate::control::web::PAGES) at this moment. Made on the thread that serves them.

use std::hash::{BuildHasher as _, RandomState};

use http::StatusCode;

use super::module::Module;
use crate::control::health::{BreakerList, json};
use crate::control::web::{PageRow, Readiness, StatusJson, WebPage, status_page};
use crate::transport::Reply;

impl Module {
    /// The page at a path; `None` where there is none.
    pub(super) fn web_page(&self, path: &str) -> Option<Reply> {
        let row = PageRow::of(path)?;
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
                let unloading = self.registry().is_closed().then_some("unloading");
                let reason = unloading.or_else(|| self.drain.is_on().then_some("draining"));
                if reason.is_some() {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                }
                json(&Readiness { ready: reason.is_none(), reason })
            }
        };
        Some(Reply { status, content_type: row.content_type, content_security_policy, body })
    }

    fn status_json(&self) -> String {
        let streams = self.registry().all();
        let statuses = self.statuses(&streams);
        let recordings = self.recorder().registry().all().len();
        let shown = streams.iter().map(|stream| &stream.spec).zip(&statuses);
        json(&StatusJson::of(self.global_health(), recordings, BreakerList::of(self.breakers()), shown))
    }
}
