//! Options that are changed while a conversation runs, and with them the session: its instructions and its functions.
//!
//! The service confirms nothing. It closes the connection with 1007 if it does not take a change, so one counts as taken if the
//! connection lives on for a while. If not, the next session is as the last one was.

use std::time::{Duration, Instant};

use super::super::super::engine::{Event, Failure, FailureClass, Loss, Refuses};
use super::super::super::options::AiOptions;
use super::super::change::Change;
use super::{Gemini, Phase};

/// How long the service may take to refuse a change.
const REFUSED_BY: Duration = Duration::from_secs(2);

impl Gemini {
    /// The operator has changed options.
    pub(super) fn changed(&mut self, now: Instant, options: &AiOptions) {
        let next = (self.config.profile_of)(options);
        let before = Box::new(std::mem::replace(&mut self.config.profile, next));
        if self.config.profile.update(&before).is_none() || !self.is_open() {
            // Nothing differs, or the next session begins with it.
            return self.event(Event::Changed(None));
        }
        self.change = Some(Change { before, taken: None });
        self.change_owed(now);
    }

    /// Sends a change that the session does not have yet.
    pub(super) fn change_owed(&mut self, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        let Some(change) = self.change.as_mut().filter(|change| change.taken.is_none()) else { return };
        change.taken = Some(now + REFUSED_BY);
        if let Some(update) = self.config.profile.update(&change.before) {
            self.tell_history();
            self.send(update);
        }
    }

    /// Whether a change counts as taken now.
    pub(super) fn change_due(&mut self, now: Instant) {
        if self.change.take_if(|change| change.taken.is_some_and(|taken| now >= taken)).is_some() {
            self.event(Event::Changed(None));
        }
    }

    /// The connection is closed; whether that refuses a change. One that is not sent yet goes with the next session.
    pub(super) fn change_refused(&mut self, now: Instant, code: u16, loss: &Loss) -> bool {
        let Some(change) = self.change.take() else { return false };
        let refused = code == 1007 && change.taken.is_some_and(|taken| now < taken);
        let failure = refused.then(|| {
            self.config.profile = *change.before;
            let (code, message) = (loss.code.clone(), loss.message.clone());
            let class = FailureClass::Permanent;
            Failure { class, refuses: Refuses::Nothing, retry_after: None, code, message }
        });
        self.event(Event::Changed(failure));
        refused
    }
}
