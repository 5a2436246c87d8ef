//! The session that another connection may go on with.
//!
//! Plain values; owned by the engine.

use std::time::{Duration, Instant};

/// How long the service keeps a session without a connection.
const KEPT: Duration = Duration::from_secs(30);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Kept {
    session_id: Option<String>,
    /// When its connection was lost.
    lost: Option<Instant>,
}

impl Kept {
    /// A session is held now: this one, or the one of before.
    pub(super) fn held(&mut self, session_id: Option<String>) {
        if session_id.is_some() {
            self.session_id = session_id;
        }
        self.lost = None;
    }

    /// Its connection is lost, and nobody has ended it.
    pub(super) const fn lost(&mut self, now: Instant) {
        if self.lost.is_none() {
            self.lost = Some(now);
        }
    }

    /// There is nothing to go on with.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What a connection that is made now can go on with.
    pub(super) fn session(&self, now: Instant) -> Option<&str> {
        let lost = self.lost?;
        self.session_id.as_deref().filter(|_| now.saturating_duration_since(lost) < KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_gone_on_with_for_half_a_minute_after_its_loss() {
        let (now, mut kept) = (Instant::now(), Kept::default());
        kept.lost(now);
        assert_eq!(kept.session(now), None, "there was no session");
        kept.held(Some("sess_1".to_owned()));
        assert_eq!(kept.session(now), None, "it has its connection");
        kept.lost(now);
        // A failed attempt to go on does not begin the time anew.
        kept.lost(now + KEPT / 2);
        assert_eq!(kept.session(now + Duration::from_secs(29)), Some("sess_1"));
        assert_eq!(kept.session(now + KEPT), None);
        kept.forget();
        assert_eq!(kept.session(now), None);
    }
}
