//! When an utterance may start: it is held until enough of it has arrived to play through the jitter of the rest.
//!
//! On the worker's thread, owned by the [`Injector`](super::Injector); time comes from the caller. An utterance begins with
//! the first audio after everything has played or been cleared. A short one never gathers the prebuffer: it starts once the
//! server has been quiet for a while, which is taken for its end.

use std::time::{Duration, Instant};

use super::arrivals::Arrivals;

/// Shortest and longest quiet that is taken for the end of the input; in between it is as long as the prebuffer.
const END_OF_INPUT: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(500));

/// Longest prebuffer that the measured jitter asks for.
const LONGEST_AUTO: Duration = Duration::from_millis(400);

/// How much must have arrived before an utterance starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prebuffer {
    /// Always this much; nothing for 0.
    Fixed(Duration),
    /// What the measured jitter asks for: 60 ms at first, 25 to 400 ms later, and never more than this.
    Auto {
        /// The longest queue.
        most: Duration,
    },
}

/// Holds utterances back; see the [module](self).
#[derive(Debug)]
pub struct Pace {
    prebuffer: Prebuffer,
    state: State,
    arrivals: Arrivals,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing to play.
    Idle,
    /// Gathering an utterance.
    Holding { first: Instant, last: Instant },
    /// Playing.
    Open,
}

impl Pace {
    /// Idle, with this policy.
    pub fn new(prebuffer: Prebuffer) -> Self {
        Self { prebuffer, state: State::Idle, arrivals: Arrivals::default() }
    }

    /// Another policy, from the next utterance on.
    pub const fn set_prebuffer(&mut self, prebuffer: Prebuffer) {
        self.prebuffer = prebuffer;
    }

    /// Takes the measure of a message with `length` of audio; with it, `waiting` waits to be heard.
    pub fn measure(&mut self, now: Instant, length: Duration, waiting: Duration) {
        self.arrivals.note(now, length, waiting);
    }

    /// When the last message came.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.arrivals.last()
    }

    /// The prebuffer of an utterance that would begin now.
    pub fn amount(&self) -> Duration {
        match self.prebuffer {
            Prebuffer::Fixed(amount) => amount,
            Prebuffer::Auto { most } => self.arrivals.prebuffer().min(LONGEST_AUTO).min(most),
        }
    }

    /// The smoothed jitter of the messages' arrival.
    pub fn jitter(&self) -> Duration {
        self.arrivals.jitter()
    }

    /// Whether a gap now is more likely jitter than the utterance's end.
    pub fn expect_more(&self) -> bool {
        self.arrivals.expect_more(self.amount())
    }

    /// Audio has arrived.
    pub const fn arrived(&mut self, now: Instant) {
        self.state = match self.state {
            State::Idle => State::Holding { first: now, last: now },
            State::Holding { first, .. } => State::Holding { first, last: now },
            State::Open => State::Open,
        };
    }

    /// Everything has played, or was cleared: what comes next is a new utterance.
    pub const fn ended(&mut self) {
        self.state = State::Idle;
    }

    /// Whether audio may play now that `waiting` has gathered. Once true, true until [`Self::ended`].
    pub fn may_play(&mut self, now: Instant, waiting: Duration) -> bool {
        if let Some(deadline) = self.deadline()
            && (waiting >= self.amount() || now >= deadline)
        {
            self.state = State::Open;
        }
        self.state == State::Open
    }

    /// When a held utterance starts although the prebuffer is not full.
    pub fn deadline(&self) -> Option<Instant> {
        let State::Holding { first, last } = self.state else { return None };
        let quiet = self.amount().clamp(END_OF_INPUT.0, END_OF_INPUT.1);
        // The second bound is for a server that trickles: it never falls silent and never fills the prebuffer.
        Some((last + quiet).min(first + self.amount() * 2 + quiet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_utterance_waits_until_the_prebuffer_is_full() {
        let start = Instant::now();
        let mut pace = Pace::new(Prebuffer::Fixed(ms(60)));
        assert!(!pace.may_play(start, ms(0)));
        pace.arrived(start);
        assert!(!pace.may_play(start, ms(20)));
        pace.arrived(start + ms(20));
        assert!(!pace.may_play(start + ms(20), ms(40)));
        pace.arrived(start + ms(40));
        assert!(pace.may_play(start + ms(40), ms(60)));
        assert!(pace.may_play(start + ms(45), ms(0)));
        pace.ended();
        pace.arrived(start + ms(500));
        assert!(!pace.may_play(start + ms(500), ms(20)));
    }

    #[test]
    fn a_short_utterance_starts_when_the_server_falls_silent() {
        let start = Instant::now();
        for (prebuffer, quiet) in [(1, 40), (40, 40), (200, 200), (5_000, 500)] {
            let mut pace = Pace::new(Prebuffer::Fixed(ms(prebuffer)));
            pace.arrived(start);
            assert_eq!(pace.deadline(), Some(start + ms(quiet)), "{prebuffer} ms");
            assert!(!pace.may_play(start + ms(quiet - 1), ms(0)));
            assert!(pace.may_play(start + ms(quiet), ms(0)));
            assert_eq!(pace.deadline(), None);
        }
    }

    #[test]
    fn without_a_prebuffer_nothing_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(Prebuffer::Fixed(ms(0)));
        pace.arrived(start);
        assert!(pace.may_play(start, ms(1)));
    }

    #[test]
    fn a_server_that_trickles_is_played_after_a_limit() {
        let start = Instant::now();
        let mut pace = Pace::new(Prebuffer::Fixed(ms(40)));
        let started = (0..100).find(|n| {
            let now = start + ms(n * 10);
            pace.arrived(now);
            pace.may_play(now, ms(1))
        });
        assert_eq!(started, Some(12));
    }
}
