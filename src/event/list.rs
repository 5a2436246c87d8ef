//! The list of all events, and the types of most: those of conversations, of recordings and of the watch have files of their own.
//!
//! To add an event, write its type with [`OperatorEvent`] and put its name into the list. It is then reserved at load, freed at
//! unload, rendered and documented.

use serde::{Serialize, Serializer};

use super::connection::{Breaker, Ready, Reconnecting};
use super::conversation::{
    AiAction, AiBargeIn, AiFalseInterruption, AiIdle, AiRaw, AiResponse, AiState, AiTranscript, Speech,
};
use super::figures::{AiSummary, AiTurn};
use super::recording::Record;
use super::server_text::ServerText;
use super::transcript::Transcript;
use super::watch::{HealthChanged, Stalled};
use super::{EventRow, FsEvent, Headers, MAX_REASON, OperatorEvent, ServiceIds, Text, events, render};
use crate::transport::ErrorCode;
use crate::units::{CallId, StreamName, serialize_as_str};

events! {
    Connect,
    Disconnect,
    Ready,
    Reconnecting,
    Error,
    Json,
    Play,
    Transcript,
    Overflow,
    Playback,
    Underrun,
    Stalled,
    HealthChanged,
    Dtmf,
    Hold,
    Mask,
    Record,
    Speech,
    AiState,
    AiTranscript,
    AiResponse,
    AiAction,
    AiBargeIn,
    AiRaw,
    AiFalseInterruption,
    AiIdle,
    AiTurn,
    AiSummary,
    Breaker,
}

serialize_as_str!(HoldCause, Queue, Severity);

/// The server accepted the connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Connect {}

impl OperatorEvent for Connect {
    const SUBCLASS: &'static str = "mod_audio_stream::connect";
    const DOC: &'static str = "The server accepted the connection.";

    fn example() -> Self {
        Self {}
    }

    fn status(&self) -> &'static str {
        "connected"
    }

    fn headers(&self, _headers: &mut Headers) {}
}

/// The connection ended. The last event of every stream to a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Disconnect {
    /// WebSocket close code; 1006 if there was none.
    pub code: u16,
    /// Reason given by the side that closed.
    pub reason: Text<MAX_REASON>,
}

impl OperatorEvent for Disconnect {
    const SUBCLASS: &'static str = "mod_audio_stream::disconnect";
    const DOC: &'static str = "The connection ended. `code` is the WebSocket close code; 1006 if the server closed without one. Fired \
        even when the call is gone.";
    const FIELDS_IN_MESSAGE: bool = true;

    fn example() -> Self {
        Self { code: 1000, reason: "bye".into() }
    }

    fn status(&self) -> &'static str {
        "disconnected"
    }

    fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-Code", self.code).add("Audio-Stream-Reason", &self.reason);
    }

    fn is_final(&self) -> bool {
        true
    }
}

/// Something failed. If it ends the stream, the stream's last event follows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Error {
    /// What failed.
    #[serde(serialize_with = "as_number")]
    pub code: ErrorCode,
    /// What went wrong, for operators.
    #[serde(rename = "error")]
    pub message: Text<MAX_REASON>,
    /// Only in a conversation or of an announcement; the stream goes on.
    #[serde(flatten)]
    pub ai: Option<AiFailure>,
    /// Of the connection it is about.
    #[serde(flatten)]
    pub ids: ServiceIds,
}

/// What an error of a conversation says besides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiFailure {
    /// What failed: `openai`, `tool` or `tts`.
    pub component: &'static str,
    /// The provider's own code.
    pub provider_code: Text<MAX_REASON>,
    /// The caller's message that could not be transcribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// The sentence that was not spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<Text<MAX_REASON>>,
    /// Time from the request for speech to its failure, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

impl Error {
    /// An error that does not come from a conversation.
    pub fn new(code: ErrorCode, message: impl Into<Text<MAX_REASON>>) -> Self {
        Self { code, message: message.into(), ai: None, ids: ServiceIds::default() }
    }

