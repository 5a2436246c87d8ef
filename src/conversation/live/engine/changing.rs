//! Options that are changed while a conversation runs, and with them the second model's functions and what it is asked for.
//!
//! The service confirms a change, or refuses it with an error. A session that ends meanwhile is followed by one that has the change,
//! unless the change is why it ended for good.

use std::time::Instant;

use super::super::super::engine::{Event, Failure, FailureClass, Loss, Refuses};
use super::super::super::openai::Operation;
use super::super::super::options::AiOptions;
use super::super::message::ClientEvent;
use super::{Change, Live, Phase, READY};

impl Live {
    /// The operator has changed options.
    pub(super) fn changed(&mut self, now: Instant, options: &AiOptions) {
        let next = (self.config.profile_of)(options, self.config.profile.format);
        let before = Box::new(std::mem::replace(&mut self.config.profile, next));
        if !self.is_open() || self.phase == Phase::Recalling || self.config.profile.update(&before).is_none() {
            // The next session begins with it, or nothing differs.
            return self.event(Event::Changed(None));
        }
        self.change = Some(Change { before, until: None });
        self.send_change(now);
    }

    /// Sends a change that the session does not have yet.
    pub(super) fn send_change(&mut self, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        let Some(change) = self.change.as_mut().filter(|change| change.until.is_none()) else { return };
        change.until = Some(now + READY);
        if let Some(session) = self.config.profile.update(&change.before) {
            let event_id = self.event_id(Operation::Change);
            self.send(&ClientEvent::Update { event_id: &event_id, session });
        }
    }

    /// The service confirms it.
    pub(super) fn change_confirmed(&mut self) {
        if self.change.take_if(|change| change.until.is_some()).is_some() {
            self.event(Event::Changed(None));
        }
    }

    /// Its confirmation does not come.
    pub(super) fn change_due(&mut self, now: Instant) {
        if self.change.as_ref().and_then(|change| change.until).is_some_and(|until| now >= until) {
            self.change_refused("timeout", "it was not confirmed in time");
        }
    }

    /// The service refuses it, and everything is as before.
    pub(super) fn change_refused(&mut self, code: &str, message: &str) {
        let Some(change) = self.change.take() else { return };
        self.config.profile = *change.before;
        let (class, refuses) = (FailureClass::Permanent, Refuses::Nothing);
        let (code, message) = (code.to_owned(), message.to_owned());
        self.event(Event::Changed(Some(Failure { class, refuses, retry_after: None, code, message })));
    }

    /// The session is lost while a change is under way.
    pub(super) fn change_lost(&mut self, loss: &mut Loss) {
        if loss.fatal && self.change.as_ref().is_some_and(|change| change.until.is_some()) {
            self.change_refused(&loss.code, &loss.message);
            loss.fatal = false;
        } else if self.change.take().is_some() {
            self.event(Event::Changed(None));
        }
    }
}
