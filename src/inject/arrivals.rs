//! How regularly audio arrives: what the server's clock and the network do to the moments of its messages.
//!
//! On the worker's thread, owned by the [`Pace`](super::pace::Pace); time comes from the caller. Each message is compared with
//! the moment at which a server that speaks in real time would have sent it: the time since the first message less the length
//! of the audio before it. How far that lies behind the earliest is the message's lateness, and the largest lateness of the
//! last 20 s of audio is the prebuffer that would have played through. A server that sends faster than real time is never late.
//!
//! A message later than [`PAUSE`] is no jitter but the begin of something new. The smoothed figure for health is that of
//! RFC 3550, section 6.4.1.

use std::time::{Duration, Instant};

/// What comes later than this after its moment begins anew.
pub const PAUSE: Duration = Duration::from_millis(500);
/// The prebuffer until something is known.
const AT_FIRST: Duration = Duration::from_millis(60);
/// Messages before something is known.
const ENOUGH: u32 = 10;
/// Added to the largest lateness: the worker's tick and a frame that has just gone by.
const MARGIN: Duration = Duration::from_millis(25);
/// Audio in each period whose largest lateness is kept, and how many periods.
const PERIOD: Duration = Duration::from_secs(2);
const PERIODS: usize = 10;
/// The earliest moment is given up by this part of the time, so that a slow clock of the server is not taken for jitter.
const DRIFT: i64 = 1_000;
/// With more than this waiting beside the prebuffer, the server is ahead, and a gap is its end.
const AHEAD: Duration = Duration::from_millis(200);

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    run: Option<Run>,
    /// Microseconds.
    jitter: f64,
    peaks: [Duration; PERIODS],
    audio: Duration,
    messages: u32,
}

/// Messages without a pause between them.
#[derive(Clone, Copy, Debug)]
struct Run {
    began: Instant,
    last: Instant,
    /// Of the messages so far, the last one not included.
    audio_before: Duration,
    last_length: Duration,
    messages: u32,
    /// What was waiting after the last one.
    waiting: Duration,
    /// All in µs after the run's first message.
    last_transit: i64,
    earliest: i64,
}

impl Arrivals {
    /// A message with `length` of audio has come; with it, `waiting` waits to be heard.
    pub fn note(&mut self, now: Instant, length: Duration, waiting: Duration) {
        self.messages = self.messages.saturating_add(1);
        let period = self.period();
        self.audio += length;
        if self.period() != period {
            self.peaks[self.period()] = Duration::ZERO;
        }
        let Some(run) = &mut self.run else {
            self.begin(now, length, waiting);
            return;
        };
        run.audio_before += run.last_length;
        let transit = micros(now.saturating_duration_since(run.began)) - micros(run.audio_before);
        let elapsed = micros(now.saturating_duration_since(run.last));
        run.earliest = transit.min(run.earliest + elapsed / DRIFT);
        let late = Duration::from_micros((transit - run.earliest).unsigned_abs());
        if late > PAUSE {
            self.begin(now, length, waiting);
            return;
        }
        self.jitter += ((transit - run.last_transit).abs() as f64 - self.jitter) / 16.0;
        (run.last, run.last_length, run.waiting, run.last_transit) = (now, length, waiting, transit);
        run.messages = run.messages.saturating_add(1);
        let period = self.period();
        self.peaks[period] = self.peaks[period].max(late);
    }

    fn begin(&mut self, now: Instant, length: Duration, waiting: Duration) {
        self.run = Some(Run {
            began: now,
            last: now,
            audio_before: Duration::ZERO,
            last_length: length,
            messages: 1,
            waiting,
            last_transit: 0,
            earliest: 0,
        });
    }

    /// When the last message came.
    pub fn last(&self) -> Option<Instant> {
        self.run.map(|run| run.last)
    }

