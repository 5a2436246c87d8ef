//! How often and how soon a lost connection is made again: conversations and streams to servers do it alike.
//!
//! Pure; owned by the peer whose connection it is.

use std::time::Duration;

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
}

impl Backoff {
    /// None made yet. `seed` decides the jitter: any number, another for each peer.
    pub const fn new(retry: Retry, seed: u64) -> Self {
        Self { retry, attempts: 0, random: seed }
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

    /// How long to wait before the next attempt, which counts from now on; `None`: there is none any more.
    pub fn next_wait(&mut self) -> Option<Duration> {
        if self.attempts >= self.retry.attempts {
            return None;
        }
        let wait = self.wait();
        self.attempts += 1;
        Some(wait)
    }

    /// The first wait, doubled with each attempt, and up to a quarter more. So the third attempt comes after 3.5 to 4.4 s:
    /// what was kept of 5 s of a caller's audio is whole when a network was gone for three.
    fn wait(&mut self) -> Duration {
        let doubled = 1u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let full = self.retry.first_wait.saturating_mul(doubled).min(LONGEST_WAIT);
        // SplitMix64: enough to keep a thousand calls from coming back together.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let random = ((mixed ^ (mixed >> 31)) % 1_024) as u32;
        full + full / 4 * random / 1_023
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
                let wait = backoff.next_wait().unwrap_or_default();
                assert!((full..=full + full / 4).contains(&wait), "attempt {n}: {wait:?}");
            }
            assert_eq!((backoff.next_wait(), backoff.attempts()), (None, 40));
        }
    }

    #[test]
    fn only_a_connection_that_lasted_begins_a_new_row() {
        let mut backoff = Backoff::new(Retry { attempts: 1, ..Retry::default() }, 7);
        assert!(backoff.next_wait().is_some() && backoff.next_wait().is_none());
        backoff.lost_after(Duration::from_millis(9_999));
        assert_eq!(backoff.next_wait(), None);
        backoff.lost_after(Duration::from_secs(10));
        assert!(backoff.next_wait().is_some());
        assert!(!Backoff::new(Retry { attempts: 0, ..Retry::default() }, 0).is_on());
    }
}
