//! The breakers of the servers that the module connects to: one for each server and kind of use, for all calls.
//!
//! ```text
//! admit ─► Attempt ─┬─ succeeded: the server is well
//!     │             ├─ failed: counts against the server
//!     │             ├─ asked_to_wait: the server is busy, and says for how long
//!     │             └─ dropped: says nothing of the server (the account is refused, the call is gone)
//!     └─► NotNow: how long until the next may be made
//! ```
//! Used from any worker and by the API thread; the time is a parameter. The lock is held for a look-up, and while a change is
//! handed to the [`BreakerWatch`]. A server is known by scheme, host and port, without path and query, which may hold secrets.
//! Kept are those that have failed or were busy, up to a bound; beyond it a server has no breaker.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::breaker::{Breaker, BreakerState};
use super::breaker_report::{BreakerChange, BreakerKind, BreakerReport, BreakerWatch, Cause};
use super::endpoint::Endpoint;
use super::pace::{Pace, Pause};

/// Servers that are remembered: their addresses come from the dialplan, of which one may make many.
const MOST: usize = 256;
/// While a breaker is open, one conversation with a waiting caller may try in so much time.
const HURRIED: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Default)]
pub struct Breakers {
    entries: Mutex<HashMap<Key, Entry>>,
    watch: Option<Arc<dyn BreakerWatch>>,
}

type Key = (BreakerKind, String);

struct Entry {
    breaker: Breaker,
    /// The server has asked for a pause, and has not served anybody since.
    pace: Option<Pace>,
    /// The last attempt that was let through an open breaker because a caller waits.
    hurried: Option<Instant>,
    /// The state that was last told.
    told: BreakerState,
}

/// No attempt may be made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotNow {
    /// How long until one may.
    pub wait: Duration,
    /// The server itself has asked for it; otherwise it has failed too often.
    pub busy: bool,
}

/// Leave to connect. Dropped without a word, it says nothing of the server.
#[must_use = "the outcome of the attempt has to be reported"]
pub struct Attempt {
    breakers: Arc<Breakers>,
    key: Key,
    probe: bool,
}

impl Entry {
    fn new(kind: BreakerKind) -> Self {
        Self { breaker: kind.breaker(), pace: None, hurried: None, told: BreakerState::Closed }
    }

    fn state(&self, now: Instant) -> BreakerState {
        match self.breaker.state(now) {
            BreakerState::Closed if self.pace.is_some() => BreakerState::Busy,
            state => state,
        }
    }

    /// How long until the next attempt is let through; `None`: all pass.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let pace = self.pace.as_ref().map(|pace| pace.wait(now));
        self.breaker.wait(now).into_iter().chain(pace).max()
    }

    /// Whether anything is known of the server that the next attempt depends on.
    fn matters(&self, now: Instant) -> bool {
        self.breaker.failures(now) > 0 || self.pace.as_ref().is_some_and(|pace| !pace.is_over(now))
    }
}

impl Breakers {
    /// None has failed; `watch` learns of each change.
    pub fn watched_by(watch: Arc<dyn BreakerWatch>) -> Self {
        Self { entries: Mutex::default(), watch: Some(watch) }
    }

    /// Leave to connect to `endpoint`; else how long until there is.
    ///
    /// `caller_waits` says that a conversation or stream under way has lost its connection: of these, one each second passes an
    /// open breaker, too. So a network that was gone for seconds does not end all calls for a minute, and the server that is down
    /// sees one attempt a second however many calls there are. Nobody passes while the server has asked for a pause.
    pub fn admit(
        self: &Arc<Self>,
        now: Instant,
        kind: BreakerKind,
        endpoint: &Endpoint,
        caller_waits: bool,
    ) -> Result<Attempt, NotNow> {
        self.admit_to(now, kind, endpoint.origin(), caller_waits)
    }

    /// The same for what is not known by an endpoint alone.
    pub fn admit_to(
        self: &Arc<Self>,
        now: Instant,
        kind: BreakerKind,
        place: String,
        caller_waits: bool,
    ) -> Result<Attempt, NotNow> {
        let key = (kind, place);
        let mut probe = false;
        if let Some(entry) = self.entries.lock().get_mut(&key) {
            if let Some(wait) = entry.pace.as_ref().map(|pace| pace.wait(now)).filter(|wait| !wait.is_zero()) {
                return Err(NotNow { wait, busy: true });
            }
            match entry.breaker.admit(now) {
                Ok(()) => probe = entry.breaker.state(now) != BreakerState::Closed,
                Err(wait) => {
                    let due = entry.hurried.is_none_or(|last| now.saturating_duration_since(last) >= HURRIED);
                    if !caller_waits || !due {
                        return Err(NotNow { wait, busy: false });
                    }
                    entry.hurried = Some(now);
                }
            }
            if let Some(pace) = &mut entry.pace {
                pace.passed(now);
            }
            if probe {
                self.tell(&key, entry, Cause::Probe, now);
            }
        }
        Ok(Attempt { breakers: self.clone(), key, probe })
    }

