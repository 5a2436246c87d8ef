//! Whether the caller speaks, as the engine and the module itself hear it, and when that interrupts the agent.
//!
//! Pure; owned by the agent.

use std::time::{Duration, Instant};

use super::BargeInCause;
use super::choices::SpeechTrigger;
use super::config::BargeIn;
use crate::units::least;

/// Sound without a pause for longer is no turn of a caller but music, noise, or a line that nobody has hung up.
pub(super) const LONGEST_TURN: Duration = Duration::from_secs(60);

/// What the beginning of the caller's speech means for what the agent says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Onset {
    /// Nothing yet.
    Nothing,
    /// Playback waits until it is known whether it is an interruption.
    Pauses(BargeInCause),
    /// It interrupts.
    Interrupts(BargeInCause),
}

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
    /// The module hears the caller speak, and has for long enough to interrupt.
    lasting: bool,
    /// The caller's turn has been long enough at some time, or began while the agent was silent.
    counts: bool,
}

impl Hearing {
    pub(super) fn new(barge_in: BargeIn) -> Self {
        Self { barge_in, engine: Ear::default(), local: Ear::default(), lasting: false, counts: false }
    }

    /// The engine hears the caller begin. `saying`: the agent speaks, or is about to.
    pub(super) fn engine_began(&mut self, now: Instant, saying: bool) -> Onset {
        self.engine = Ear::began(now);
        // The module may have heard the beginning of this turn before the engine did.
        self.counts &= self.local.speaking;
        let interrupts = self.barge_in.speech == SpeechTrigger::Engine && (self.barge_in.is_at_once() || self.lasting);
        self.onset(SpeechTrigger::Engine, interrupts, BargeInCause::EngineVad, saying)
    }

    fn onset(&mut self, heard_by: SpeechTrigger, interrupts: bool, cause: BargeInCause, saying: bool) -> Onset {
        self.counts |= interrupts || !saying;
        if interrupts {
            Onset::Interrupts(cause)
        } else if saying && self.barge_in.pauses() && self.barge_in.speech == heard_by {
            Onset::Pauses(cause)
        } else {
            Onset::Nothing
        }
    }

    /// The engine hears what the caller said before the session. It interrupts nothing.
    pub(super) fn engine_began_early(&mut self, now: Instant) {
        self.engine = Ear::began(now);
    }

    /// The engine hears the caller stop; whether it had heard them begin.
    pub(super) fn engine_stopped(&mut self) -> bool {
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

    /// The module hears the caller begin. `saying`: the agent speaks, or is about to.
    pub(super) fn local_began(&mut self, saying: bool) -> Onset {
        let at_once = self.barge_in.speech == SpeechTrigger::Local && self.barge_in.is_at_once();
        self.onset(SpeechTrigger::Local, at_once, BargeInCause::LocalVad, saying)
    }

    /// The module has heard the caller speak for long enough; what that interrupts for. The engine must hear them too if it is
    /// the one that decides.
    pub(super) fn local_lasting(&mut self) -> Option<BargeInCause> {
        (self.lasting, self.counts) = (true, true);
        match self.barge_in.speech {
            SpeechTrigger::Local => Some(BargeInCause::LocalVad),
            SpeechTrigger::Engine => self.engine.speaking.then_some(BargeInCause::EngineVad),
            SpeechTrigger::Off => None,
        }
    }

    /// Words of the caller interrupt: their turn counts, although it is not over.
    pub(super) fn words(&mut self) {
        self.counts = true;
    }

    /// The module hears the caller stop.
    pub(super) fn local_stopped(&mut self) {
        self.lasting = false;
    }

    /// The caller's turn is over: whether it counts, whatever the agent is doing.
    pub(super) fn take_counts(&mut self) -> bool {
        std::mem::take(&mut self.counts)
    }

    /// Whether the caller has just been heard for [`LONGEST_TURN`], by the engine or (`local`) by the module.
    pub(super) fn too_long(&mut self, now: Instant, local: bool) -> bool {
        let (engine, own) = (self.engine.is_too_long(now), self.local.is_too_long(now));
        if local { own } else { engine }
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
    }

    /// When speech will have lasted too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        least([self.engine.bound, self.local.bound])
    }
}