    /// An error within a conversation. `speech`: the sentence that was not spoken, and the latency in ms.
    pub(super) fn in_conversation(
        component: &'static str,
        code: String,
        message: String,
        speech: Option<(String, u64)>,
    ) -> Self {
        let latency_ms = speech.as_ref().map(|(_, latency_ms)| *latency_ms);
        let sentence = speech.map(|(sentence, _)| sentence.into());
        let ai = Some(AiFailure { component, provider_code: code.into(), item_id: None, sentence, latency_ms });
        Self { code: ErrorCode::Protocol, message: message.into(), ai, ids: ServiceIds::default() }
    }

    /// The same, about a response of the service.
    pub(super) fn of_response(mut self, response_id: Option<String>) -> Self {
        self.ids.response_id = response_id;
        self
    }

    /// The same, about a message of the conversation.
    pub(super) fn of_item(mut self, item_id: String) -> Self {
        if let Some(ai) = &mut self.ai {
            ai.item_id = Some(item_id);
        }
        self
    }
}

impl OperatorEvent for Error {
    const SUBCLASS: &'static str = "mod_audio_stream::error";
    const DOC: &'static str = "Something failed. Codes: 1 IO, 2 INVALID_HEADER, 3 SERVER_MASKED, 4 NOT_SUPPORTED, 5 PING_TIMEOUT, \
        6 CONNECT_FAILED, 7 TLS_INIT_FAILED, 8 SSL_HANDSHAKE_FAILED, 9 SSL_ERROR, 10 TIMEOUT, 11 PROTOCOL. `session_id`, `request_id` (of the handshake) and `response_id` are what the server or service \
        calls them, where it has said so.";
    const FIELDS_IN_MESSAGE: bool = true;

    fn example() -> Self {
        Self::new(ErrorCode::ConnectFailed, "connection refused")
    }

    fn status(&self) -> &'static str {
        "error"
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Code", self.code.as_u8())
            .add("Audio-Stream-Error", self.code)
            .add("Audio-Stream-Reason", &self.message);
        if let Some(ai) = &self.ai {
            headers
                .add("Audio-Stream-Component", ai.component)
                .add("Audio-Stream-Provider-Code", &ai.provider_code)
                .add("Audio-Stream-Item-Id", ai.item_id.as_deref().unwrap_or_default());
        }
        self.ids.headers(headers);
    }

    fn is_final(&self) -> bool {
        self.ai.is_none()
    }

    fn is_alarm(&self) -> bool {
        true
    }
}

impl Event {
    /// The same, on the connection with these ids: of use in an event that tells of trouble.
    #[must_use]
    pub fn of_connection(mut self, ServiceIds { session_id, request_id, .. }: &ServiceIds) -> Self {
        let ids = match &mut self {
            Self::Error(error) => &mut error.ids,
            Self::AiState(state) if !state.code.is_empty() => &mut state.ids,
            _ => return self,
        };
        ids.session_id.clone_from(session_id);
        ids.request_id.clone_from(request_id);
        self
    }
}

fn as_number<S: Serializer>(code: &ErrorCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(code.as_u8())
}

/// A text message of the server that is not a command of the protocol, unchanged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Json(pub ServerText);

impl OperatorEvent for Json {
    const SUBCLASS: &'static str = "mod_audio_stream::json";
    const DOC: &'static str =
        "The server sent a text message that is not a command to the module. The body is that message, unchanged.";

