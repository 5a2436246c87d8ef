//! The end of a session that lasts only so long: when a pause is looked for to replace it, and when no pause is waited for any longer.
//!
//! Pure; owned by an engine.

use std::time::{Duration, Instant};

/// How long before the end a pause is looked for.
const SOON: Duration = Duration::from_secs(300);
/// How long before the end no pause is waited for.
const NOW: Duration = Duration::from_secs(15);
/// A session of this length looks for a pause from its 15th second on; a shorter one does so at once.
pub(super) const SHORTEST: Duration = SOON.saturating_add(NOW);

/// The next thing to say about the session's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Expiry {
    /// Nothing: no end is known, or all is said.
    #[default]
    Nothing,
    /// That it comes soon, at this time.
    Soon(Instant),
    /// That it comes now.
    Now(Instant),
}

impl Expiry {
    /// A session that ends in so long.
    pub(super) fn of(now: Instant, left: Duration) -> Self {
        Self::Soon(now + left.saturating_sub(SOON))
    }

    /// Whether nothing has been said yet of an end that is known.
    pub(super) const fn is_ahead(self) -> bool {
        matches!(self, Self::Soon(_))
    }

    /// The service itself says that the end comes soon; whether that is news.
    pub(super) fn comes_soon(&mut self, now: Instant) -> bool {
        let news = self.is_ahead();
        if news {
            *self = Self::Now(now + (SOON - NOW));
        }
        news
    }

    /// When [`due`](Self::due) has something to say.
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Nothing => None,
            Self::Soon(at) | Self::Now(at) => Some(at),
        }
    }

    /// What is to be said at this time: whether a pause is not waited for any longer.
    pub(super) fn due(&mut self, now: Instant) -> Option<bool> {
        let (last, next) = match *self {
            Self::Soon(at) if now >= at => (false, Self::Now(at + (SOON - NOW))),
            Self::Now(at) if now >= at => (true, Self::Nothing),
            _ => return None,
        };
        *self = next;
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_session_is_said_in_two_steps() {
        let now = Instant::now();
        let mut expiry = Expiry::of(now, Duration::from_secs(3_600));
        let soon = now + Duration::from_secs(3_300);
        assert_eq!((expiry.deadline(), expiry.due(now)), (Some(soon), None));
        assert_eq!((expiry.due(soon), expiry.due(soon)), (Some(false), None));
        let last = now + Duration::from_secs(3_585);
        assert_eq!((expiry.deadline(), expiry.due(last)), (Some(last), Some(true)));
        assert_eq!((expiry.deadline(), expiry.due(last)), (None, None));
        // A service that warns early is heard once.
        let mut expiry = Expiry::of(now, Duration::from_secs(3_600));
        assert!(expiry.is_ahead() && expiry.comes_soon(now) && !expiry.is_ahead() && !expiry.comes_soon(now));
        assert_eq!(expiry.deadline(), Some(now + Duration::from_secs(285)));
        assert!(!Expiry::default().comes_soon(now));
        // A short session is replaced in the first pause.
        assert_eq!(Expiry::of(now, Duration::from_secs(60)).due(now), Some(false));
        assert_eq!(Expiry::of(now, SHORTEST).deadline(), Some(now + NOW));
    }
}
