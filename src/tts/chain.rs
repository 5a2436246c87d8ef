//! Whom to ask: the first provider that does not keep failing, and nobody once all have failed too often.
//!
//! Pure: the time is a parameter. Owned by one stream's [`Speech`](super::Speech). A sentence that the first cannot speak is asked of
//! the next at once, so that it is not lost; after [`FALL_BACK`] failures in a row the first is no longer asked until its cool-down is
//! over. After [`GIVE_UP`] sentences in a row that nobody could speak, speech is off; one sentence is tried after each cool-down.

use std::time::{Duration, Instant};

use super::error::Severity;
use crate::transport::{Breaker, BreakerState, Trip};

/// Failures in a row of one provider.
const FALL_BACK: u32 = 3;
/// Sentences in a row without a voice.
const GIVE_UP: u32 = 5;
/// How long a provider, or all speech, is not tried.
const COOLDOWN: Duration = Duration::from_secs(30);

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Chain {
    providers: Vec<Breaker>,
    speech: Breaker,
}

impl Chain {
    pub(super) fn new(providers: usize) -> Self {
        Self {
            providers: vec![Breaker::new(Trip::Consecutive(FALL_BACK), COOLDOWN); providers],
            speech: Breaker::new(Trip::Consecutive(GIVE_UP), COOLDOWN),
        }
    }

    /// Whether a sentence may be asked for at all.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        self.speech.admit(now).is_ok()
    }

    /// Whom to ask for a sentence: first, or after `failed` could not.
    pub(super) fn next(&mut self, now: Instant, failed: Option<usize>) -> Option<usize> {
        let from = failed.map_or(0, |failed| failed + 1);
        let found = (from..self.providers.len()).find(|&at| self.providers[at].admit(now).is_ok());
        // With nobody to fall back on the last is asked on, until speech is off.
        let last = self.providers.len().checked_sub(1);
        if failed.is_none() { found.or(last) } else { found }
    }

    /// A provider could not speak a sentence.
    pub(super) fn failed(&mut self, now: Instant, provider: usize, severity: Severity) {
        let breaker = &mut self.providers[provider];
        match severity {
            Severity::Retryable => {
                breaker.failure(now);
            }
            Severity::Fatal => {
                breaker.trip(now);
            }
            Severity::Text => {}
        }
    }

    /// A provider has spoken a sentence to its end.
    pub(super) fn succeeded(&mut self, provider: usize) {
        self.providers[provider].success();
        self.speech.success();
    }

    /// Nobody could speak a sentence. Whether that has turned speech off.
    pub(super) fn sentence_failed(&mut self, now: Instant, severity: Severity) -> bool {
        let was_on = self.speech.state(now) == BreakerState::Closed;
        severity != Severity::Text && self.speech.failure(now) && was_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_fall_back_and_a_probe_returns() {
        let now = Instant::now();
        let mut chain = Chain::new(2);
        for _ in 0..3 {
            assert_eq!(chain.next(now, None), Some(0));
            chain.failed(now, 0, Severity::Retryable);
            assert_eq!(chain.next(now, Some(0)), Some(1), "the sentence is not lost");
            chain.succeeded(1);
        }
        assert_eq!(chain.next(now, None), Some(1));
        let later = now + COOLDOWN;
        assert_eq!(chain.next(later, None), Some(0), "one to see");
        assert_eq!(chain.next(later, None), Some(1), "the others do not wait for it");
        chain.succeeded(0);
        assert_eq!(chain.next(later, None), Some(0));
    }

    #[test]
    fn a_success_resets_the_count() {
        let now = Instant::now();
        let mut chain = Chain::new(2);
        for _ in 0..10 {
            chain.failed(now, 0, Severity::Retryable);
            chain.failed(now, 0, Severity::Retryable);
            chain.succeeded(0);
        }
        assert_eq!(chain.next(now, None), Some(0));
    }

    #[test]
    fn a_refused_key_is_tried_once_and_a_bad_text_blames_nobody() {
        let now = Instant::now();
        let mut chain = Chain::new(3);
        chain.failed(now, 0, Severity::Fatal);
        for _ in 0..10 {
            chain.failed(now, 1, Severity::Text);
            assert!(!chain.sentence_failed(now, Severity::Text));
        }
        assert_eq!(chain.next(now, None), Some(1));
        assert!(chain.admit(now));
    }

    #[test]
    fn five_lost_sentences_turn_speech_off_a_success_turns_it_on() {
        let now = Instant::now();
        let mut chain = Chain::new(1);
        let mut off = 0;
        for _ in 0..5 {
            assert!(chain.admit(now));
            assert_eq!(chain.next(now, None), Some(0), "nobody else to ask");
            chain.failed(now, 0, Severity::Retryable);
            assert_eq!(chain.next(now, Some(0)), None);
            off += usize::from(chain.sentence_failed(now, Severity::Retryable));
        }
        assert_eq!((off, chain.admit(now)), (1, false));
        let later = now + COOLDOWN;
        assert!(chain.admit(later));
        assert!(!chain.sentence_failed(later, Severity::Retryable), "reported once");
        assert!(!chain.admit(later));
        assert!(chain.admit(later + COOLDOWN));
        chain.succeeded(0);
        assert!(chain.admit(later + COOLDOWN) && chain.admit(later + COOLDOWN));
    }

    #[test]
    fn no_provider_is_no_panic() {
        assert_eq!(Chain::new(0).next(Instant::now(), None), None);
    }
}
