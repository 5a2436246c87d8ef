//! A circuit breaker: after enough failures nobody is sent there for a while, then one to see.
//!
//! ```text
//! closed ── failures ──► open ── cool-down ──► half open ── success ──► closed
//!                          ▲                       └────── failure ──► open
//! ```
//! Pure: the time is a parameter. Owned by the code that makes the requests, behind a lock where several do. Remembers at most
//! as many failures as open it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When a breaker opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trip {
    /// After so many failures without a success between them.
    Consecutive(u32),
    /// After so many failures within a time, whatever succeeded between them.
    Within {
        /// So many.
        failures: u32,
        /// Within this.
        window: Duration,
    },
}

/// Where a breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// None passes.
    Open,
    /// One passes, to see.
    HalfOpen,
    /// Closed, but the server has asked for a pause: none passes until that is over, then one each second.
    Busy,
}

impl BreakerState {
    /// The word of reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Busy => "busy",
        }
    }
}

/// One breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    trip: Trip,
    cooldown: Duration,
    /// Times of the failures that count, oldest first; their number is all that consecutive ones need.
    failures: VecDeque<Instant>,
    /// Open, or half open, since.
    opened: Option<Instant>,
    /// When the probe was let through.
    probe: Option<Instant>,
}

impl Breaker {
    /// Closed; opens as `trip` says (at least one failure) and lets a probe through every `cooldown`.
    pub const fn new(trip: Trip, cooldown: Duration) -> Self {
        Self { trip, cooldown, failures: VecDeque::new(), opened: None, probe: None }
    }

    /// Whether a request may be made; where not, how long until one may. A `true` of a breaker that is not closed is the
    /// probe: it is the only one until its outcome is reported, or for another cool-down if nobody reports it.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(opened) = self.opened else { return Ok(()) };
        let until = self.probe.unwrap_or(opened) + self.cooldown;
        if now < until {
            return Err(until - now);
        }
        self.probe = Some(now);
        Ok(())
    }

    /// A request has succeeded: closed, whatever it was. Whether that closed it.
    pub fn success(&mut self) -> bool {
        if matches!(self.trip, Trip::Consecutive(_)) || self.opened.is_some() {
            self.failures.clear();
        }
        self.probe = None;
        self.opened.take().is_some()
    }

    /// A request has failed. Whether that opened it: then for another cool-down.
    pub fn failure(&mut self, now: Instant) -> bool {
        if self.opened.is_some() {
            // Only the probe says something new; others were on their way when it opened.
            return self.probe.is_some() && self.open(now);
        }
        self.failures.push_back(now);
        let most = match self.trip {
            Trip::Consecutive(failures) => failures,
            Trip::Within { failures, window } => {
                self.failures.retain(|&at| now.saturating_duration_since(at) <= window);
                failures
            }
        };
        self.failures.len() >= most.max(1) as usize && self.open(now)
    }

    /// The probe has said nothing: the next request is one.
    pub const fn forgo(&mut self) {
        self.probe = None;
    }

    /// Opens it at once: a failure that would repeat itself. Whether it was not open.
    pub fn trip(&mut self, now: Instant) -> bool {
        let was_closed = self.opened.is_none();
        self.open(now);
        was_closed
    }

    fn open(&mut self, now: Instant) -> bool {
        self.opened = Some(now);
        self.probe = None;
        true
    }

    /// Where it stands.
    pub fn state(&self, now: Instant) -> BreakerState {
        match (self.opened, self.probe) {
            (None, _) => BreakerState::Closed,
            (Some(_), Some(_)) => BreakerState::HalfOpen,
            (Some(opened), None) if now >= opened + self.cooldown => BreakerState::HalfOpen,
            (Some(_), None) => BreakerState::Open,
        }
    }

    /// Failures that have opened it, or count towards that.
    pub fn failures(&self, now: Instant) -> usize {
        match self.trip {
            Trip::Within { window, .. } if self.opened.is_none() => {
                self.failures.iter().filter(|&&at| now.saturating_duration_since(at) <= window).count()
            }
            _ => self.failures.len(),
        }
    }

    /// How long until a request passes that is to see; `None`: it is closed, all pass.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let since = self.probe.or(self.opened)?;
        Some((since + self.cooldown).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn failures_within_the_window_open_it_and_older_ones_do_not() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Trip::Within { failures: 5, window: seconds(60) }, COOLDOWN);
        for n in 0..10 {
            assert!(!breaker.failure(start + seconds(n * 16)), "four in any 60 s are not five");
            breaker.success();
        }
        let now = start + seconds(9 * 16 + 1);
        assert!(breaker.failure(now), "a success between them changes nothing");
        assert_eq!((breaker.state(now), breaker.admit(now)), (BreakerState::Open, Err(COOLDOWN)));
    }

    #[test]
    fn a_success_resets_consecutive_failures() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Trip::Consecutive(3), COOLDOWN);
        for _ in 0..10 {
            assert!(!breaker.failure(now) && !breaker.failure(now));
            breaker.success();
        }
        assert!(!breaker.failure(now) && !breaker.failure(now) && breaker.failure(now));
    }

    #[test]
    fn one_probe_passes_after_the_cool_down_and_decides() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Trip::Consecutive(1), COOLDOWN);
        breaker.failure(start);
        assert_eq!(breaker.admit(start + seconds(29)), Err(seconds(1)));
        let later = start + COOLDOWN;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.admit(later), Err(COOLDOWN), "one at a time");
        assert!(breaker.failure(later), "open again");
        assert_eq!(breaker.admit(later + seconds(1)), Err(seconds(29)));
        let later = later + COOLDOWN;
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.success(), "closed");
        assert_eq!((breaker.state(later), breaker.admit(later)), (BreakerState::Closed, Ok(())));
    }

    #[test]
    fn a_probe_without_a_report_does_not_keep_it_open() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Trip::Consecutive(1), COOLDOWN);
        assert!(breaker.trip(start) && !breaker.trip(start));
        assert_eq!(breaker.admit(start + COOLDOWN), Ok(()));
        assert_eq!(breaker.admit(start + COOLDOWN * 2), Ok(()));
    }

    #[test]
    fn failures_of_requests_already_under_way_do_not_prolong_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Trip::Consecutive(2), COOLDOWN);
        breaker.failure(start);
        assert!(breaker.failure(start));
        assert!(!breaker.failure(start + seconds(20)));
        assert_eq!(breaker.admit(start + COOLDOWN), Ok(()));
    }

    proptest! {
        #[test]
        fn an_open_breaker_admits_one_each_cool_down_at_most(
            steps in prop::collection::vec((0_u64..20_000, any::<bool>()), 1..200),
        ) {
            let mut breaker = Breaker::new(Trip::Within { failures: 3, window: seconds(60) }, COOLDOWN);
            let mut now = Instant::now();
            let mut refused_since = None;
            for (wait, succeeds) in steps {
                now += Duration::from_millis(wait);
                match breaker.admit(now) {
                    Ok(()) => {
                        refused_since = None;
                        if succeeds { breaker.success(); } else { breaker.failure(now); }
                    }
                    Err(wait) => {
                        prop_assert!(wait <= COOLDOWN);
                        let since = *refused_since.get_or_insert(now);
                        prop_assert!(now - since < COOLDOWN, "refused for longer than the cool-down");
                    }
                }
                prop_assert!(breaker.failures(now) <= 3);
            }
        }
    }
}
