//! How often audio does not fit: when to start afresh, when to tell the operator.
//!
//! On the worker's thread, owned by the [`Injector`](super::Injector); time comes from the caller. The first loss is a warning at
//! once. A server that delivers a minute of speech in one second overflows often within that second, and what of it is in the
//! queue is worth hearing; but where there are still more than five overflows within a second a second later, the server sends
//! faster than the caller can hear, and everything waiting is growing stale: the queue is dropped, at most once a second. If
//! overflows are still there 30 s after the warning it is an error. Each is said once; 30 s without an overflow end the episode.

use std::time::{Duration, Instant};

use crate::units::choice::choice;

/// Overflows within [`WINDOW`] for which the queue is never dropped.
const TOLERATED: usize = 5;
const WINDOW: Duration = Duration::from_secs(1);
/// How long an episode lasts before it is an error, and how long a quiet ends it.
const PERSISTENT: Duration = Duration::from_secs(30);

choice! {
    /// What is done with audio for which the queue has no room.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub enum WhenFull {
        /// It is left in the socket until there is room.
        #[default]
        Wait = "wait",
        /// It is received and dropped.
        Drop = "drop",
    }
}

/// What to report to the operator, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverflowAlarm {
    /// Audio was lost: a warning.
    Warning,
    /// Overflows go on 30 s after the warning: an error. The server sends faster than real time, or `inject_buffer_ms`
    /// is too short for how it sends.
    Persistent,
}

/// What follows from an overflow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Verdict {
    /// Drop everything that waits.
    pub start_afresh: bool,
    /// Say this.
    pub alarm: Option<OverflowAlarm>,
}

/// Watches the overflows of one stream; see the [module](self).
#[derive(Debug, Default)]
pub struct OverflowMeter {
    count: u64,
    /// The times of the last overflows.
    recent: [Option<Instant>; TOLERATED],
    /// Since when there are more than five within each second, or the queue was dropped for it.
    over_since: Option<Instant>,
    last: Option<Instant>,
    /// Since when this episode has been an alarm, and whether it has become an error.
    alarm: Option<(Instant, bool)>,
}

impl OverflowMeter {
    /// Counts an overflow.
    pub fn overflowed(&mut self, now: Instant) -> Verdict {
        self.count += 1;
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= PERSISTENT) {
            self.alarm = None;
        }
        self.last = Some(now);

        let within_window = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        let too_many = self.recent[0].is_some_and(within_window);
        self.recent.rotate_left(1);
        self.recent[TOLERATED - 1] = Some(now);
        let over_since = *self.over_since.get_or_insert(now);
        let start_afresh = too_many && !within_window(over_since);
        if !too_many {
            self.over_since = None;
        } else if start_afresh {
            self.over_since = Some(now);
        }

        let alarm = match &mut self.alarm {
            None => {
                self.alarm = Some((now, false));
                Some(OverflowAlarm::Warning)
            }
            Some((since, is_error)) if !*is_error && now.saturating_duration_since(*since) >= PERSISTENT => {
                *is_error = true;
                Some(OverflowAlarm::Persistent)
            }
            _ => None,
        };
        Verdict { start_afresh, alarm }
    }

    /// Overflows since the beginning.
    pub const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Overflows at these times in ms: the indices that start afresh, and the alarms.
    fn run(times: impl IntoIterator<Item = u64>) -> (Vec<u64>, Vec<(u64, OverflowAlarm)>) {
        let start = Instant::now();
        let mut meter = OverflowMeter::default();
        let (mut afresh, mut alarms, mut count) = (Vec::new(), Vec::new(), 0);
        for at in times {
            let verdict = meter.overflowed(start + Duration::from_millis(at));
            afresh.extend(verdict.start_afresh.then_some(at));
            alarms.extend(verdict.alarm.map(|alarm| (at, alarm)));
            count += 1;
        }
        assert_eq!(meter.count(), count);
        (afresh, alarms)
    }

    #[test]
    fn five_in_a_second_never_start_afresh() {
        assert!(run((0..100).map(|n| n * 200)).0.is_empty());
        assert!(run([0, 1, 2, 3, 4]).0.is_empty());
    }

    #[test]
    fn the_first_loss_warns_and_the_next_ones_do_not() {
        assert_eq!(run([7]), (vec![], vec![(7, OverflowAlarm::Warning)]));
        let (_, alarms) = run((0..60).map(|n| n * 100));
        assert_eq!(alarms, [(0, OverflowAlarm::Warning)]);
    }

    #[test]
    fn a_burst_keeps_what_was_queued() {
        assert_eq!(run(0..1_000), (vec![], vec![(0, OverflowAlarm::Warning)]));
        // The next minute comes ten seconds later.
        let (afresh, _) = run((0..800).chain(10_000..10_800));
        assert_eq!(afresh, [0_u64; 0]);
    }

    #[test]
    fn endless_overflows_start_afresh_at_most_once_a_second() {
        for step in [1, 20, 100] {
            let (afresh, _) = run((0..10_000 / step).map(|n| n * step));
            assert!((8..=9).contains(&afresh.len()), "{afresh:?} with one every {step} ms");
            assert!(afresh.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{afresh:?}");
        }
    }

    #[test]
    fn still_there_after_thirty_seconds_is_an_error_once() {
        let (_, alarms) = run((0..1_200).map(|n| n * 100));
        assert_eq!(alarms, [(0, OverflowAlarm::Warning), (30_000, OverflowAlarm::Persistent)]);
    }

    #[test]
    fn a_quiet_of_thirty_seconds_ends_the_episode() {
        let burst = |at: u64| (0..6).map(move |n| at + n);
        let (_, alarms) = run(burst(0).chain(burst(20_000)).chain(burst(50_100)));
        assert_eq!(alarms, [(0, OverflowAlarm::Warning), (50_100, OverflowAlarm::Warning)]);
    }
}
