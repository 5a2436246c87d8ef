//! How long to wait before the next attempt: doubling, with jitter, so that a thousand streams that lost their server
//! together do not come back together.
//!
//! Pure but for the random number; owned by the stream's task.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waits of one series of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
    made: u32,
}

impl Backoff {
    /// At most `attempts` waits, the first around `first`, none longer than `longest`.
    pub const fn new(first: Duration, longest: Duration, attempts: u32) -> Self {
        Self { first, longest, attempts, made: 0 }
    }

    /// The next wait, half to all of `first`·2ⁿ; `None` when the attempts are used up.
    pub fn next_wait(&mut self) -> Option<Duration> {
        if self.made >= self.attempts {
            return None;
        }
        let full = self.first.saturating_mul(1u32.checked_shl(self.made).unwrap_or(u32::MAX)).min(self.longest);
        self.made += 1;
        // A random number without a dependency: a fresh hasher is randomly keyed.
        let random = RandomState::new().hash_one(self.made) % 1_024;
        Some(full / 2 + full / 2 * random as u32 / 1_023)
    }

    /// Attempts made so far.
    pub const fn made(&self) -> u32 {
        self.made
    }

    /// After a success: the next failure starts a new series.
    pub const fn reset(&mut self) {
        self.made = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest, 50);
        for attempt in 0..50 {
            let full = first.saturating_mul(1 << attempt.min(20)).min(longest);
            let wait = backoff.next_wait().unwrap();
            assert!((full / 2..=full).contains(&wait), "attempt {attempt}: {wait:?}");
        }
        assert_eq!(backoff.next_wait(), None);
        backoff.reset();
        assert!(backoff.next_wait().unwrap() <= first);
        assert_eq!(Backoff::new(first, longest, 0).next_wait(), None);
    }
}
