//! The events of conversations, in the words that operators see.

use serde::Serialize;

use super::server_text::ServerText;
use super::text::one_line;
use super::{Headers, MAX_BODY, MAX_REASON, OperatorEvent, ServiceIds, Text};
use crate::peer::{BargeInCause, State, Usage};
use crate::units::serialize_as_str;

serialize_as_str!(State, BargeInCause);

/// The caller of a conversation starts or stops speaking.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Speech {
    /// Starts.
    #[serde(skip)]
    pub speaking: bool,
}

impl OperatorEvent for Speech {
    const SUBCLASS: &'static str = "mod_audio_stream::speech";
    const DOC: &'static str = "The caller of a conversation starts (`started`) or stops (`stopped`) speaking.";

    fn example() -> Self {
        Self { speaking: true }
    }

    fn status(&self) -> &'static str {
        if self.speaking { "started" } else { "stopped" }
    }

    fn headers(&self, _headers: &mut Headers) {}
}

/// The state of a conversation changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiState {
    /// The new state.
    pub state: State,
    /// The last event of the conversation. There is exactly one.
    pub last: bool,
    /// HTTP status, close code or the service's own code; empty if there is no reason.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub code: Text<MAX_REASON>,
    /// The reason in words; can be empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: Text<MAX_REASON>,
    /// Of the connection it is about, if there is a reason.
    #[serde(flatten)]
    pub ids: ServiceIds,
}

impl OperatorEvent for AiState {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_state";
    const DOC: &'static str = "The state of a conversation changed: IDLE, CONNECTING, LISTENING, PROCESSING, SPEAKING, RECONNECTING, \
        FAILED or ERROR. The event with `last` ends the conversation and is fired even when the call is gone. If there is a reason, \
        `code` is an HTTP status, a close code or the service's own code, and `message` explains it; `session_id` and `request_id` are what the \
        service calls the session and the handshake. The dialplan reads the state in \
        `${audio_stream_status}`.";

    fn example() -> Self {
        Self {
            state: State::Failed,
            last: true,
            code: "401".into(),
            message: "the key was refused".into(),
            ids: ServiceIds::default(),
        }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-State", self.state)
            .add("Audio-Stream-Last", self.last)
            .add("Audio-Stream-Code", &self.code)
            .add("Audio-Stream-Reason", &self.message);
        self.ids.headers(headers);
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let status = match (self.state, self.last) {
            (State::Failed, _) => "error",
            (_, true) => "ended",
            (state, false) => state.as_str(),
        };
        let mut variables = vec![("audio_stream_status", status.to_owned())];
        if self.state == State::Failed {
            variables.push(("audio_stream_error", one_line(&self.message)));
        }
        variables
    }

    fn is_final(&self) -> bool {
        self.last
    }
}

/// Words of the caller or the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiTranscript {
    /// `caller` or `agent`.
    pub speaker: &'static str,
    /// The service's id of the message.
    pub item_id: String,
    /// The id of the message before it in the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_item_id: Option<String>,
    /// The words.
    pub text: Text<MAX_BODY>,
    /// The message is complete; else the text is one piece of it.
    #[serde(rename = "final")]
    pub whole: bool,
    /// If it is a message of the agent and complete: the words that the caller has heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_text: Option<Text<MAX_BODY>>,
}

impl OperatorEvent for AiTranscript {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_transcript";
    const DOC: &'static str = "Words of the caller or the agent. With `transcript_deltas` there is also an event for each piece, with \
        `final` false. The caller's words can come late and in any order: `previous_item_id` is the message before this one in the \
        conversation, if known. The event of a complete message of the agent comes when the caller has heard it or interrupted it: \
        `text` is what the agent wrote, `heard_text` what the caller heard of it.";

    fn example() -> Self {
        let previous_item_id = Some("item_1".into());
        Self {
            speaker: "caller",
            item_id: "item_2".into(),
            previous_item_id,
            text: "Where is my order?".into(),
            whole: true,
            heard_text: None,
        }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Speaker", self.speaker)
            .add("Audio-Stream-Item-Id", &self.item_id)
            .add("Audio-Stream-Previous-Item-Id", self.previous_item_id.as_deref().unwrap_or_default())
            .add("Audio-Stream-Text", &self.text)
            .add("Audio-Stream-Final", self.whole)
            .add("Audio-Stream-Heard-Text", self.heard_text.as_ref().map_or("", |text| text));
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.heard_text.as_ref().map_or(0, |text| text.len())
    }
}

/// A response of the model ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiResponse {
    /// The service's id of the response.
    pub response_id: String,
    /// Its words so far.
    pub text: Text<MAX_BODY>,
    /// It was cut off.
    pub interrupted: bool,
    /// If the caller cut it off: the words that they have heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_text: Option<Text<MAX_BODY>>,
    /// What the conversation has used so far.
    pub usage: Usage,
}

impl OperatorEvent for AiResponse {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_response";
    const DOC: &'static str = "A response of the model ended. `interrupted`: it was cut off, and `text` is what was received until then; \
        `heard_text`, if the caller cut it off, what they have heard of it. `usage`: what \
        the service has billed for the whole conversation so far; see [cost](conversations.md#cost).";

