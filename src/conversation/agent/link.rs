//! The connection as the conversation sees it: made, lost, made again, renewed before its end, given up.
//!
//! ```text
//! Idle ─start─► Connecting ─ready─► Ready ─expires soon, in a pause─► Connecting
//!                   ▲   └── lost ──► Waiting (500 ms·2ⁿ, jitter) ◄── lost ──┘
//!                   └────────────────────┘        └─ attempts used up, or fatal ─► the end: FAILED
//! ```
//! Pure; owned by the agent.

use std::time::Instant;

use super::State;
use super::outputs::Outputs;
use crate::peer::{Backoff, Retry};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Connecting,
    Waiting { until: Instant },
    Ready { since: Instant },
}

/// What a new session has to learn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NewSession {
    /// There was a session before.
    pub(super) resumed: bool,
    /// The caller's turn ended while there was none.
    pub(super) commit_owed: bool,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    phase: Phase,
    backoff: Backoff,
    total_attempts: u64,
    /// There was a session before.
    resumed: bool,
    /// The session is to be replaced; `true`: without waiting for a pause.
    renew: Option<bool>,
    commit_owed: bool,
    /// Why the state changes, for the event: code and words.
    why: (String, String),
}

impl Link {
    /// `seed` decides the jitter.
    pub(super) fn new(retry: Retry, seed: u64) -> Self {
        Self {
            phase: Phase::Idle,
            backoff: Backoff::new(retry, seed),
            total_attempts: 0,
            resumed: false,
            renew: None,
            commit_owed: false,
            why: Default::default(),
        }
    }

    fn enter(&mut self, phase: Phase, out: &mut Outputs) {
        self.phase = phase;
        out.set_session(matches!(phase, Phase::Ready { .. }));
    }

    /// The conversation begins.
    pub(super) fn start(&mut self, out: &mut Outputs) {
        if self.is_idle() {
            self.connect(out);
        }
    }

    fn connect(&mut self, out: &mut Outputs) {
        self.enter(Phase::Connecting, out);
        out.connect(self.backoff.attempts());
    }

    /// A session is there; `None` where none was asked for.
    pub(super) fn ready(&mut self, now: Instant, out: &mut Outputs) -> Option<NewSession> {
        if self.phase != Phase::Connecting {
            return None;
        }
        self.enter(Phase::Ready { since: now }, out);
        // Nothing is renewed in what is new; what went wrong with the old one is over.
        self.renew = None;
        self.why = Default::default();
        Some(NewSession {
            resumed: std::mem::replace(&mut self.resumed, true),
            commit_owed: std::mem::take(&mut self.commit_owed),
        })
    }

    /// The connection, or the attempt at one, is gone: whether a session was lost with it. `None` where there was neither.
    pub(super) fn lost(&mut self, now: Instant, why: (String, String), out: &mut Outputs) -> Option<bool> {
        let session = match self.phase {
            Phase::Ready { since } => {
                self.backoff.lost_after(now.saturating_duration_since(since));
                true
            }
            Phase::Connecting => false,
            Phase::Idle | Phase::Waiting { .. } => return None,
        };
        self.why = why;
        self.enter(Phase::Idle, out);
        Some(session)
    }

    /// The service has ended the conversation: there is no session, and no other attempt.
    pub(super) fn ended(&mut self, why: (String, String), out: &mut Outputs) {
        self.why = why;
        self.enter(Phase::Idle, out);
    }

    /// Waits for the next attempt; `false` when there is none any more.
    pub(super) fn retry(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let Some(wait) = self.backoff.next_wait(now) else { return false };
        self.enter(Phase::Waiting { until: now + wait }, out);
        true
    }

    /// The service asks for no attempt before this.
    pub(super) fn not_before(&mut self, at: Instant) {
        self.backoff.not_before(at);
    }

    /// Makes the next attempt, once its wait is over.
    pub(super) fn timer(&mut self, now: Instant, out: &mut Outputs) {
        if self.deadline().is_some_and(|until| now >= until) {
            self.total_attempts += 1;
            self.connect(out);
        }
    }

    /// The session ends soon; `now`: do not wait for a pause.
    pub(super) fn expires(&mut self, now: bool) {
        self.renew = Some(now || self.renew == Some(true));
    }

    /// Whether the session is to be replaced: in a pause, or because there is no more time for one.
    pub(super) fn should_renew(&self, pause: bool) -> bool {
        self.is_ready() && self.renew.is_some_and(|at_once| pause || at_once)
    }

    /// Replaces the session. Everything handed on goes before the close.
    pub(super) fn renew(&mut self, out: &mut Outputs) {
        out.close();
        self.why = ("session_limit".to_owned(), "the session is about to reach its longest duration".to_owned());
        self.backoff.reset();
        self.connect(out);
    }

    /// The session and all that was in it are gone.
    pub(super) fn session_gone(&mut self) {
        self.renew = None;
    }

    /// The caller's turn ends while there is no session.
    pub(super) fn owe_commit(&mut self) {
        self.commit_owed = true;
    }

    /// Ends, without another attempt.
    pub(super) fn end(&self, out: &mut Outputs) {
        if matches!(self.phase, Phase::Connecting | Phase::Ready { .. }) {
            out.close();
        }
    }

    /// Why the state has changed, once.
    pub(super) fn take_why(&mut self) -> (String, String) {
        std::mem::take(&mut self.why)
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// When the next attempt is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// The state while there is no session; `None` when there is one.
    pub(super) fn state(&self) -> Option<State> {
        match self.phase {
            Phase::Idle => Some(State::Idle),
            Phase::Connecting if !self.resumed && self.backoff.attempts() == 0 => Some(State::Connecting),
            Phase::Connecting | Phase::Waiting { .. } => Some(State::Reconnecting),
            Phase::Ready { .. } => None,
        }
    }

    pub(super) fn total_attempts(&self) -> u64 {
        self.total_attempts
    }
}
