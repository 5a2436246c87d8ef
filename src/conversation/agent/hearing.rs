//! Whether the caller speaks, as the engine and the module itself hear it, and when that interrupts the agent.
//!
//! Pure; owned by the agent.

use std::time::Instant;

use super::BargeInCause;
use super::config::{BargeIn, SpeechTrigger};

/// What is heard of the caller.
#[derive(Debug)]
pub(super) struct Hearing {
    barge_in: BargeIn,
    engine: bool,
    local: bool,
    /// When speech has lasted long enough to interrupt.
    interrupts_at: Option<Instant>,
}

impl Hearing {
    pub(super) fn new(barge_in: BargeIn) -> Self {
        Self { barge_in, engine: false, local: false, interrupts_at: None }
    }

    /// The engine hears the caller begin; what that interrupts for, at once.
    pub(super) fn engine_began(&mut self, now: Instant) -> Option<BargeInCause> {
        self.engine = true;
        self.began(now, SpeechTrigger::Engine)
    }

    /// The engine hears what the caller said before the session. It interrupts nothing.
    pub(super) fn engine_began_early(&mut self) {
        self.engine = true;
    }

    /// The engine hears the caller stop; whether it had heard them begin.
    pub(super) fn engine_stopped(&mut self) -> bool {
        self.stopped(SpeechTrigger::Engine);
        std::mem::take(&mut self.engine)
    }

    /// The caller's turn is over as the engine sees it, whether it said that they stopped or not.
    pub(super) fn turn_over(&mut self) {
        self.engine = false;
    }

    /// The module hears the caller begin or stop; `false` where it did already.
    pub(super) fn local_changed(&mut self, speaking: bool) -> bool {
        std::mem::replace(&mut self.local, speaking) != speaking
    }

    /// The module hears the caller begin; what that interrupts for, at once.
    pub(super) fn local_began(&mut self, now: Instant) -> Option<BargeInCause> {
        self.began(now, SpeechTrigger::Local)
    }

    /// The module hears the caller stop.
    pub(super) fn local_stopped(&mut self) {
        self.stopped(SpeechTrigger::Local);
    }

    fn began(&mut self, now: Instant, trigger: SpeechTrigger) -> Option<BargeInCause> {
        if self.barge_in.speech != trigger {
            return None;
        }
        if self.barge_in.min_speech.is_zero() {
            return Some(cause(trigger));
        }
        self.interrupts_at = Some(now + self.barge_in.min_speech);
        None
    }

    fn stopped(&mut self, trigger: SpeechTrigger) {
        if self.barge_in.speech == trigger {
            self.interrupts_at = None;
        }
    }

    /// What interrupts because it has lasted long enough.
    pub(super) fn due(&mut self, now: Instant) -> Option<BargeInCause> {
        self.interrupts_at.take_if(|at| now >= *at).map(|_| cause(self.barge_in.speech))
    }

    /// The call is on hold: what the caller was saying lasts no longer.
    pub(super) fn held(&mut self) {
        self.interrupts_at = None;
    }

    /// Whether a key interrupts.
    pub(super) fn keys_interrupt(&self) -> bool {
        self.barge_in.dtmf
    }

    /// Whether the engine hears the caller speak.
    pub(super) fn engine_hears(&self) -> bool {
        self.engine
    }

    /// Whether anybody does.
    pub(super) fn hears(&self) -> bool {
        self.engine || self.local
    }

    /// The session is gone, and what it heard.
    pub(super) fn session_gone(&mut self) {
        self.engine = false;
        if self.barge_in.speech == SpeechTrigger::Engine {
            self.interrupts_at = None;
        }
    }

    /// When speech will have lasted long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.interrupts_at
    }
}

fn cause(trigger: SpeechTrigger) -> BargeInCause {
    match trigger {
        SpeechTrigger::Local => BargeInCause::LocalVad,
        SpeechTrigger::Engine | SpeechTrigger::Off => BargeInCause::EngineVad,
    }
}