    fn example() -> Self {
        Self(r#"{"type":"transcription","text":"hello"}"#.into())
    }

    fn headers(&self, headers: &mut Headers) {
        self.0.headers(headers);
    }

    fn body(&self) -> Option<String> {
        Some(self.0.body())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// A text message of the server that carried audio, without the audio.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Play(pub ServerText);

impl OperatorEvent for Play {
    const SUBCLASS: &'static str = "mod_audio_stream::play";
    const DOC: &'static str = "The server sent audio in a text message. The body is that message without the audio.";

    fn example() -> Self {
        Self(r#"{"audioDataType":"raw","sampleRate":8000}"#.into())
    }

    fn headers(&self, headers: &mut Headers) {
        self.0.headers(headers);
    }

    fn body(&self) -> Option<String> {
        Some(self.0.body())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Audio was dropped because a queue was full. Sums since the last such event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Overflow {
    /// Which queue.
    pub queue: Queue,
    /// Whether it just started or persists.
    pub severity: Severity,
    /// How many times audio was dropped.
    pub drops: u64,
    /// How much audio, ms.
    pub dropped_ms: u64,
    /// How much audio since the stream started, ms.
    pub total_dropped_ms: u64,
}

/// A queue that can overflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Queue {
    /// Playback waiting for the caller, bounded by `inject_buffer_ms`.
    Inject,
    /// Captured audio waiting for the socket, bounded by `max_queue_ms`.
    Send,
}

impl Queue {
    /// The word in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Send => "send",
        }
    }
}

/// How bad an overflow is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// It just started.
    Warning,
    /// It persists.
    Error,
}

impl Severity {
    /// The word in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl OperatorEvent for Overflow {
    const SUBCLASS: &'static str = "mod_audio_stream::overflow";
    const DOC: &'static str = "Audio was dropped because a queue was full. Queue `inject`: playback that waits for the caller \
        (`inject_buffer_ms`). Queue `send`: captured audio that waits for a server that reads too slowly (`max_queue_ms`). Severity \
        `error`: the overflow persists.";

    fn example() -> Self {
        let (queue, severity) = (Queue::Inject, Severity::Warning);
        Self { queue, severity, drops: 6, dropped_ms: 120, total_dropped_ms: 480 }
    }

    fn status(&self) -> &'static str {
        "overflow"
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Queue", self.queue.as_str())
            .add("Audio-Stream-Severity", self.severity.as_str())
            .add("Audio-Stream-Drops", self.drops)
            .add("Audio-Stream-Dropped-Ms", self.dropped_ms)
            .add("Audio-Stream-Total-Dropped-Ms", self.total_dropped_ms);
    }

    fn is_alarm(&self) -> bool {
        true
    }
}

/// Progress of playback. `played_ms` is the audio of the stream that the caller was given so far, exact to the sample.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Playback {
    /// An utterance starts with the next sample.
    Started {
        /// Up to its start.
        played_ms: u64,
    },
    /// Everything was heard and nothing waits.
    Finished {
        /// Up to its end.
        played_ms: u64,
    },
    /// Playback that waited was dropped.
    Cleared {
        /// Up to the cut.
        played_ms: u64,
    },
    /// Playback reached a mark of the server's, or the mark was dropped with the audio before it.
    Mark {
        /// The server's name for the mark.
        #[serde(rename = "mark")]
        name: Text<MAX_REASON>,
        /// Whether everything before it was heard.
        heard: bool,
        /// Up to the mark or the cut.
        played_ms: u64,
    },
}

impl OperatorEvent for Playback {
    const SUBCLASS: &'static str = "mod_audio_stream::playback";
    const DOC: &'static str = "Progress of playback. `started`, `finished`: an utterance of the server begins or has been heard. \
        `cleared`: playback that waited was dropped. `mark`: playback reached a named mark (`heard` is true), or the mark was dropped \
        (`heard` is false). `played_ms`: audio of the stream that the caller was given so far.";

    fn example() -> Self {
        Self::Mark { name: "m1".into(), heard: true, played_ms: 1_240 }
    }

    fn status(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Finished { .. } => "finished",
            Self::Cleared { .. } => "cleared",
            Self::Mark { .. } => "mark",
        }
    }

    fn headers(&self, headers: &mut Headers) {
        match self {
            Self::Started { played_ms } | Self::Finished { played_ms } | Self::Cleared { played_ms } => {
                headers.add("Audio-Stream-Played-Ms", played_ms);
            }
            Self::Mark { name, heard, played_ms } => {
                headers
                    .add("Audio-Stream-Played-Ms", played_ms)
                    .add("Audio-Stream-Mark", name)
                    .add("Audio-Stream-Heard", heard);
            }
        }
    }
}

