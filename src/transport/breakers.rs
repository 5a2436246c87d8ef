//! The breakers of the servers that streams connect to: one for each server and kind of stream, for all streams of the module.
//!
//! ```text
//! admit ─► Attempt ─┬─ succeeded: the server is well
//!     │             ├─ failed: counts against the server
//!     │             └─ dropped: says nothing of the server (the account is refused, the call is gone)
//!     └─► how long until the next may be made
//! ```
//! Used from any worker and by the API thread; the time is a parameter. The lock is held for a look-up. A server is known by scheme,
//! host and port, without path and query, which may hold secrets. Kept are those that have failed, up to a bound; beyond it
//! a server has no breaker.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use super::breaker::{Breaker, BreakerState, Trip};
use super::endpoint::Endpoint;
use crate::units::serialize_as_str;

serialize_as_str!(BreakerKind, BreakerState);

/// Servers that are remembered: their addresses come from the dialplan, of which one may make many.
const MOST: usize = 256;
/// While a breaker is open, one conversation with a waiting caller may try in so much time.
const PACE: Duration = Duration::from_secs(1);

/// What a server is used for. Each has its own rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BreakerKind {
    /// Streams: five failures within a minute, then none for half a minute.
    WebSocket,
    /// Conversations: five failures in a row, then none for a minute.
    Ai,
    /// Speech synthesis: as for streams, kept by the synthesis.
    Speech,
}

impl BreakerKind {
    /// The word of reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Ai => "ai",
            Self::Speech => "speech",
        }
    }

    /// A new breaker of this kind.
    pub const fn breaker(self) -> Breaker {
        match self {
            Self::Ai => Breaker::new(Trip::Consecutive(5), Duration::from_secs(60)),
            Self::WebSocket | Self::Speech => {
                let trip = Trip::Within { failures: 5, window: Duration::from_secs(60) };
                Breaker::new(trip, Duration::from_secs(30))
            }
        }
    }
}

/// A breaker as the answer of `breakers` gives it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BreakerReport {
    /// The server, or what else is asked; without secrets.
    #[serde(rename = "endpoint")]
    pub place: String,
    /// What the server is used for.
    pub kind: BreakerKind,
    /// Whether requests pass.
    pub state: BreakerState,
    /// Failures that opened it, or count towards that.
    pub failures: usize,
    /// How long until one request passes as a test; `None`: the breaker is closed and all pass.
    #[serde(rename = "probe_in_sec", serialize_with = "seconds_rounded_up")]
    pub probe_in: Option<Duration>,
}

fn seconds_rounded_up<S: Serializer>(wait: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    wait.map(|wait| wait.as_millis().div_ceil(1_000) as u64).serialize(serializer)
}

impl BreakerReport {
    /// Of `breaker` at `now`.
    pub fn new(kind: BreakerKind, place: &str, breaker: &Breaker, now: Instant) -> Self {
        Self {
            place: place.to_owned(),
            kind,
            state: breaker.state(now),
            failures: breaker.failures(now),
            probe_in: breaker.wait(now),
        }
    }
}

/// See the [module](self).
#[derive(Default)]
pub struct Breakers {
    entries: Mutex<HashMap<Key, Entry>>,
}

type Key = (BreakerKind, String);

struct Entry {
    breaker: Breaker,
    /// The last attempt that was let through an open breaker because a caller waits.
    hurried: Option<Instant>,
}

/// Leave to connect. Dropped without a word, it says nothing of the server.
#[must_use = "the outcome of the attempt has to be reported"]
pub struct Attempt {
    breakers: Arc<Breakers>,
    key: Key,
    probe: bool,
}

impl Breakers {
    /// Leave to connect to `endpoint`; else how long until the breaker lets one through.
    ///
    /// `caller_waits` says that a conversation under way has lost its connection: of these, one each second passes an open
    /// breaker, too. So a network that was gone for seconds does not end all calls for a minute, and the server that is down
    /// sees one attempt a second however many calls there are.
    pub fn admit(
        self: &Arc<Self>,
        now: Instant,
        kind: BreakerKind,
        endpoint: &Endpoint,
        caller_waits: bool,
    ) -> Result<Attempt, Duration> {
        let key = (kind, endpoint.origin());
        let mut probe = false;
        if let Some(entry) = self.entries.lock().get_mut(&key) {
            match entry.breaker.admit(now) {
                Ok(()) => probe = entry.breaker.state(now) != BreakerState::Closed,
                Err(wait) => {
                    let due = entry.hurried.is_none_or(|last| now.saturating_duration_since(last) >= PACE);
                    if !caller_waits || !due {
                        return Err(wait);
                    }
                    entry.hurried = Some(now);
                }
            }
        }
        Ok(Attempt { breakers: self.clone(), key, probe })
    }

