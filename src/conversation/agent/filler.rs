//! The caller waits for a function of the operator's: after some silence the agent says that it takes a moment, once until all
//! functions have returned.
//!
//! Pure; owned by the agent.

use std::time::Instant;

use super::config::Filler;

/// The wait in progress.
#[derive(Debug)]
pub(super) struct FillerTimer {
    config: Option<Filler>,
    silent_since: Option<Instant>,
    said: bool,
}

impl FillerTimer {
    pub(super) fn new(config: Option<Filler>) -> Self {
        Self { config, silent_since: None, said: false }
    }

    /// Whether a function runs at the moment, and whether it is silent.
    pub(super) fn follow(&mut self, now: Instant, runs: bool, silent: bool) {
        self.said &= runs;
        self.silent_since = if runs && silent { self.silent_since.or(Some(now)) } else { None };
    }

    /// The words, if the time for them has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<String> {
        let due = self.deadline().is_some_and(|at| now >= at);
        self.said |= due;
        self.config.as_ref().filter(|_| due).map(|filler| filler.text.clone())
    }

    /// When that time comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.silent_since.filter(|_| !self.said)?;
        Some(since + self.config.as_ref()?.after)
    }
}
