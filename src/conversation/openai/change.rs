//! A change of the session that is under way.
//!
//! Plain values; owned by the engine.

use std::time::Instant;

use super::super::engine::{Failure, FailureClass, Refuses};
use super::profile::SessionProfile;

/// A change under way.
#[derive(Debug)]
pub(super) struct Change {
    /// The session as it was.
    pub(super) before: Box<SessionProfile>,
    pub(super) how: Sent,
}

/// How the service learns of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// Not yet.
    No,
    /// By an event of its own, which has to be answered until then.
    Alone(Instant),
    /// The session began with it.
    WithTheSession,
}

impl Change {
    /// When an answer has to be there.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.how {
            Sent::Alone(until) => Some(until),
            _ => None,
        }
    }

    /// A new session begins, and has it from its beginning.
    pub(super) const fn goes_with_the_session(&mut self) {
        self.how = Sent::WithTheSession;
    }
}

/// Says to the operator why a change is not made.
pub(super) fn refusal(code: &str, message: String) -> Failure {
    let class = FailureClass::Permanent;
    Failure { class, refuses: Refuses::Nothing, retry_after: None, code: code.to_owned(), message }
}
