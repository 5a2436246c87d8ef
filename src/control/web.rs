//! The pages that browsers, load balancers and Prometheus get over HTTP where `http_listen` is set.
//!
//! Pure: paths and the JSON of the status page. To add a page, add a [`WebPage`] and a row here, and answer it in the runtime.

use serde::Serialize;

use super::health::{BreakerList, GlobalHealth};
use crate::event::Health;
use crate::stream::spec::StreamSpec;
use crate::stream::status::StreamStatus;
use crate::units::{Mix, SampleRate};

/// A page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebPage {
    /// The status page.
    Status,
    /// What the status page shows.
    StatusJson,
    /// The metrics.
    Metrics,
    /// Whether the module runs.
    Healthz,
    /// Whether the module takes new streams.
    Readyz,
}

/// A page and where it is.
pub struct PageRow {
    /// The path of its URL.
    pub path: &'static str,
    /// The page.
    pub page: WebPage,
    /// The form of its body.
    pub content_type: &'static str,
    /// What it is for, for the documentation.
    pub doc: &'static str,
}

const JSON: &str = "application/json";

/// Every page.
pub static PAGES: &[PageRow] = &[
    PageRow {
        path: "/",
        page: WebPage::Status,
        content_type: "text/html; charset=utf-8",
        doc: "The status page: every stream with its state, levels, delays, queue and server, live.",
    },
    PageRow {
        path: "/status.json",
        page: WebPage::StatusJson,
        content_type: JSON,
        doc: "What the status page shows: `global_health`, the circuit breakers, and each stream as in `list` and `health`. At \
              most 500 streams are listed, the worst first.",
    },
    PageRow {
        path: "/metrics",
        page: WebPage::Metrics,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        doc: "The metrics, for Prometheus.",
    },
    PageRow {
        path: "/healthz",
        page: WebPage::Healthz,
        content_type: JSON,
        doc: "Whether the module runs: status 200 with `global_health`.",
    },
    PageRow {
        path: "/readyz",
        page: WebPage::Readyz,
        content_type: JSON,
        doc: "Whether the module takes new streams: status 200, or 503 with the reason.",
    },
];

/// Streams that the status page lists.
const MOST_STREAMS: usize = 500;
/// Stands in the status page where the nonce of its style and script goes.
const NONCE: &str = "{{nonce}}";
const STATUS_PAGE: &str = include_str!("status_page.html");

impl PageRow {
    /// The page of a path.
    pub fn of(path: &str) -> Option<&'static Self> {
        PAGES.iter().find(|row| row.path == path)
    }
}

/// The status page, and the policy that lets a browser run its one script and load nothing but this server's JSON. `nonce` is a
/// number that nobody can guess.
pub fn status_page(nonce: u64) -> (String, String) {
    let nonce = format!("{nonce:016x}");
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    (STATUS_PAGE.replace(NONCE, &nonce), policy)
}

/// Whether the module takes new streams.
#[derive(Serialize)]
pub struct Readiness {
    /// It does.
    pub ready: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// What the status page shows. The endpoints are without secrets.
#[derive(Serialize)]
pub struct StatusJson<'a> {
    module: GlobalHealth,
    recordings: usize,
    breakers: BreakerList,
    count: usize,
    streams: Vec<ShownStream<'a>>,
}

#[derive(Serialize)]
struct ShownStream<'a> {
    endpoint: String,
    protocol: &'static str,
    profile: Option<&'a str>,
    mix: Mix,
    rate: SampleRate,
    #[serde(flatten)]
    status: &'a StreamStatus,
}

impl<'a> StatusJson<'a> {
    /// The module at this moment, and its `streams`: what each was started with, and its status.
    pub fn of(
        module: GlobalHealth,
        recordings: usize,
        breakers: BreakerList,
        streams: impl IntoIterator<Item = (&'a StreamSpec, &'a StreamStatus)>,
    ) -> Self {
        let mut streams: Vec<_> = streams.into_iter().collect();
        let count = streams.len();
        let worst_first = |health| match health {
            Health::Unhealthy => 0,
            Health::Degraded => 1,
            Health::Healthy => 2,
        };
        // Stable: streams of the same health keep their order.
        streams.sort_by_key(|(_, status)| worst_first(status.health));
        let shown = |(spec, status): (&'a StreamSpec, &'a StreamStatus)| ShownStream {
            endpoint: spec.endpoint.to_string(),
            protocol: spec.options.protocol,
            profile: spec.profile.as_deref(),
            mix: spec.options.mix,
            rate: spec.options.rate,
            status,
        };
        let streams = streams.into_iter().take(MOST_STREAMS).map(shown).collect();
        Self { module, recordings, breakers, count, streams }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_page_loads_nothing_and_runs_only_its_own_script() {
        let (page, policy) = status_page(0xfeed);
        let nonce = "nonce=\"000000000000feed\"";
        assert!(!page.contains("{{") && policy.contains("script-src 'nonce-000000000000feed'"));
        for tag in ["<script", "<style"] {
            assert_eq!(page.matches(tag).count(), 1);
            assert!(page.contains(&format!("{tag} {nonce}>")), "{tag}");
        }
        // Neither resources of others, nor what the policy would forbid.
        for foreign in ["http:", "https:", "//", "src=", "@import", "url(", "style=", " on", "innerHTML", "<link"] {
            let hits: Vec<_> =
                page.lines().filter(|line| line.contains(foreign) && !line.trim().starts_with("//")).collect();
            let allowed = |line: &&&str| foreign != " on" || !line.contains('<');
            assert!(
                hits.iter().filter(|line| !allowed(line)).count() == 0 && (foreign == " on" || hits.is_empty()),
                "{foreign}: {hits:?}"
            );
        }
    }

    #[test]
    fn every_page_has_its_own_path() {
        for row in PAGES {
            assert_eq!(PageRow::of(row.path).map(|found| found.page), Some(row.page), "{}", row.path);
        }
        assert!(PageRow::of("/other").is_none());
    }
}