/// The caller heard gaps within an utterance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Underrun {
    /// Gaps since the last such event.
    pub count: u64,
    /// Audio of the stream that the caller was given so far, ms.
    pub played_ms: u64,
}

impl OperatorEvent for Underrun {
    const SUBCLASS: &'static str = "mod_audio_stream::underrun";
    const DOC: &'static str = "The caller heard gaps within an utterance because the server's audio came too late. At most one event \
        in five seconds.";

    fn example() -> Self {
        Self { count: 2, played_ms: 8_640 }
    }

    fn status(&self) -> &'static str {
        "underrun"
    }

    fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-Count", self.count).add("Audio-Stream-Played-Ms", self.played_ms);
    }

    fn is_alarm(&self) -> bool {
        true
    }
}

/// The call is on hold, or is not any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Hold {
    /// Whether it is.
    pub held: bool,
    /// Why, or why it was.
    pub cause: HoldCause,
    /// Time that the call has been on hold since the stream started, ms.
    pub held_ms: u64,
}

/// What keeps a call's audio away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HoldCause {
    /// The caller's phone or a command has put the call on hold.
    #[default]
    Hold,
    /// The call's media bypasses FreeSWITCH.
    Bypass,
}

impl HoldCause {
    /// The word in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Bypass => "bypass",
        }
    }
}

impl OperatorEvent for Hold {
    const SUBCLASS: &'static str = "mod_audio_stream::hold";
    const DOC: &'static str = "The call was put on hold (`held` is true), by the caller's phone or by `uuid_hold` (`cause` is \
        `hold`), or its media was taken away from FreeSWITCH by `uuid_media off` (`bypass`); or that ended. While it lasts FreeSWITCH reads nothing from the call, so the server receives no audio; playback waits, and a conversation \
        does not count the time. `held_ms`: time on hold since the stream started.";

    fn example() -> Self {
        Self { held: false, cause: HoldCause::Hold, held_ms: 3_120 }
    }

    fn status(&self) -> &'static str {
        if self.held { "held" } else { "resumed" }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Held", self.held)
            .add("Audio-Stream-Cause", self.cause.as_str())
            .add("Audio-Stream-Held-Ms", self.held_ms);
    }
}

/// The caller is masked, or is not any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mask {
    /// Whether they are.
    pub masked: bool,
    /// Time that the caller has been masked since the stream started, ms.
    pub masked_ms: u64,
}

impl OperatorEvent for Mask {
    const SUBCLASS: &'static str = "mod_audio_stream::mask";
    const DOC: &'static str = "The command `mask` withholds the caller from the stream (`masked` is true), or no longer. While it \
        lasts the server receives silence in place of the caller's audio and no DTMF, and a conversation does not count silence. \
        `masked_ms`: time masked since the stream started.";

    fn example() -> Self {
        Self { masked: false, masked_ms: 21_340 }
    }

    fn status(&self) -> &'static str {
        if self.masked { "masked" } else { "unmasked" }
    }

    fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-Masked", self.masked).add("Audio-Stream-Masked-Ms", self.masked_ms);
    }
}

/// The caller pressed a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Dtmf {
    /// One of `0-9 A-D * #`.
    pub digit: char,
    /// Duration, ms.
    pub duration_ms: u32,
}

impl OperatorEvent for Dtmf {
    const SUBCLASS: &'static str = "mod_audio_stream::dtmf";
    const DOC: &'static str = "The caller pressed a key. The server gets the key too, if its protocol has a message for keys. Not fired \
        while capture is paused, the caller is masked or the channel variable `sensitive_dtmf` is true.";

    fn example() -> Self {
        Self { digit: '5', duration_ms: 120 }
    }

    fn status(&self) -> &'static str {
        "dtmf"
    }

    fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-Digit", self.digit).add("Audio-Stream-Duration-Ms", self.duration_ms);
    }
}
