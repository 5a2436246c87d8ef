//! Draining: nothing new is started, and what is live ends by itself or at a time limit. For upgrades behind a load balancer.
//!
//! Set by commands, read at every start; one lock, held for a copy.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::control::health::DrainStatus;

/// Whether the module drains.
#[derive(Default)]
pub(super) struct Drain(Mutex<State>);

#[derive(Clone, Copy, Default)]
struct State {
    on: bool,
    /// When what is still live is ended.
    until: Option<Instant>,
}

impl Drain {
    /// Nothing new from now on; after `limit` what is live is to be ended, and the moment of that is returned. Replaces an earlier
    /// limit.
    pub(super) fn begin(&self, limit: Option<Duration>) -> Option<Instant> {
        let until = limit.map(|limit| Instant::now() + limit);
        *self.0.lock() = State { on: true, until };
        until
    }

    /// Back to normal. Returns whether it drained.
    pub(super) fn end(&self) -> bool {
        std::mem::take(&mut *self.0.lock()).on
    }

    /// Whether it drains.
    pub(super) fn is_on(&self) -> bool {
        self.0.lock().on
    }

    /// Whether the time limit is over. True once for each limit.
    pub(super) fn take_due(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let due = state.until.is_some_and(|until| until <= now);
        if due {
            state.until = None;
        }
        due
    }

    /// For health.
    pub(super) fn status(&self) -> DrainStatus {
        let State { on, until } = *self.0.lock();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        DrainStatus { draining: on, drain_ends_in_sec: left.map(|left| left.as_secs_f64().ceil() as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_due_once_and_an_end_or_a_new_limit_cancels_it() {
        let drain = Drain::default();
        let later = Instant::now() + Duration::from_secs(100);
        assert!(!drain.is_on() && !drain.take_due(later) && !drain.end());
        assert!(drain.begin(None).is_none() && drain.is_on());
        assert_eq!(drain.status(), DrainStatus { draining: true, drain_ends_in_sec: None });
        assert!(!drain.take_due(later), "without a limit nothing is ended");
        drain.begin(Some(Duration::from_secs(60)));
        assert_eq!(drain.status(), DrainStatus { draining: true, drain_ends_in_sec: Some(60) });
        assert!(!drain.take_due(Instant::now()));
        assert!(drain.take_due(later) && !drain.take_due(later) && drain.is_on());
        drain.begin(Some(Duration::from_secs(60)));
        assert!(drain.end() && !drain.take_due(later) && !drain.is_on());
        assert_eq!(drain.status(), DrainStatus::default());
    }
}
