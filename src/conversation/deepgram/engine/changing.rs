//! Options that are changed while a conversation runs, and with them the session.
//!
//! ```text
//! Changed ─┬─ a session is there ─► Update… with what differs ─┬─ every confirmation ─► in force
//!          ├─ it is being configured ─► the same, once it is   └─ Error, no answer ─► as before
//!          └─ there is none ─► the next one has it
//! ```
//! The service may end the session over a change; the next session does without it then.

use std::time::Instant;

use super::super::super::engine::{Event, Failure, FailureClass, Loss, Refuses};
use super::super::super::options::AiOptions;
use super::super::change::{Change, How};
use super::{Deepgram, Phase, READY};

impl Deepgram {
    /// The operator has changed options.
    pub(super) fn changed(&mut self, now: Instant, options: &AiOptions) {
        let next = (self.config.profile_of)(options, self.config.profile.audio);
        let before = Box::new(std::mem::replace(&mut self.config.profile, next));
        self.change = Some(Change { before, how: How::No });
        if self.phase == Phase::Ready {
            self.send_change(now);
        }
    }

    fn send_change(&mut self, now: Instant) {
        let Some(change) = &self.change else { return };
        let messages = self.config.profile.changes(&change.before, &self.prompt());
        if messages.is_empty() {
            return self.change_settled(None);
        }
        let mut waits = Vec::new();
        for (confirmation, message) in messages {
            waits.push(confirmation);
            self.send(message);
        }
        if let Some(change) = &mut self.change {
            change.how = How::Alone(waits, now + READY);
        }
    }

    /// The settings are applied: a change that they had is in force, and one that came meanwhile is sent.
    pub(super) fn session_has_changes(&mut self, now: Instant) {
        match self.change.as_ref().map(|change| &change.how) {
            Some(How::WithTheSession) => self.change_settled(None),
            Some(How::No) => self.send_change(now),
            Some(How::Alone(..)) | None => {}
        }
    }

    /// The service confirms something. Confirmations of notes in the prompt come first.
    pub(super) fn confirmed(&mut self, confirmation: &str) {
        if confirmation == "PromptUpdated" && self.prompts > 0 {
            self.prompts -= 1;
            return;
        }
        let Some(Change { how: How::Alone(waits, _), .. }) = &mut self.change else { return };
        waits.retain(|waits| *waits != confirmation);
        if waits.is_empty() {
            self.change_settled(None);
        }
    }

    /// The answer to a change does not come.
    pub(super) fn change_due(&mut self, now: Instant) {
        if self.change.as_ref().and_then(Change::due).is_some_and(|until| now >= until) {
            self.change_settled(Some(("timeout", "it was not confirmed in time")));
        }
    }

    /// The session ends with this; if a change may be the reason, it is not made, and another session can work without it.
    pub(super) fn change_refused(&mut self, loss: Loss) -> Loss {
        let told = self.change.as_ref().is_some_and(|change| change.how != How::No);
        if !told {
            return loss;
        }
        self.change_settled(Some((&loss.code, &loss.message)));
        Loss { fatal: false, ..loss }
    }

    /// The change is over.
    fn change_settled(&mut self, refusal: Option<(&str, &str)>) {
        let Some(change) = self.change.take() else { return };
        if refusal.is_some() {
            self.config.profile = *change.before;
        }
        let refusal = refusal.map(|(code, message)| {
            let (code, message) = (code.to_owned(), message.to_owned());
            Failure { class: FailureClass::Permanent, refuses: Refuses::Nothing, retry_after: None, code, message }
        });
        self.event(Event::Changed(refusal));
    }
}
