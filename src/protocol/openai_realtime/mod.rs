//! OpenAI's Realtime protocol (GA) over WebSocket, from the client's side: what is said, without the connection.
//!
//! ```text
//! Endpoint ─► url + headers ─► (transport connects) ─► Opened ─┐
//! caller's audio, commands of the agent, texts of the far end ─┴► RealtimeEngine ─► texts to send, events for the agent
//! ```
//! Sans-IO as every protocol here: [`RealtimeEngine::handle`], then [`RealtimeEngine::poll`] until `None`, and
//! `Input::Timeout` at [`RealtimeEngine::deadline`]. It decides nothing about the conversation: that is the agent's.
//! Only the GA protocol is spoken: the beta is shut down, its header is never sent.
//!
//! Runs on the stream's worker; owned by the stream's task, one value for all connections of one conversation
//! (`Input::Opened` starts it afresh). Facts: OpenAI's API reference and its Python SDK 3.51.
//!
//! | file | job |
//! |---|---|
//! | `endpoint` | URL and headers of OpenAI, of Azure, of whatever is compatible |
//! | `profile` | what a session is to be, with the ranges of its fields |
//! | `message` | events of the client as JSON |
//! | `wire` | events of the server, borrowed from their text |
//! | `failure` | what is worth another attempt and what is not |
//! | `engine` | the state machine |

mod endpoint;
mod engine;
mod failure;
mod message;
mod profile;
mod wire;

pub use endpoint::{Auth, BadEndpoint, Endpoint, Handshake, Service};
pub use engine::{EngineConfig, RealtimeEngine, fuzz_openai_realtime};
pub use failure::{ApiError, ErrorClass, Loss, Operation};
pub use profile::{
    AudioFormat, BadProfile, Eagerness, MaxTokens, Modality, NoiseKind, NoiseReduction, SemanticVad, ServerVad,
    SessionProfile, Tool, ToolChoice, Transcription, TurnDetection, Voice,
};

use std::time::Duration;

use crate::units::SampleRate;

use super::Fault;

/// Audio of the far end, mono.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audio {
    /// Linear samples.
    Pcm {
        /// Whole samples.
        samples: Vec<i16>,
        /// Their rate.
        rate: SampleRate,
    },
    /// G.711 µ-law, 8 kHz, as it came.
    Mulaw(Vec<u8>),
    /// G.711 A-law, 8 kHz, as it came.
    Alaw(Vec<u8>),
}

impl Audio {
    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Pcm { samples, rate } => rate.duration_of(samples.len() as u64),
            Self::Mulaw(bytes) | Self::Alaw(bytes) => SampleRate::HZ_8000.duration_of(bytes.len() as u64),
        }
    }
}

/// What the engine is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// The WebSocket is up, for the first time or again.
    Opened {
        /// Seconds since 1970, to which the session's end is compared.
        unix_seconds: u64,
    },
    /// The connection attempt failed.
    Refused {
        /// The HTTP status of the refusal, if there was an answer.
        status: Option<u16>,
        /// In words for the operator.
        message: &'a str,
    },
    /// A text message arrived.
    Text(&'a str),
    /// A binary message arrived: there are none in this protocol.
    Binary,
    /// The connection has ended.
    Closed {
        /// WebSocket close code; 1006 where there was none.
        code: u16,
        /// The closing side's words.
        reason: &'a str,
    },
    /// Audio of the caller in the bytes of the profile's input format, up to a second. Ignored before
    /// [`Event::Ready`]: whoever has it keeps it.
    Audio(&'a [u8]),
    /// The same as linear samples at 24 kHz; for a profile with that input format only.
    Samples(&'a [i16]),
    /// What the agent wants said.
    Command(Command),
    /// [`RealtimeEngine::deadline`] has passed.
    Timeout,
}

/// Who said a message that is put into the conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The caller.
    User,
    /// The agent.
    Assistant,
    /// Whoever runs the conversation.
    System,
}

/// What the agent wants said to the far end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Ask for a response, perhaps with instructions of its own.
    Respond {
        /// Instead of the session's instructions, for this response only.
        instructions: Option<String>,
    },
    /// Give up a response: whatever of it still arrives is dropped.
    Cancel {
        /// Which.
        response_id: String,
        /// Tell the far end too. Not wanted where its own turn detection has cancelled it already.
        tell: bool,
    },
    /// Forget an item's audio after `audio_end_ms`; what of it still arrives is dropped.
    Truncate {
        /// The assistant's item.
        item_id: String,
        /// Which of its contents.
        content_index: u32,
        /// Milliseconds that were heard; at most what was received.
        audio_end_ms: u64,
    },
    /// Forget an item; what of it still arrives is dropped.
    Delete {
        /// Which.
        item_id: String,
    },
    /// Put a message into the conversation.
    Message {
        /// Whose.
        role: Role,
        /// What was said.
        text: String,
        /// Behind this item; `None`: at the end.
        after: Option<String>,
    },
    /// The result of a function call.
    FunctionOutput {
        /// The call's id.
        call_id: String,
        /// What the model is told, usually JSON.
        output: String,
    },
    /// The caller's turn is over (only without turn detection).
    Commit,
    /// Forget the audio that is not committed.
    ClearInput,
    /// End the session.
    Close,
}

