//! The pace of a server that has said it is too busy: HTTP 429, or a Retry-After.
//!
//! Pure: the time is a parameter. Owned by the breakers, one for each busy server, so that all calls keep to it.

use std::time::{Duration, Instant, SystemTime};

use http::header::{HeaderMap, RETRY_AFTER};

/// After the pause, one attempt passes in so much time until one is served.
const EACH: Duration = Duration::from_secs(1);
/// The longest pause that is kept to, whatever the server says.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest pause where the server names none.
const LONGEST_UNSTATED: Duration = Duration::from_secs(60);
/// So long after the pause nothing of it is remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// How long a server wants to be left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// It says so.
    Stated(Duration),
    /// It does not: a second, then two, four, up to a minute.
    Unstated,
}

impl Pause {
    /// What an answer with this status asks for: `Retry-After` is seconds or a date, and counts with 429 and 503.
    pub fn read(status: u16, headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let stated = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| {
            let until = |date: SystemTime| date.duration_since(now).unwrap_or_default();
            let seconds = text.trim().parse().map(Duration::from_secs);
            seconds.ok().or_else(|| Some(until(httpdate::parse_http_date(text.trim()).ok()?)))
        });
        match (status, stated) {
            (429 | 503, Some(pause)) => Some(Self::Stated(pause)),
            (429, None) => Some(Self::Unstated),
            _ => None,
        }
    }

    /// What is kept to: at most five minutes. `before`: how many pauses without a time there were in a row.
    fn length(self, before: u32) -> Duration {
        match self {
            Self::Stated(pause) => pause.min(LONGEST),
            Self::Unstated => EACH.saturating_mul(1 << before.min(6)).min(LONGEST_UNSTATED),
        }
    }

    /// How long the call that was refused waits at least.
    pub fn at_least(self) -> Duration {
        self.length(0)
    }
}

/// One server's pace.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// When the next attempt passes.
    next: Instant,
    /// Pauses in a row.
    pauses: u32,
    /// An attempt has passed since the last of them.
    passed: bool,
}

impl Pace {
    /// From the first time on that the server asks.
    pub(super) fn new(now: Instant, pause: Pause) -> Self {
        Self { next: now + pause.length(0), pauses: 1, passed: false }
    }

    /// It asks again. Attempts that were on their way when it first asked do not make the pause longer than they say.
    pub(super) fn again(&mut self, now: Instant, pause: Pause) {
        let passed = std::mem::take(&mut self.passed);
        let before = if passed { self.pauses } else { 0 };
        self.next = self.next.max(now + pause.length(before));
        self.pauses += u32::from(passed);
    }

    /// An attempt has passed.
    pub(super) fn passed(&mut self, now: Instant) {
        self.next = now + EACH;
        self.passed = true;
    }

    /// How long until the next passes.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Whether it can be forgotten.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.next) >= MEMORY
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_read_from_seconds_and_from_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_169_100);
        for (status, text, pause) in [
            (429, Some("7"), Some(Pause::Stated(7 * S))),
            (503, Some(" 120 "), Some(Pause::Stated(120 * S))),
            (429, Some("Fri, 20 Nov 2026 10:05:30 GMT"), Some(Pause::Stated(30 * S))),
            (429, Some("Fri, 20 Nov 2026 09:05:30 GMT"), Some(Pause::Stated(Duration::ZERO))),
            (429, Some("soon"), Some(Pause::Unstated)),
            (429, Some("-1"), Some(Pause::Unstated)),
            (429, None, Some(Pause::Unstated)),
            (503, None, None),
            (503, Some("99999999999999999999"), None),
            (401, Some("7"), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(text.map(|text| (RETRY_AFTER, http::HeaderValue::from_str(text).unwrap())));
            assert_eq!(Pause::read(status, &headers, now), pause, "{status} {text:?}");
        }
    }

    #[test]
    fn a_stated_pause_is_kept_and_bounded() {
        let now = Instant::now();
        assert_eq!(Pace::new(now, Pause::Stated(7 * S)).wait(now), 7 * S);
        assert_eq!(Pace::new(now, Pause::Stated(Duration::from_secs(86_400))).wait(now), LONGEST);
        let mut pace = Pace::new(now, Pause::Stated(7 * S));
        pace.again(now + S, Pause::Stated(2 * S));
        assert_eq!(pace.wait(now + S), 6 * S, "a shorter one does not shorten it");
        pace.again(now + S, Pause::Stated(20 * S));
        assert_eq!(pace.wait(now + S), 20 * S);
    }

    #[test]
    fn pauses_without_a_time_double_once_for_each_pause() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now, Pause::Unstated);
        for n in 0..10 {
            let wait = pace.wait(now);
            assert_eq!(wait, S.saturating_mul(1 << n.min(6)).min(LONGEST_UNSTATED), "pause {n}");
            // A hundred calls were refused at the same time.
            (0..100).for_each(|_| pace.again(now, Pause::Unstated));
            assert_eq!(pace.wait(now), wait);
            now += wait;
            pace.passed(now);
            pace.again(now, Pause::Unstated);
        }
        assert!(!pace.is_over(now) && pace.is_over(now + pace.wait(now) + MEMORY));
    }
}
