//! The connection as the conversation sees it: made, lost, made again, renewed before its end, given up.
//!
//! ```text
//! Idle ─Start─► Connecting ─Ready─► Ready ─ExpiresSoon, in a pause─► Connecting
//!                   ▲   └── Lost ──► Waiting (500 ms·2ⁿ, jitter) ◄── Lost ──┘
//!                   └────────────────────┘        └─ attempts used up, or fatal ─► the end: FAILED
//! ```

use std::time::{Duration, Instant};

use super::config::{AgentConfig, SpeechTrigger, VoiceMode};
use super::conversation::{Agent, Request};
use super::{FarCommand, Output, State};

/// However many attempts are allowed, no wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Kept audio goes in pieces of this length.
const PIECE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Connecting,
    Waiting {
        until: Instant,
    },
    Ready {
        since: Instant,
    },
}

/// The connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    phase: Phase,
    /// Attempts since the last success.
    attempts: u32,
    total_attempts: u64,
    /// There was a session before.
    resumed: bool,
    /// The session is to be replaced; `true`: without waiting for a pause.
    renew: Option<bool>,
    /// The caller's turn ended while there was no session.
    commit_owed: bool,
    /// The far end was about to respond when it was lost.
    response_owed: bool,
}

impl Link {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

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
            Phase::Connecting if !self.resumed && self.attempts == 0 => Some(State::Connecting),
            Phase::Connecting | Phase::Waiting { .. } => Some(State::Reconnecting),
            Phase::Ready { .. } => None,
        }
    }

    pub(super) fn total_attempts(&self) -> u64 {
        self.total_attempts
    }

    pub(super) fn owe_commit(&mut self) {
        self.commit_owed = true;
    }

    pub(super) fn renew(&mut self, now: bool) {
        self.renew = Some(now || self.renew == Some(true));
    }
}

impl Agent {
    pub(super) fn start(&mut self, _now: Instant) {
        if self.link.is_idle() {
            self.connect();
        }
    }

    fn connect(&mut self) {
        self.link.phase = Phase::Connecting;
        self.outputs.push_back(Output::Connect { attempt: self.link.attempts });
    }

    /// A session is there.
    pub(super) fn ready(&mut self, now: Instant) {
        if self.link.phase != Phase::Connecting {
            return;
        }
        self.link.phase = Phase::Ready { since: now };
        self.link.renew = None;
        // Nothing is renewed in what is new; what went wrong with the old one is over.
        self.why = Default::default();
        let resumed = std::mem::replace(&mut self.link.resumed, true);
        if resumed {
            let said: Vec<_> = self.history.entries().map(|(speaker, text)| (speaker, text.to_owned())).collect();
            for (speaker, text) in said {
                self.command(FarCommand::Message { speaker, text, after: None });
            }
        }
        let piece = (PIECE.as_secs_f64() * self.config.caller_bytes_per_second as f64) as usize;
        while let Some(audio) = self.caller.take(piece) {
            self.command(FarCommand::Append(audio));
        }
        if std::mem::take(&mut self.link.commit_owed) {
            self.command(FarCommand::Commit);
            self.want_response(None);
        }
        if std::mem::take(&mut self.link.response_owed) && matches!(self.request, Request::None) {
            self.want_response(None);
        }
        if !resumed {
            self.greet();
        }
    }

    /// The connection, or the attempt at one, is gone.
    pub(super) fn lost(&mut self, now: Instant, fatal: bool, why: (String, String), undelivered: usize) {
        match self.link.phase {
            Phase::Ready { since } => {
                if now.saturating_duration_since(since) >= self.config.reconnect.stable_after {
                    self.link.attempts = 0;
                }
                self.session_gone(undelivered);
            }
            Phase::Connecting => {}
            Phase::Idle | Phase::Waiting { .. } => return,
        }
        self.why = why;
        self.link.phase = Phase::Idle;
        if fatal || self.link.attempts >= self.config.reconnect.attempts {
            return self.finish(State::Failed);
        }
        let wait = self.wait();
        self.link.attempts += 1;
        self.link.phase = Phase::Waiting { until: now + wait };
    }

    /// The first wait, doubled with each attempt, and up to a quarter more. So the third attempt comes after 3.5 to 4.4 s:
    /// what was kept of 5 s of a caller's audio is whole when a network was gone for three.
    fn wait(&mut self) -> Duration {
        let AgentConfig { reconnect, .. } = &self.config;
        let doubled = 1u32.checked_shl(self.link.attempts).unwrap_or(u32::MAX);
        let full = reconnect.first_wait.saturating_mul(doubled).min(LONGEST_WAIT);
        // SplitMix64: enough to keep a thousand conversations from coming back together.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let random = ((mixed ^ (mixed >> 31)) % 1_024) as u32;
        full + full / 4 * random / 1_023
    }

    pub(super) fn link_timer(&mut self, now: Instant) {
        if self.link.deadline().is_some_and(|until| now >= until) {
            self.link.total_attempts += 1;
            self.connect();
        }
    }

    /// Replaces a session that is about to end, in a pause or when there is no more time for one.
    pub(super) fn renew(&mut self) {
        let Some(at_once) = self.link.renew.filter(|_| self.link.is_ready()) else { return };
        let pause = self.state() == State::Listening && !self.far_hears && !self.local_hears && self.cuts.is_empty();
        if !pause && !at_once {
            return;
        }
        self.outputs.push_back(Output::Disconnect);
        // Everything handed on goes before the close.
        self.session_gone(0);
        self.why = ("session_limit".to_owned(), "the session is about to reach its longest duration".to_owned());
        self.link.attempts = 0;
        self.connect();
    }

    /// The session and all that was in it are gone; what is being heard goes on.
    fn session_gone(&mut self, undelivered: usize) {
        self.caller.broken(undelivered);
        let owed = self.turn_until.is_some()
            || !matches!(self.request, Request::None)
            || (self.response.is_some() && !self.uttering);
        self.link.response_owed |= owed;
        self.link.renew = None;
        self.request = Request::None;
        self.turn_until = None;
        self.far_active = None;
        self.far_since = None;
        self.far_hears = false;
        if self.config.barge_in.speech == SpeechTrigger::FarEnd {
            self.barge_in_at = None;
        }
        // A goodbye that was begun is still finished; its result is nobody's any more.
        self.calls.clear();
        self.respond_after_calls = false;
        self.past.clear();
        if let Some(response) = self.response.take() {
            self.put_past(response.id);
        }
        // The messages are gone with their ids: nothing can be truncated any more.
        let words = std::mem::take(&mut self.words);
        if self.config.voice == VoiceMode::FarEnd {
            for words in words {
                self.history.agent(&words.text);
            }
        }
        self.speech.forget_items();
        for cut in &mut self.cuts {
            cut.stale = true;
        }
        self.history.forget_ids();
    }

    /// The end, once: nothing more is heard, said or asked.
    pub(super) fn finish(&mut self, state: State) {
        let (sentence, _) = self.speech.abort();
        if let Some(sentence) = sentence {
            self.outputs.push_back(Output::AbortSynthesis { sentence });
        }
        if self.playback.is_playing() {
            let id = self.playback.flush();
            self.outputs.push_back(Output::Flush { id });
        }
        if matches!(self.link.phase, Phase::Connecting | Phase::Ready { .. }) {
            self.outputs.push_back(Output::Disconnect);
        }
        self.caller.clear();
        self.ended = Some(state);
        self.tell_state(true);
    }
}