/// What the engine wants done, in order. Take each before the next input.
#[derive(Clone, PartialEq, Debug)]
pub enum Output<'a> {
    /// Send one text message.
    Send(String),
    /// Send one text message that carries the caller's audio; under pressure the oldest of these may be dropped. The
    /// text is in the engine's own buffer, which the next audio takes.
    SendAudio {
        /// The message.
        message: &'a str,
        /// How long its audio lasts.
        duration: Duration,
    },
    /// Tell the agent.
    Event(Event),
    /// The far end sent something unusable; the session goes on. To be counted and logged.
    Fault(Fault),
    /// Close the connection, after everything sent before.
    Close {
        /// The WebSocket close code.
        code: u16,
        /// The reason sent with it.
        reason: &'static str,
    },
}

/// How a response ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResponseStatus {
    /// Whole.
    Completed,
    /// Cancelled; by the far end's turn detection or by us.
    Cancelled {
        /// `turn_detected`, `client_cancelled`.
        reason: String,
    },
    /// Cut short.
    Incomplete {
        /// `max_output_tokens`, `content_filter`.
        reason: String,
    },
    /// Failed; the session goes on.
    Failed(ApiError),
}

/// One of the far end's limits.
#[derive(Clone, PartialEq, Debug)]
pub struct RateLimit {
    /// `requests` or `tokens`.
    pub name: String,
    /// How many there are.
    pub limit: f64,
    /// How many are left.
    pub remaining: f64,
    /// Until all are there again.
    pub reset_seconds: f64,
}

/// What happens in the session. Ids are the far end's, cut at 128 characters.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The session is configured: audio and commands are taken from now on.
    Ready {
        /// The session's id, for the log.
        session_id: String,
    },
    /// The session ends soon: reconnect in a pause.
    ExpiresSoon {
        /// Do not wait for a pause any longer.
        now: bool,
    },
    /// The connection is of no more use. The last event of a connection, once.
    Lost(Loss),
    /// The caller began to speak.
    SpeechStarted {
        /// The item that will hold it.
        item_id: String,
        /// Where in the audio sent in this session, its start.
        audio_start_ms: u64,
    },
    /// The caller stopped speaking.
    SpeechStopped {
        /// Where in the audio sent in this session.
        audio_end_ms: u64,
    },
    /// The caller's turn is part of the conversation.
    Committed {
        /// Its item.
        item_id: String,
    },
    /// The caller said nothing for the far end's idle timeout; it responds by itself.
    IdleTimeout,
    /// An item stands in the conversation.
    ItemPlaced {
        /// Which.
        item_id: String,
        /// Behind which.
        previous_item_id: Option<String>,
    },
    /// The far end begins a response.
    ResponseStarted {
        /// Which.
        response_id: String,
    },
    /// A response begins a message of the assistant.
    ItemStarted {
        /// The response.
        response_id: String,
        /// Its item.
        item_id: String,
    },
    /// Audio of the assistant. Never of a response or item given up.
    Audio {
        /// The response.
        response_id: String,
        /// Its item.
        item_id: String,
        /// Which content of the item.
        content_index: u32,
        /// The audio.
        audio: Audio,
    },
    /// Text of the assistant, to be spoken by us.
    Text {
        /// The response.
        response_id: String,
        /// Its item.
        item_id: String,
        /// What comes next, or with `whole` everything again.
        text: String,
        /// The text is complete.
        whole: bool,
    },
    /// What the assistant's audio says.
    Transcript {
        /// The response.
        response_id: String,
        /// Its item.
        item_id: String,
        /// What comes next, or with `whole` everything again.
        text: String,
        /// The text is complete.
        whole: bool,
    },
    /// What the caller said; at any time, in any order.
    UserTranscript {
        /// The caller's item.
        item_id: String,
        /// What comes next, or with `whole` everything again.
        text: String,
        /// The text is complete.
        whole: bool,
    },
    /// The caller's words could not be transcribed; the conversation is not concerned.
    UserTranscriptFailed {
        /// The caller's item.
        item_id: String,
        /// Why.
        error: ApiError,
    },
    /// The model calls a function. Once for each call.
    FunctionCall {
        /// The response.
        response_id: String,
        /// To be given with the result.
        call_id: String,
        /// The function.
        name: String,
        /// Its arguments as the model wrote them: JSON, if all is well.
        arguments: String,
    },
    /// A response has ended, also one given up.
    ResponseDone {
        /// Which.
        response_id: String,
        /// How.
        status: ResponseStatus,
    },
    /// The limits of the account.
    RateLimits(Vec<RateLimit>),
    /// A request failed; the session goes on.
    Error(ApiError),
}
