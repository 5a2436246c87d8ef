//! A change of the session that is under way.

use std::time::Instant;

use super::profile::Profile;

/// A change under way.
#[derive(Debug)]
pub(super) struct Change {
    /// What held before it, and holds again if the service refuses it.
    pub(super) before: Box<Profile>,
    /// It is sent, and counts as taken then.
    pub(super) taken: Option<Instant>,
}

impl Change {
    /// When something is to be decided about it.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.taken
    }
}
