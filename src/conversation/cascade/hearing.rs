//! How the caller is written down: by a request for each turn, or by a recogniser that hears them all the time.
//!
//! Pure. Both tell the engine the same things, as [`Note`]s.

use std::time::Instant;

use super::super::engine::Input;
use super::live::Live;
use super::note::Note;
use super::out::Out;
use super::transcribing::Transcribing;

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Hearing {
    /// By a request for each turn.
    Written(Box<Transcribing>),
    /// All the time.
    Live(Box<Live>),
}

impl Hearing {
    /// The conversation begins: whether there is nothing to connect to.
    pub(super) fn connect(&mut self, out: &mut Out) -> bool {
        match self {
            Self::Written(_) => true,
            Self::Live(live) => {
                live.connect(out);
                false
            }
        }
    }

    /// Takes what concerns it: audio, the connection, answers, time.
    pub(super) fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Out, notes: &mut Vec<Note>) {
        match self {
            Self::Written(turns) => turns.handle(now, input, out, notes),
            Self::Live(live) => live.handle(now, input, out, notes),
        }
    }

    /// The caller begins to speak, as the module finds; their first words are in the last `bytes` of the audio.
    pub(super) fn begin_turn(&mut self, bytes: usize) {
        if let Self::Live(live) = self {
            live.begin_turn(bytes);
        }
    }

    /// The caller's turn is over, as the module finds.
    pub(super) fn commit(&mut self, now: Instant, out: &mut Out) {
        match self {
            Self::Written(turns) => turns.commit(now, out),
            Self::Live(live) => live.commit(now, out),
        }
    }

    /// Whether an answer to a request is for it.
    pub(super) fn asked(&self, id: u64) -> bool {
        matches!(self, Self::Written(turns) if turns.asked(id))
    }

    /// Whether a turn is over whose words are not there yet.
    pub(super) fn is_behind(&self) -> bool {
        match self {
            Self::Written(turns) => turns.is_behind(),
            Self::Live(live) => live.is_behind(),
        }
    }

    /// Nothing is wanted any more; whether there is a connection to close.
    pub(super) fn close(&mut self, out: &mut Out) -> bool {
        match self {
            Self::Written(turns) => {
                turns.give_up(out);
                false
            }
            Self::Live(live) => live.close(out),
        }
    }

    /// When time matters to it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Written(turns) => turns.deadline(),
            Self::Live(live) => live.deadline(),
        }
    }
}
