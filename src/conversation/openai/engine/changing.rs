//! Options that are changed while a conversation runs, and with them the session.
//!
//! ```text
//! Changed ─┬─ a session is there ─► session.update with what differs ─┬─ session.updated ─► in force
//!          ├─ it is being configured ─► the same, before it is ready  └─ error, no answer ─► as before
//!          └─ there is none ─► the next one has it
//! ```
//! A change that the service refuses does not end the session.

use std::time::Instant;

use super::super::super::engine::{Event, Failure, Loss, Output};
use super::super::super::options::AiOptions;
use super::super::change::{Change, Sent, refusal};
use super::super::failure::{ApiError, Operation};
use super::super::message;
use super::{OpenAi, Phase};
use crate::peer::Message;

impl OpenAi {
    /// The operator has changed options.
    pub(super) fn changed(&mut self, now: Instant, options: &AiOptions) {
        let next = self.config.profile_of.map(|make| make(self.config.dialect, options, self.config.profile.input));
        // Without a maker nothing can change.
        let Some(next) = next else { return self.event(Event::Changed(None)) };
        if let Err(bad) = next.check() {
            return self.event(Event::Changed(Some(refusal("invalid_value", bad.to_string()))));
        }
        let before = Box::new(std::mem::replace(&mut self.config.profile, next));
        self.change = Some(Change { before, how: Sent::No });
        if self.phase == Phase::Ready && !self.send_change(now) {
            self.change_settled(None);
        }
    }

    /// Sends a change that the session does not have yet; `false` if there is none.
    pub(super) fn send_change(&mut self, now: Instant) -> bool {
        let Some(Change { before, how: Sent::No }) = &self.change else { return false };
        let number = self.requests + 1;
        let (event_id, dialect) = (Operation::Change.event_id(number), self.config.dialect);
        let Some(text) = message::session_change(&event_id, dialect, before, &self.config.profile) else {
            return false;
        };
        self.requests = number;
        self.outputs.push_back(Output::Send(Message::Text(text)));
        let until = now + self.config.ready_timeout;
        if let Some(change) = &mut self.change {
            change.how = Sent::Alone(until);
        }
        if let Phase::Configuring { until: configured } = &mut self.phase {
            *configured = until;
        }
        true
    }

    /// The service has confirmed the session.
    pub(super) fn change_confirmed(&mut self) {
        if self.phase == Phase::Ready && self.change.as_ref().is_some_and(|change| change.how != Sent::No) {
            self.change_settled(None);
        }
    }

    /// The change, if there is one, is over.
    pub(super) fn change_settled(&mut self, refusal: Option<Failure>) {
        let Some(change) = self.change.take() else { return };
        if refusal.is_some() {
            self.config.profile = *change.before;
        }
        self.event(Event::Changed(refusal));
    }

    /// The answer to a change does not come.
    pub(super) fn change_due(&mut self, now: Instant) {
        if self.change.as_ref().and_then(Change::due).is_some_and(|until| now >= until) {
            self.change_settled(Some(refusal("timeout", "it was not confirmed in time".to_owned())));
        }
    }

    /// The service refuses what the operation asked for; whether it was the change, so that nothing else is to be done.
    pub(super) fn change_refused(&mut self, now: Instant, operation: Operation, error: &ApiError) -> bool {
        let how = self.change.as_ref().map(|change| change.how);
        let (code, message) = match error {
            ApiError::Request(failure) => (failure.code.clone(), failure.message.clone()),
            ApiError::Session(loss) => (loss.code.clone(), loss.message.clone()),
        };
        match (operation, how) {
            (Operation::Change, Some(Sent::Alone(_))) => {
                self.change_settled(Some(refusal(&code, message)));
                // The session itself was confirmed before.
                if matches!(self.phase, Phase::Configuring { .. }) {
                    self.ready(now);
                }
                true
            }
            // The change of before is the reason: the next session does without.
            (Operation::Configure, Some(Sent::WithTheSession)) => {
                self.change_settled(Some(refusal(&code, message.clone())));
                self.end(Loss { fatal: false, code, message });
                true
            }
            _ => false,
        }
    }
}
