//! Nobody says anything: an event each time, perhaps a word from the model, at last the end of the call.
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
}

impl IdleTimer {
    pub(super) fn new(config: Option<Idle>) -> Self {
        Self { config, quiet_since: None, count: 0 }
    }

    /// The caller does something.
    pub(super) fn broken(&mut self) {
        self.count = 0;
        self.quiet_since = None;
    }

    /// Whether it is quiet at the moment.
    pub(super) fn quiet(&mut self, now: Instant, quiet: bool) {
        self.quiet_since = if quiet { self.quiet_since.or(Some(now)) } else { None };
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

    /// When the time is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.quiet_since? + self.config.as_ref()?.after)
    }
}
