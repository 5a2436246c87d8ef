//! What a conversation reports: events for operators, state and counts for health, calls that wait for an answer.
//!
//! Plain values. Events are made on the stream's worker; [`AiShared`] is written by the stream's task and read by `health`,
//! `list` and `ai_result`, under a lock that is held for a copy.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::figures::{TalkFigures, TurnReport};
use super::usage::Usage;

/// Where a conversation stands. Each change is an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Not begun, or ended as it should.
    Idle,
    /// Waiting for the first session.
    Connecting,
    /// The caller's turn.
    Listening,
    /// The agent's turn, nothing to hear yet.
    Processing,
    /// The agent is heard.
    Speaking,
    /// The session is lost or renewed; the caller's audio is kept.
    Reconnecting,
    /// Ended, because it cannot go on. The dialplan decides.
    Failed,
    /// The last turn failed; the conversation goes on with the next.
    Error,
}

impl State {
    /// The word of the events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Listening => "LISTENING",
            Self::Processing => "PROCESSING",
            Self::Speaking => "SPEAKING",
            Self::Reconnecting => "RECONNECTING",
            Self::Failed => "FAILED",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who said something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaker {
    /// The caller.
    Caller,
    /// The agent.
    Agent,
    /// The operator, to the model alone.
    System,
}

/// What an operator listens for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AiEvent {
    /// The state has changed.
    State {
        /// The new one.
        state: State,
        /// The last event of the conversation; there is exactly one.
        last: bool,
        /// Why, where there is a reason: HTTP status, close code, the server's own code.
        code: String,
        /// In words.
        message: String,
    },
    /// What somebody said.
    Transcript {
        /// Who.
        speaker: Speaker,
        /// The item.
        item_id: String,
        /// The item before it in the conversation, where that is known.
        previous_item_id: Option<String>,
        /// The words.
        text: String,
        /// Complete.
        whole: bool,
        /// Of a complete message of the agent: the words that the caller has heard.
        heard_text: Option<String>,
    },
    /// What the caller said could not be written down; the conversation goes on.
    TranscriptFailed {
        /// The caller's item.
        item_id: String,
        /// The service's code.
        code: String,
        /// In words.
        message: String,
    },
    /// The model has responded.
    Response {
        /// Which.
        response_id: String,
        /// Its words, as far as they came.
        text: String,
        /// It was cut off.
        interrupted: bool,
        /// If the caller cut it off: the words that they have heard.
        heard_text: Option<String>,
        /// What the conversation has used so far, as far as its service has said.
        usage: Usage,
    },
    /// A turn of the agent is over: heard to its end, or interrupted.
    Turn(Box<TurnReport>),
    /// The conversation is over; the last event but [`State`](Self::State).
    Summary {
        /// Why.
        reason: &'static str,
        /// The numbers of all turns.
        talk: TalkFigures,
        /// What the service has billed.
        usage: Usage,
    },
    /// The caller interrupted; reported when it is known how much was heard.
    BargeIn {
        /// What triggered it.
        cause: BargeInCause,
        /// The message that was interrupted, if it was one.
        item_id: Option<String>,
        /// Of it heard, ms.
        heard_ms: u64,
        /// Of it received, ms.
        received_ms: u64,
    },
    /// Speech of the caller paused the agent, which goes on where it stopped.
    FalseInterruption {
        /// What took it for an interruption.
        cause: BargeInCause,
        /// How long playback stood still.
        paused: Duration,
        /// What the caller said, if it was only words that do not interrupt; otherwise empty.
        text: String,
    },
    /// The model calls a function.
    Action {
        /// For the answer.
        call_id: String,
        /// The function.
        name: String,
        /// JSON, as the model wrote it.
        arguments: String,
        /// The module does it; no answer is wanted.
        builtin: bool,
        /// A server of the operator's is asked; no other answer is needed.
        webhook: bool,
        /// The service carries it out if the answer approves: the server with the tool.
        mcp_server: Option<String>,
    },
    /// An event of the service, in its own words without what may be secret.
    Raw(String),
    /// Nobody said anything for the idle timeout.
    Idle {
        /// How often in a row.
        count: u32,
    },
    /// Something failed; the conversation goes on.
    Error {
        /// Who.
        component: Component,
        /// The response that failed, if it is about one.
        response_id: Option<String>,
        /// Their code.
        code: String,
        /// In words.
        message: String,
    },
    /// A sentence could not be spoken.
    SpeechFailed {
        /// The sentence.
        text: String,
        /// The provider's code.
        code: String,
        /// In words.
        message: String,
        /// From the request to the failure.
        latency: Duration,
    },
}

/// What triggered a barge-in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BargeInCause {
    /// The engine's turn detection.
    EngineVad,
    /// Our own.
    LocalVad,
    /// A key.
    Dtmf,
    /// The operator.
    Operator,
}

impl BargeInCause {
    /// The word of the events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EngineVad => "server_vad",
            Self::LocalVad => "local_vad",
            Self::Dtmf => "dtmf",
            Self::Operator => "operator",
        }
    }
}

/// Where something failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Component {
    /// The engine, or its server.
    Engine,
    /// A function call.
    Tool,
}

/// Counts since the start, and the present state, for health.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct AgentStats {
    /// A session is there.
    #[serde(rename = "openai_connected")]
    pub connected: bool,
    /// Sentences waiting or being made.
    pub tts_queue_depth: usize,
    /// Caller's audio waiting for the engine, ms.
    pub ring_buffer_ms: u64,
    /// Caller's audio lost because the engine was away for too long, ms.
    #[serde(skip)]
    pub ring_dropped_ms: u64,
    /// Interruptions.
    pub barge_in_count: u64,
    /// Attempts to reconnect.
    pub reconnect_attempts: u64,
    /// What the service has billed so far.
    pub usage: Usage,
    /// The numbers of the turns so far.
    #[serde(flatten)]
    pub talk: TalkFigures,
    /// Sentences lost because too many waited.
    #[serde(skip)]
    pub sentences_dropped: u64,
    /// The agent has said something.
    #[serde(skip)]
    pub spoken: bool,
}

/// A conversation at one moment, as `health` gives it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct AiStatus {
    /// Its state, which `health` gives as that of the stream.
    #[serde(skip)]
    pub state: State,
    /// The policy's counts.
    #[serde(flatten)]
    pub stats: AgentStats,
    /// Sentences of the whole module that nobody had to make, percent; filled in where the cache is.
    pub tts_cache_hit_pct: f64,
}

impl Default for AiStatus {
    fn default() -> Self {
        Self { state: State::Idle, stats: AgentStats::default(), tts_cache_hit_pct: 0.0 }
    }
}

/// What a conversation shares with the API threads.
#[derive(Clone, Debug, Default)]
pub struct AiShared {
    /// Its state and counts.
    pub status: AiStatus,
    /// Ids of function calls that wait for `ai_result`, oldest first.
    pub awaited: Vec<String>,
    /// Options that were changed since the start, and are in force.
    pub changes: Vec<Change>,
}

/// An option's key and its new value as a text.
pub type Change = (String, String);

/// What a peer that is a conversation reports of itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Report<'a> {
    /// State and counts.
    pub status: AiStatus,
    /// As [`AiShared::awaited`].
    pub awaited: &'a [String],
    /// As [`AiShared::changes`].
    pub changes: &'a [Change],
}