    /// Every server that has failed or was busy and is remembered, in the order of kinds and names.
    pub fn report(&self, now: Instant) -> Vec<BreakerReport> {
        let entries = self.entries.lock();
        let report = |((kind, place), entry): (&Key, &Entry)| BreakerReport {
            place: place.clone(),
            kind: *kind,
            state: entry.state(now),
            failures: entry.breaker.failures(now),
            probe_in: entry.wait(now),
        };
        let mut reports: Vec<_> = entries.iter().map(report).collect();
        drop(entries);
        reports.sort_by(|a, b| (a.kind, &a.place).cmp(&(b.kind, &b.place)));
        reports
    }

    /// Forgets what is known of `server`, or of all: whatever was open or busy is closed. How many were known. A server is given
    /// as reports show it, or by a URL that leads there.
    pub fn reset(&self, now: Instant, server: Option<&str>) -> usize {
        let origin = server.and_then(|server| Some(Endpoint::parse(server).ok()?.origin()));
        let meant = |place: &str| {
            let named = |server: &str| place == server || place.split(' ').any(|word| word == server);
            server.is_none_or(named) || origin.as_deref().is_some_and(|origin| place == origin)
        };
        let mut entries = self.entries.lock();
        let before = entries.len();
        entries.retain(|key, entry| {
            let keep = !meant(&key.1);
            if !keep {
                (entry.breaker, entry.pace) = (key.0.breaker(), None);
                self.tell(key, entry, Cause::Reset, now);
            }
            keep
        });
        before - entries.len()
    }

    /// The entry of a server of which something is to be kept; `None`: there are too many.
    fn entry<'a>(entries: &'a mut HashMap<Key, Entry>, key: &Key, now: Instant) -> Option<&'a mut Entry> {
        if !entries.contains_key(key) && entries.len() >= MOST {
            entries.retain(|_, entry| entry.matters(now));
            if entries.len() >= MOST {
                return None;
            }
        }
        Some(entries.entry(key.clone()).or_insert_with(|| Entry::new(key.0)))
    }

    /// Tells of a change, once.
    fn tell(&self, (kind, place): &Key, entry: &mut Entry, cause: Cause, now: Instant) {
        let state = entry.state(now);
        if std::mem::replace(&mut entry.told, state) == state {
            return;
        }
        if let Some(watch) = &self.watch {
            let (kind, place, failures) = (*kind, place.clone(), entry.breaker.failures(now));
            watch.changed(BreakerChange { kind, place, state, failures, wait: entry.wait(now), cause });
        }
    }
}

impl Attempt {
    /// The server works. Returns whether its breaker was open before.
    pub fn succeeded(mut self, now: Instant) -> bool {
        self.probe = false;
        let mut entries = self.breakers.entries.lock();
        let Some(entry) = entries.get_mut(&self.key) else { return false };
        entry.pace = None;
        let was_open = entry.breaker.success();
        self.breakers.tell(&self.key, entry, Cause::Success, now);
        was_open
    }

    /// The server has failed. Returns whether its breaker is open from now on.
    pub fn failed(mut self, now: Instant) -> bool {
        let probe = std::mem::take(&mut self.probe);
        let mut entries = self.breakers.entries.lock();
        let Some(entry) = Breakers::entry(&mut entries, &self.key, now) else { return false };
        // One that is not the probe was on its way before, or hurried: it must not prolong what is open.
        let opened = (probe || entry.breaker.state(now) == BreakerState::Closed) && entry.breaker.failure(now);
        if opened {
            self.breakers.tell(&self.key, entry, Cause::Failures, now);
        }
        opened
    }

    /// The server is too busy, which is no failure: no call asks it again before the pause is over, and then one each second until
    /// it serves one. Returns the pause.
    pub fn asked_to_wait(mut self, now: Instant, pause: Pause) -> Duration {
        let probe = std::mem::take(&mut self.probe);
        let mut entries = self.breakers.entries.lock();
        let Some(entry) = Breakers::entry(&mut entries, &self.key, now) else { return pause.at_least() };
        let wait = match &mut entry.pace {
            Some(pace) => {
                pace.again(now, pause);
                pace.wait(now)
            }
            none => none.insert(Pace::new(now, pause)).wait(now),
        };
        if probe {
            // It answers: that is not what the breaker has opened for.
            entry.breaker.success();
        }
        self.breakers.tell(&self.key, entry, Cause::Busy, now);
        wait
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
#[path = "breakers_tests.rs"]
mod tests;
