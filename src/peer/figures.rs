//! The numbers of a conversation: of each turn of the agent, and of all of them. Plain values, for events, health and metrics.

use std::time::Duration;

use serde::Serialize;

use super::usage::Usage;

/// The numbers of one turn of the agent. `None`: it did not happen in this turn.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TurnFigures {
    /// The caller's last sound to the first sound of the answer that the caller heard.
    pub answer: Option<Duration>,
    /// The request for the response, or the end of the caller's turn if the service responds by itself, to the first word or sound of
    /// the model that arrived.
    pub model: Option<Duration>,
    /// The request for the first sentence's speech to its first sound that arrived.
    pub speech: Option<Duration>,
    /// The caller's interruption to silence.
    pub silence: Option<Duration>,
    /// What the caller heard.
    pub heard: Duration,
    /// It was interrupted.
    pub interrupted: bool,
    /// What the service has billed since the turn before.
    pub usage: Usage,
}

/// The numbers of all turns of the agent so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct TalkFigures {
    /// Turns of the agent.
    pub turns: u64,
    /// Those of them that were interrupted.
    pub interruptions: u64,
    /// Times that speech of the caller only paused the agent.
    pub false_interruptions: u64,
    /// Functions that the model has called.
    pub actions: u64,
    /// Mean time from the caller's last sound to the first sound of an answer, ms; `None`: there was no answer yet.
    pub answer_ms: Option<u64>,
    /// The longest of these times, ms.
    pub answer_max_ms: Option<u64>,
}

/// The report at the end of a turn of the agent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TurnReport {
    /// Its numbers.
    pub figures: TurnFigures,
    /// Those of all turns so far, this one included.
    pub talk: TalkFigures,
    /// What the service has billed so far.
    pub usage: Usage,
}
