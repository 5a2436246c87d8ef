//! One line every five seconds for a thing that repeats, with the number of repetitions.
//!
//! Owned by the code that logs (a stream's task, a thread); no lock, no clock of its own.

use std::time::{Duration, Instant};

/// How often a repeated line may be written (one per 5 s, as operators' log budgets ask).
const INTERVAL: Duration = Duration::from_secs(5);

/// Decides whether a repeated line is written now and counts those that were not.
#[derive(Debug, Default)]
pub struct RateLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// `Some(n)` when the line is due, `n` being how many were held back since the last one; else `None`.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        match self.last {
            Some(last) if now.saturating_duration_since(last) < INTERVAL => {
                self.suppressed += 1;
                None
            }
            _ => {
                self.last = Some(now);
                Some(std::mem::take(&mut self.suppressed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_is_written_once_per_interval_with_its_count() {
        let mut limit = RateLimit::default();
        let start = Instant::now();
        assert_eq!(limit.due(start), Some(0));
        for ms in 1..=3 {
            assert_eq!(limit.due(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(limit.due(start + INTERVAL), Some(3));
        assert_eq!(limit.due(start + INTERVAL * 2), Some(0));
    }
}
