//! What the engine is to know of the caller, however they are written down, and how much of it at most.
//!
//! Pure.

use super::super::engine::Loss;

/// Turns of the caller that wait for their words.
pub(super) const MOST_TURNS: usize = 4;
/// Longest words of one turn, bytes.
pub(super) const MOST_WORDS: usize = 16 << 10;

/// What the engine is to know of the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Note {
    /// A turn is over.
    Turn {
        item_id: String,
        /// Never empty.
        words: String,
    },
    /// A turn that was to be written down has no words.
    NoWords,
    /// Nobody knows the words of a turn. The agent has been told.
    Unknown,
    /// What they have said of the turn that is not over.
    Words {
        text: String,
        /// They seem to have said all of it.
        stable: bool,
    },
    /// They had seemed to have said all of it, and go on.
    Resumed,
    /// Nobody writes them down any more.
    Gone(Loss),
}