    fn example() -> Self {
        let usage = Usage {
            input_tokens: 1_459,
            input_text_tokens: 1_349,
            input_audio_tokens: 110,
            cached_tokens: 1_408,
            cached_text_tokens: 1_344,
            cached_audio_tokens: 64,
            output_tokens: 396,
            output_text_tokens: 97,
            output_audio_tokens: 299,
            ..Usage::default()
        };
        Self {
            response_id: "resp_1".into(),
            text: "It is on its way.".into(),
            interrupted: false,
            heard_text: None,
            usage,
        }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Response-Id", &self.response_id)
            .add("Audio-Stream-Text", &self.text)
            .add("Audio-Stream-Interrupted", self.interrupted)
            .add("Audio-Stream-Heard-Text", self.heard_text.as_ref().map_or("", |text| text))
            .add("Audio-Stream-Input-Tokens", self.usage.input_tokens)
            .add("Audio-Stream-Cached-Tokens", self.usage.cached_tokens)
            .add("Audio-Stream-Output-Tokens", self.usage.output_tokens);
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.heard_text.as_ref().map_or(0, |text| text.len())
    }
}

/// The model calls a function.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiAction {
    /// Id for the answer.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// JSON as the model wrote it.
    pub arguments: Text<MAX_BODY>,
    /// The module carries it out; no answer is expected.
    pub builtin: bool,
    /// `tool_url` is asked; no other answer is needed.
    pub webhook: bool,
    /// The service carries it out if it is approved: the server with the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server: Option<String>,
}

impl OperatorEvent for AiAction {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_action";
    const DOC: &'static str = "The model calls a function. `arguments` is the JSON that the model wrote. The module carries out \
        functions with `builtin` true, and `tool_url` those with `webhook` true; each of the others waits for `ai_result` with its \
        `call_id`. With `mcp_server`, the service asks for an approval of a tool: answer `approve`, or `reject` and a reason; with \
        `builtin` true the option `mcp_approval` has decided.";

    fn example() -> Self {
        let (call_id, name) = ("call_1".into(), "look_up".into());
        Self { call_id, name, arguments: r#"{"order":7}"#.into(), builtin: false, webhook: false, mcp_server: None }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Call-Id", &self.call_id)
            .add("Audio-Stream-Action", &self.name)
            .add("Audio-Stream-Arguments", &self.arguments)
            .add("Audio-Stream-Builtin", self.builtin)
            .add("Audio-Stream-Webhook", self.webhook);
        if let Some(server) = &self.mcp_server {
            headers.add("Audio-Stream-Mcp-Server", server);
        }
    }
}

/// The agent was interrupted. Fired as soon as it is known how much was heard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiBargeIn {
    /// What triggered it.
    pub cause: BargeInCause,
    /// The message that was interrupted, if it was one.
    pub item_id: Option<String>,
    /// How much of the message was heard, ms.
    pub heard_ms: u64,
    /// How much of the message had been received, ms.
    pub received_ms: u64,
}

impl OperatorEvent for AiBargeIn {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_barge_in";
    const DOC: &'static str = "The agent was interrupted. Cause `server_vad`, `local_vad` or `dtmf`: by the caller; `operator`: by \
        `clear`. `received_ms`: audio of the message received from the service; `heard_ms`: how much of it the caller heard.";

    fn example() -> Self {
        Self { cause: BargeInCause::EngineVad, item_id: Some("item_2".into()), heard_ms: 1_220, received_ms: 4_000 }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Cause", self.cause.as_str())
            .add("Audio-Stream-Item-Id", self.item_id.as_deref().unwrap_or_default())
            .add("Audio-Stream-Heard-Ms", self.heard_ms)
            .add("Audio-Stream-Received-Ms", self.received_ms);
    }
}

/// An event of the conversation's service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiRaw(pub ServerText);

impl OperatorEvent for AiRaw {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_raw";
    const DOC: &'static str = "With `raw_events`: the service of a conversation sent an event. The body is that event; keys and tokens \
        in it are `***`.";

    fn example() -> Self {
        Self(r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":1220}"#.into())
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

/// Speech of the caller paused the agent, and did not interrupt it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiFalseInterruption {
    /// What took it for an interruption.
    pub cause: BargeInCause,
    /// How long playback stood still, ms.
    pub paused_ms: u64,
    /// What the caller said, if it was only words of `interruption_ignore`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub text: Text<MAX_BODY>,
}

impl OperatorEvent for AiFalseInterruption {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_false_interruption";
    const DOC: &'static str = "Speech or noise of the caller paused the agent, and no words followed within `false_interruption_ms`, or \
        only those of `interruption_ignore`, which `text` has: playback goes on at the sample where it stopped. Cause `server_vad` or \
        `local_vad`. `paused_ms`: how long it stood still.";

    fn example() -> Self {
        Self { cause: BargeInCause::EngineVad, paused_ms: 1_460, text: "Mm-hm.".into() }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Cause", self.cause.as_str())
            .add("Audio-Stream-Paused-Ms", self.paused_ms)
            .add("Audio-Stream-Text", &self.text);
    }

    fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// Nobody spoke for the idle timeout.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AiIdle {
    /// Timeouts in a row.
    pub count: u32,
}

impl OperatorEvent for AiIdle {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_idle";
    const DOC: &'static str = "Nobody spoke for `idle_timeout_ms`. `count`: how many times in a row.";

    fn example() -> Self {
        Self { count: 1 }
    }

    fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-Count", self.count);
    }
}
