//! What is kept of an interruption until it is known how much the caller had heard.
//!
//! Pure; owned by the interruptions of the agent.

use super::BargeInCause;
use super::figures::Unfinished;
use super::speech::Spoken;
use super::turns::Response;
use super::utterance::Words;

/// An interruption of which the extent is not known yet.
#[derive(Debug)]
pub(super) struct PendingInterruption {
    /// The flush that is to be confirmed; `None`: nothing was queued.
    pub(super) flush: Option<u64>,
    pub(super) cause: BargeInCause,
    /// The numbers of the turn.
    pub(super) figures: Unfinished,
    /// The messages of the turn.
    pub(super) words: Vec<Words>,
    /// The response that was cancelled.
    pub(super) cancelled: Option<Response>,
    /// The sentences of the turn.
    pub(super) spoken: Vec<Spoken>,
    /// The session they are of is gone: its memory cannot be corrected any more.
    pub(super) stale: bool,
}

impl PendingInterruption {
    /// Whether a message was cut off while it was still being made.
    pub(super) fn is_cancelled(&self, item_id: &str) -> bool {
        self.cancelled.as_ref().is_some_and(|response| response.items.iter().any(|id| id == item_id))
    }
}