    /// Every server that has failed and is remembered, in the order of kinds and names.
    pub fn report(&self, now: Instant) -> Vec<BreakerReport> {
        let entries = self.entries.lock();
        let mut reports: Vec<_> = entries
            .iter()
            .map(|((kind, place), entry)| BreakerReport::new(*kind, place, &entry.breaker, now))
            .collect();
        drop(entries);
        reports.sort_by(|a, b| (a.kind, &a.place).cmp(&(b.kind, &b.place)));
        reports
    }
}

impl Attempt {
    /// The server works. Returns whether its breaker was open before.
    pub fn succeeded(mut self) -> bool {
        self.probe = false;
        self.breakers.entries.lock().get_mut(&self.key).is_some_and(|entry| entry.breaker.success())
    }

    /// The server has failed. Returns whether its breaker is open from now on.
    pub fn failed(mut self, now: Instant) -> bool {
        let probe = std::mem::take(&mut self.probe);
        let mut entries = self.breakers.entries.lock();
        if !entries.contains_key(&self.key) {
            if entries.len() >= MOST {
                entries.retain(|_, entry| entry.breaker.failures(now) > 0);
            }
            if entries.len() >= MOST {
                return false;
            }
            entries.insert(self.key.clone(), Entry { breaker: self.key.0.breaker(), hurried: None });
        }
        let Some(entry) = entries.get_mut(&self.key) else { return false };
        // One that is not the probe was on its way before, or hurried: it must not prolong what is open.
        (probe || entry.breaker.state(now) == BreakerState::Closed) && entry.breaker.failure(now)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.probe
            && let Some(entry) = self.breakers.entries.lock().get_mut(&self.key)
        {
            entry.breaker.forgo();
        }
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers").field("servers", &self.entries.lock().len()).finish()
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("server", &self.key).field("probe", &self.probe).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use BreakerKind::{Ai, WebSocket};

    fn at(url: &str) -> Endpoint {
        Endpoint::parse(url).unwrap()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn fail(breakers: &Arc<Breakers>, kind: BreakerKind, endpoint: &Endpoint, now: Instant) -> bool {
        breakers.admit(now, kind, endpoint, false).unwrap().failed(now)
    }

    #[test]
    fn five_failures_open_the_breaker_of_that_server_and_kind() {
        let (breakers, now) = (Arc::new(Breakers::default()), Instant::now());
        let down = at("wss://u:hunter2@down:8443/a?key=hunter2");
        for kind in [Ai, WebSocket] {
            assert!((1..5).all(|_| !fail(&breakers, kind, &down, now)) && fail(&breakers, kind, &down, now));
            let cool_down = if kind == Ai { 60 } else { 30 };
            let other_path = at("wss://down:8443/b");
            assert_eq!(breakers.admit(now, kind, &other_path, false).unwrap_err(), seconds(cool_down));
            for other in ["wss://up:8443/a", "wss://down:8444/a", "ws://down:8443/a"] {
                assert!(breakers.admit(now, kind, &at(other), false).is_ok(), "{other}");
            }
        }
        let report = breakers.report(now + seconds(10));
        let told: Vec<_> = report.iter().map(|r| (r.kind, r.state, r.failures, r.probe_in)).collect();
        let open = |kind, left| (kind, BreakerState::Open, 5, Some(seconds(left)));
        assert_eq!(told, [open(WebSocket, 20), open(Ai, 50)]);
        assert!(report.iter().all(|r| r.place == "wss://down:8443"), "{report:?}");
    }

    #[test]
    fn conversations_count_failures_in_a_row_streams_per_minute() {
        let (breakers, now) = (Arc::new(Breakers::default()), Instant::now());
        let place = at("ws://h/");
        for kind in [Ai, WebSocket] {
            for n in 0..4 {
                assert!(!fail(&breakers, kind, &place, now + seconds(n)));
                breakers.admit(now, kind, &place, false).unwrap().succeeded();
            }
        }
        assert!(!fail(&breakers, Ai, &place, now + seconds(5)));
        assert!(!fail(&breakers, WebSocket, &place, now + seconds(63)), "the first three are over a minute old");
        for _ in 0..2 {
            assert!(!fail(&breakers, WebSocket, &place, now + seconds(63)));
        }
        assert!(fail(&breakers, WebSocket, &place, now + seconds(63)));
    }

    #[test]
    fn one_probe_after_the_cool_down_decides() {
        let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
        let place = at("ws://h/");
        for _ in 0..5 {
            fail(&breakers, Ai, &place, start);
        }
        let later = start + seconds(60);
        let probe = breakers.admit(later, Ai, &place, false).unwrap();
        assert_eq!(breakers.admit(later, Ai, &place, false).unwrap_err(), seconds(60), "one at a time");
        assert_eq!(breakers.report(later)[0].state, BreakerState::HalfOpen);
        assert!(probe.failed(later), "open again");
        let later = later + seconds(60);
        assert!(breakers.admit(later, Ai, &place, false).unwrap().succeeded());
        let both = [breakers.admit(later, Ai, &place, false), breakers.admit(later, Ai, &place, false)];
        assert!(both.iter().all(Result::is_ok));
        let report = &breakers.report(later)[0];
        assert_eq!((report.state, report.failures, report.probe_in), (BreakerState::Closed, 0, None));
    }

    #[test]
    fn an_attempt_without_a_verdict_gives_its_probe_back() {
        let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
        let place = at("ws://h/");
        for _ in 0..10 {
            drop(breakers.admit(start, Ai, &place, false).unwrap());
        }
        assert_eq!(breakers.report(start), []);
        for _ in 0..5 {
            fail(&breakers, Ai, &place, start);
        }
        let later = start + seconds(60);
        drop(breakers.admit(later, Ai, &place, false).unwrap());
        assert!(breakers.admit(later, Ai, &place, false).is_ok(), "the next one is the probe");
    }

    #[test]
    fn one_waiting_caller_a_second_passes_an_open_breaker() {
        let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
        let place = at("ws://h/");
        for _ in 0..5 {
            fail(&breakers, Ai, &place, start);
        }
        let mut passed = 0;
        for ms in (0..50_000).step_by(10) {
            let now = start + Duration::from_millis(ms);
            if let Ok(attempt) = breakers.admit(now, Ai, &place, true) {
                passed += 1;
                assert!(!attempt.failed(now));
            }
            assert!(breakers.admit(now, Ai, &place, false).is_err(), "new conversations do not");
        }
        assert_eq!(passed, 50);
        let now = start + seconds(50);
        assert_eq!(breakers.admit(now, Ai, &place, false).unwrap_err(), seconds(10));
        assert!(breakers.admit(now, Ai, &place, true).unwrap().succeeded(), "closed for all");
        assert!(breakers.admit(now, Ai, &place, false).is_ok());
    }

    #[test]
    fn failures_of_earlier_attempts_do_not_replace_the_probes() {
        let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
        let place = at("ws://h/");
        let slow = breakers.admit(start, Ai, &place, false).unwrap();
        for _ in 0..5 {
            fail(&breakers, Ai, &place, start);
        }
        let later = start + seconds(60);
        let probe = breakers.admit(later, Ai, &place, false).unwrap();
        assert!(!slow.failed(later));
        assert_eq!(breakers.report(later)[0].state, BreakerState::HalfOpen);
        assert!(probe.succeeded());
    }

    #[test]
    fn failed_servers_are_forgotten_after_a_minute() {
        let (breakers, now) = (Arc::new(Breakers::default()), Instant::now());
        let place = |n| at(&format!("ws://h{n}/"));
        for n in 0..MOST {
            fail(&breakers, WebSocket, &place(n), now);
        }
        fail(&breakers, WebSocket, &place(MOST), now);
        assert_eq!(breakers.report(now).len(), MOST, "no room");
        let later = now + seconds(61);
        fail(&breakers, WebSocket, &place(MOST), later);
        assert_eq!(breakers.report(later).len(), 1, "what is long past gives way");
    }
}
