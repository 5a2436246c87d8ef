//! A change of the session that is under way.
//!
//! Plain values; owned by the engine.

use std::time::Instant;

use super::profile::Profile;

/// A change that is under way.
#[derive(Debug)]
pub(super) struct Change {
    /// The session as it was.
    pub(super) before: Box<Profile>,
    pub(super) how: How,
}

/// How the service learns of it.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum How {
    /// Not yet.
    No,
    /// By messages of its own, of which these confirmations are to come until then.
    Alone(Vec<&'static str>, Instant),
    /// The session begins with it.
    WithTheSession,
}

impl Change {
    /// When an answer has to be there.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.how {
            How::Alone(_, until) => Some(until),
            How::No | How::WithTheSession => None,
        }
    }

    /// A new session begins, and has it from its beginning.
    pub(super) fn goes_with_the_session(&mut self) {
        self.how = How::WithTheSession;
    }
}
