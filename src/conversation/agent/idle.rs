//! Nobody says anything: an event each time, perhaps a word from the model, at last the end of the call. While the call is on hold
//! nobody can say anything, and no time counts.
//!
//! Pure; owned by the agent.

use std::time::Instant;

use super::config::Idle;
use super::outputs::Outputs;
use super::{Action, Event};
use crate::peer;

/// The silence in progress.
#[derive(Debug)]
pub(super) struct IdleTimer {
    config: Option<Idle>,
    quiet_since: Option<Instant>,
    count: u32,
    held: bool,
    /// The service's own timeout has passed during a hold, and it has not responded yet.
    passed_over: bool,
}

impl IdleTimer {
    pub(super) fn new(config: Option<Idle>) -> Self {
        Self { config, quiet_since: None, count: 0, held: false, passed_over: false }
    }

    /// The caller does something.
    pub(super) fn broken(&mut self) {
        self.count = 0;
        self.quiet_since = None;
        self.passed_over = false;
    }

    /// The call is on hold, or is not any more.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether it is quiet at the moment.
    pub(super) fn quiet(&mut self, now: Instant, quiet: bool) {
        self.quiet_since = if quiet && !self.held { self.quiet_since.or(Some(now)) } else { None };
    }

    /// Whether the time is over; it then begins anew.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|at| now >= at);
        if due {
            self.quiet_since = Some(now);
        }
        due
    }

    /// Nobody said anything for one more timeout; `ours`: the one that is counted here. The instructions by which the model is
    /// to say something.
    pub(super) fn elapsed(&mut self, ours: bool, out: &mut Outputs) -> Option<String> {
        if self.held {
            self.passed_over = !ours;
            return None;
        }
        self.count += 1;
        out.event(Event::Idle { count: self.count });
        let idle = self.config.as_ref()?;
        if idle.hang_up_at > 0 && self.count >= idle.hang_up_at {
            let action = Action::HangUp { reason: "nobody speaks".into() };
            out.push(peer::Output::Act { call_id: String::new(), action });
            return None;
        }
        idle.instructions.clone().filter(|_| ours)
    }

    /// Whether the response that the service begins by itself is to a silence that was a hold: nobody is to hear it.
    pub(super) fn take_passed_over(&mut self) -> bool {
        std::mem::take(&mut self.passed_over)
    }

    /// When the time is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.quiet_since? + self.config.as_ref()?.after)
    }
}
