//! How often and how soon a lost connection is made again: conversations and streams to servers do it alike.
//!
//! Pure; owned by the peer whose connection it is.

use std::time::{Duration, Instant};

/// However many attempts are allowed, no wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the options say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Attempts in a row; 0: none.
    pub attempts: u32,
    /// The first wait; doubled each time, up to 30 s, and up to a quarter more.
    pub first_wait: Duration,
    /// A connection that lasted this long was a success: the next loss begins a new row.
    pub stable_after: Duration,
}

impl Default for Retry {
    /// 5 attempts from 500 ms; a connection of 10 s is a success.
    fn default() -> Self {
        Self { attempts: 5, first_wait: Duration::from_millis(500), stable_after: Duration::from_secs(10) }
    }
}

/// The attempts of one peer.
#[derive(Debug)]
pub struct Backoff {
    retry: Retry,
    /// Attempts since the last success.
    attempts: u32,
    /// State of the generator behind the jitter.
    random: u64,
    /// The server asks for no attempt before.
    not_before: Option<Instant>,
}

impl Backoff {
    /// None made yet. `seed` decides the jitter: any number, another for each peer.
    pub const fn new(retry: Retry, seed: u64) -> Self {
        Self { retry, attempts: 0, random: seed, not_before: None }
    }

    /// Attempts since the last success.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether there are any attempts at all.
    pub const fn is_on(&self) -> bool {
        self.retry.attempts > 0
    }

    /// Begins a new row.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }

    /// A connection is lost that was up for so long.
    pub fn lost_after(&mut self, lasted: Duration) {
        if lasted >= self.retry.stable_after {
            self.reset();
        }
    }

    /// The server asks for no attempt before this.
    pub const fn not_before(&mut self, at: Instant) {
        self.not_before = Some(at);
    }

    /// How long to wait before the next attempt, which counts from now on; `None`: there is none any more.
    pub fn next_wait(&mut self, now: Instant) -> Option<Duration> {
        if self.attempts >= self.retry.attempts {
            return None;
        }
        let jitter = self.jitter();
        let asked = self.not_before.take().map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let full = self.full_wait();
        let wait = full.max(asked);
        self.attempts += 1;
        // Of the usual wait, however long the server's pause is.
        Some(wait + full / 4 * jitter / 1_023)
    }

    /// The first wait, doubled with each attempt, and up to a quarter more. So the third attempt comes after 3.5 to 4.4 s:
    /// what was kept of 5 s of a caller's audio is whole when a network was gone for three.
    fn full_wait(&self) -> Duration {
        let doubled = 1u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.retry.first_wait.saturating_mul(doubled).min(LONGEST_WAIT)
    }

    /// 0 to 1023.
    fn jitter(&mut self) -> u32 {
        // SplitMix64: enough to keep a thousand calls from coming back together.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % 1_024) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_and_are_bounded() {
        let retry = Retry { attempts: 40, ..Retry::default() };
        for seed in 0..200 {
            let mut backoff = Backoff::new(retry, seed);
            for n in 0..40 {
                let full = Duration::from_millis(500 << n.min(6)).min(LONGEST_WAIT);
                let wait = backoff.next_wait(Instant::now()).unwrap_or_default();
                assert!((full..=full + full / 4).contains(&wait), "attempt {n}: {wait:?}");
            }
            assert_eq!((backoff.next_wait(Instant::now()), backoff.attempts()), (None, 40));
        }
    }

    #[test]
    fn no_attempt_comes_before_the_server_wants_one() {
        let (mut backoff, now) = (Backoff::new(Retry::default(), 3), Instant::now());
        backoff.not_before(now + Duration::from_secs(20));
        let wait = backoff.next_wait(now).unwrap_or_default();
        assert!((20_000..=20_125).contains(&wait.as_millis()), "{wait:?}");
        assert!(backoff.next_wait(now).unwrap_or_default() <= Duration::from_millis(1_250), "once");
    }

    #[test]
    fn only_a_connection_that_lasted_begins_a_new_row() {
        let mut backoff = Backoff::new(Retry { attempts: 1, ..Retry::default() }, 7);
        let now = Instant::now();
        assert!(backoff.next_wait(now).is_some() && backoff.next_wait(now).is_none());
        backoff.lost_after(Duration::from_millis(9_999));
        assert_eq!(backoff.next_wait(now), None);
        backoff.lost_after(Duration::from_secs(10));
        assert!(backoff.next_wait(now).is_some());
        assert!(!Backoff::new(Retry { attempts: 0, ..Retry::default() }, 0).is_on());
    }
}
