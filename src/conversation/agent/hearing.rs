//! Whether the caller speaks, as the engine and the module itself hear it, and when that interrupts the agent.
//!
//! Pure; owned by the agent.

use std::time::{Duration, Instant};

use super::BargeInCause;
use super::config::{BargeIn, SpeechTrigger};

/// Sound without a pause for longer is no turn of a caller but music, noise, or a line that nobody has hung up.
pub(super) const LONGEST_TURN: Duration = Duration::from_secs(60);

/// What one side hears of the caller.
#[derive(Clone, Copy, Default, Debug)]
struct Ear {
    speaking: bool,
    /// When that will have lasted too long.
    bound: Option<Instant>,
    /// It has lasted too long: until it ends, nothing waits for the end.
    too_long: bool,
}

impl Ear {
    fn began(now: Instant) -> Self {
        Self { speaking: true, bound: Some(now + LONGEST_TURN), too_long: false }
    }

    fn hears(&self) -> bool {
        self.speaking && !self.too_long
    }

    fn is_too_long(&mut self, now: Instant) -> bool {
        let over = self.bound.take_if(|at| now >= *at).is_some();
        self.too_long |= over;
        over
    }
}

/// What is heard of the caller.
#[derive(Debug)]
pub(super) struct Hearing {
    barge_in: BargeIn,
    engine: Ear,
    local: Ear,
    /// When speech has lasted long enough to interrupt.
    interrupts_at: Option<Instant>,
}

impl Hearing {
    pub(super) fn new(barge_in: BargeIn) -> Self {
        Self { barge_in, engine: Ear::default(), local: Ear::default(), interrupts_at: None }
    }

    /// The engine hears the caller begin; what that interrupts for, at once.
    pub(super) fn engine_began(&mut self, now: Instant) -> Option<BargeInCause> {
        self.engine = Ear::began(now);
        self.began(now, SpeechTrigger::Engine)
    }

    /// The engine hears what the caller said before the session. It interrupts nothing.
    pub(super) fn engine_began_early(&mut self, now: Instant) {
        self.engine = Ear::began(now);
    }

    /// The engine hears the caller stop; whether it had heard them begin.
    pub(super) fn engine_stopped(&mut self) -> bool {
        self.stopped(SpeechTrigger::Engine);
        std::mem::take(&mut self.engine).speaking
    }

    /// The caller's turn is over as the engine sees it, whether it said that they stopped or not.
    pub(super) fn turn_over(&mut self) {
        self.engine = Ear::default();
    }

    /// The module hears the caller begin or stop; `false` where it did already.
    pub(super) fn local_changed(&mut self, now: Instant, speaking: bool) -> bool {
        let before = self.local.speaking;
        if before != speaking {
            self.local = if speaking { Ear::began(now) } else { Ear::default() };
        }
        before != speaking
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

    /// Whether the caller has just been heard for [`LONGEST_TURN`], by the engine or (`local`) by the module.
    pub(super) fn too_long(&mut self, now: Instant, local: bool) -> bool {
        let (engine, own) = (self.engine.is_too_long(now), self.local.is_too_long(now));
        if local { own } else { engine }
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
        self.engine.hears()
    }

    /// Whether anybody does.
    pub(super) fn hears(&self) -> bool {
        self.engine.hears() || self.local.hears()
    }

    /// The session is gone, and what it heard.
    pub(super) fn session_gone(&mut self) {
        self.engine = Ear::default();
        if self.barge_in.speech == SpeechTrigger::Engine {
            self.interrupts_at = None;
        }
    }

    /// When speech will have lasted long enough, or too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.interrupts_at, self.engine.bound, self.local.bound].into_iter().flatten().min()
    }
}

fn cause(trigger: SpeechTrigger) -> BargeInCause {
    match trigger {
        SpeechTrigger::Local => BargeInCause::LocalVad,
        SpeechTrigger::Engine | SpeechTrigger::Off => BargeInCause::EngineVad,
    }
}