    /// The smoothed jitter.
    pub fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter as u64)
    }

    /// The prebuffer that plays through what was seen lately.
    pub fn prebuffer(&self) -> Duration {
        if self.messages < ENOUGH {
            return AT_FIRST;
        }
        self.peaks.iter().max().copied().unwrap_or_default() + MARGIN
    }

    /// Whether the server sends in real time, so that a gap now is more likely jitter than its end; `prebuffer` is in use.
    pub fn expect_more(&self, prebuffer: Duration) -> bool {
        self.run.is_some_and(|run| {
            run.messages >= 3
                && run.waiting <= prebuffer + AHEAD
                && run.last.saturating_duration_since(run.began) * 2 >= run.audio_before
        })
    }

    fn period(&self) -> usize {
        (self.audio.as_millis() / PERIOD.as_millis()) as usize % PERIODS
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Messages of 20 ms, the n-th `late(n)` ms after its moment.
    fn run(arrivals: &mut Arrivals, start: Instant, count: u64, late: impl Fn(u64) -> u64) {
        for n in 0..count {
            arrivals.note(start + ms(n * 20 + late(n)), ms(20), ms(60));
        }
    }

    /// Evenly spread over 0 to `most`.
    fn spread(n: u64, most: u64) -> u64 {
        (n * 7_919 + 13) % (most + 1)
    }

    #[test]
    fn the_prebuffer_is_the_largest_lateness_and_a_margin() {
        for most in [0, 20, 60, 120, 300] {
            let mut arrivals = Arrivals::default();
            assert_eq!(arrivals.prebuffer(), AT_FIRST);
            run(&mut arrivals, Instant::now(), 500, |n| spread(n, most));
            let prebuffer = arrivals.prebuffer().as_millis() as u64;
            assert!((most + 10..=most + 26).contains(&prebuffer), "{prebuffer} for {most}");
            let jitter = arrivals.jitter().as_millis() as u64;
            assert!(jitter <= most && jitter >= most / 6, "{jitter} for {most}");
        }
    }

    #[test]
    fn a_quiet_time_lets_the_prebuffer_shrink_after_twenty_seconds() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        run(&mut arrivals, start, 100, |n| spread(n, 200));
        assert!(arrivals.prebuffer() > ms(200));
        run(&mut arrivals, start + ms(2_000), 500, |_| 0);
        assert!(arrivals.prebuffer() > ms(200), "not yet");
        run(&mut arrivals, start + ms(12_000), 700, |_| 0);
        assert!(arrivals.prebuffer() < ms(30), "{:?}", arrivals.prebuffer());
    }

    #[test]
    fn pauses_bursts_and_slow_clocks_are_no_jitter() {
        let (mut arrivals, mut now) = (Arrivals::default(), Instant::now());
        for _ in 0..20 {
            // Three seconds in a burst, then a pause for them to be heard and one to think.
            for _ in 0..30 {
                arrivals.note(now, ms(100), ms(2_000));
                now += ms(5);
            }
            assert!(!arrivals.expect_more(ms(40)));
            now += ms(4_000);
        }
        assert!(arrivals.prebuffer() <= ms(30), "{:?}", arrivals.prebuffer());
        // A clock that is 200 ppm slow: 120 ms in ten minutes.
        let mut arrivals = Arrivals::default();
        let start = now;
        for n in 0..30_000 {
            arrivals.note(start + Duration::from_micros(n * 20_004), ms(20), ms(60));
        }
        assert!(arrivals.prebuffer() <= ms(30), "{:?}", arrivals.prebuffer());
    }

    #[test]
    fn more_is_expected_only_of_a_server_in_real_time() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        arrivals.note(start, ms(20), ms(20));
        assert!(!arrivals.expect_more(ms(40)), "one message may be all");
        run(&mut arrivals, start + ms(20), 10, |_| 0);
        assert!(arrivals.expect_more(ms(40)));
        arrivals.note(start + ms(230), ms(2_000), ms(2_040));
        assert!(!arrivals.expect_more(ms(40)));
        // "Yes": 60 ms at once.
        let mut arrivals = Arrivals::default();
        (0..3).for_each(|_| arrivals.note(start, ms(20), ms(60)));
        assert!(!arrivals.expect_more(ms(40)));
    }

    #[test]
    fn empty_messages_and_a_clock_that_stands_still_do_no_harm() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        for _ in 0..1_000 {
            arrivals.note(start, Duration::ZERO, Duration::ZERO);
            arrivals.note(start, Duration::from_secs(600), Duration::MAX);
        }
        assert!(arrivals.prebuffer() <= MARGIN);
        arrivals.expect_more(Duration::ZERO);
    }
}
