//! Options that are changed while a conversation runs, and with them the session.
//!
//! ```text
//! Changed ─┬─ a session is there ─► session.update with what differs ─┬─ session.updated ─► in force
//!          ├─ one is about to be ready ─► the same, once it is        └─ session.error, no answer ─► as before
//!          └─ there is none ─► the next one has it
//! ```

use std::time::Instant;

use super::super::super::engine::{Event, Refuses};
use super::super::super::options::AiOptions;
use super::super::failure;
use super::{AssemblyAi, Change, Phase, READY};
use crate::peer::Message;

impl AssemblyAi {
    /// The operator has changed options.
    pub(super) fn changed(&mut self, now: Instant, options: &AiOptions) {
        let next = (self.config.profile_of)(options, self.config.profile.audio);
        let before = Box::new(std::mem::replace(&mut self.config.profile, next));
        self.change = Some(Change { before, until: None });
        match self.phase {
            Phase::Ready => self.send_change(now),
            // What the session begins with is sent already, or it is one of before.
            Phase::Beginning(_) | Phase::Resuming(_) => {}
            Phase::Idle | Phase::Recalling(_) | Phase::Ended => self.change_settled(None),
        }
    }

    /// The session is ready: a change that came meanwhile is sent.
    pub(super) fn session_has_changes(&mut self, now: Instant) {
        if self.change.is_some() {
            self.send_change(now);
        }
    }

    fn send_change(&mut self, now: Instant) {
        let Some(change) = &mut self.change else { return };
        let prompt = self.texts.prompt(&self.config.profile.prompt);
        let Some(message) = self.config.profile.change(&change.before, &prompt) else {
            return self.change_settled(None);
        };
        change.until = Some(now + READY);
        self.outputs.push_back(super::Output::Send(Message::Text(message)));
    }

    /// The answer to a change does not come.
    pub(super) fn change_due(&mut self, now: Instant) {
        if self.change.as_ref().and_then(|change| change.until).is_some_and(|until| now >= until) {
            self.change_settled(Some(("timeout", "it was not confirmed in time")));
        }
    }

    /// The change is over.
    pub(super) fn change_settled(&mut self, refusal: Option<(&str, &str)>) {
        let Some(change) = self.change.take() else { return };
        if refusal.is_some() {
            self.config.profile = *change.before;
        }
        let refusal = refusal.map(|(code, words)| failure::failure(code, words, Refuses::Nothing));
        self.event(Event::Changed(refusal));
    }
}
