//! The events of the client as JSON: those of the GA protocol that are sent over a WebSocket.
//!
//! Pure. One allocation for each message.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::engine::Command;
use super::super::json::merge;
use super::super::options::NoiseKind;
use super::dialect::{Dialect, ResponseForm};
use super::profile::MaxTokens;
use super::profile::{AudioFormat, Modality, SessionProfile, ToolChoice, TurnDetection, Voice};
use super::reshape;
use crate::peer::Speaker;
use crate::protocol::codec::base64_between;

/// One event of the client. `type` comes first, as people read it.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(super) enum ClientEvent<'a> {
    #[serde(rename = "session.update")]
    SessionUpdate { event_id: &'a str, session: Box<Session<'a>> },
    /// The session of another service.
    #[serde(rename = "session.update")]
    OtherSession { event_id: &'a str, session: Value },
    #[serde(rename = "response.create")]
    ResponseCreate {
        event_id: &'a str,
        #[serde(skip_serializing_if = "Response::is_empty")]
        response: Response<'a>,
    },
    #[serde(rename = "response.cancel")]
    ResponseCancel {
        event_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        response_id: Option<&'a str>,
    },
    #[serde(rename = "conversation.item.truncate")]
    ItemTruncate { event_id: &'a str, item_id: &'a str, content_index: u32, audio_end_ms: u64 },
    #[serde(rename = "conversation.item.delete")]
    ItemDelete { event_id: &'a str, item_id: &'a str },
    #[serde(rename = "conversation.item.create")]
    ItemCreate {
        event_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        previous_item_id: Option<&'a str>,
        item: Item<'a>,
    },
    #[serde(rename = "input_audio_buffer.clear")]
    Clear { event_id: &'a str },
    #[serde(rename = "input_audio_buffer.commit")]
    Commit { event_id: &'a str },
}

#[derive(Serialize)]
pub(super) struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
}

impl Response<'_> {
    const fn is_empty(&self) -> bool {
        self.instructions.is_none() && self.metadata.is_none()
    }
}

/// What the server says again when the response begins.
#[derive(Serialize)]
struct Metadata<'a> {
    request: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item<'a> {
    Message {
        role: &'static str,
        content: [Content<'a>; 1],
    },
    FunctionCall {
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    FunctionCallOutput {
        call_id: &'a str,
        output: &'a str,
    },
    McpApprovalResponse {
        id: &'a str,
        approval_request_id: &'a str,
        approve: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
}

#[derive(Serialize)]
pub(super) struct Content<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
}

/// The session of `session.update`, in the order of the reference.
#[derive(Serialize)]
pub(super) struct Session<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    output_modalities: [&'static str; 1],
    max_output_tokens: Value,
    audio: AudioConfig<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<AnyTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning<'a>>,
}

#[derive(Serialize)]
struct AudioConfig<'a> {
    input: InputConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputConfig<'a>>,
}

#[derive(Serialize)]
struct InputConfig<'a> {
    format: Format,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise_reduction: Option<Noise>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcription: Option<Transcribe<'a>>,
    /// `null` is manual turn-taking, so it is never left out.
    turn_detection: Option<Turns>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    format: Format,
    #[serde(skip_serializing_if = "Option::is_none")]
    voice: Option<VoiceConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f32>,
}

#[derive(Serialize)]
struct Format {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
}

#[derive(Serialize)]
struct Noise {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    strength: Option<f32>,
}

#[derive(Serialize)]
struct Transcribe<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Turns {
    ServerVad {
        #[serde(skip_serializing_if = "Option::is_none")]
        threshold: Option<f32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prefix_padding_ms: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        silence_duration_ms: Option<u32>,
        create_response: bool,
        interrupt_response: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        idle_timeout_ms: Option<u32>,
    },
    SemanticVad {
        eagerness: &'static str,
        create_response: bool,
        interrupt_response: bool,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum VoiceConfig<'a> {
    Named(&'a str),
    Custom { id: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyTool<'a> {
    Function(ToolConfig<'a>),
    Mcp {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(flatten)]
        fields: &'a Map<String, Value>,
    },
}

#[derive(Serialize)]
struct ToolConfig<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a Value,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Function {
        #[serde(rename = "type")]
        kind: &'static str,
        name: &'a str,
    },
}

#[derive(Serialize)]
struct Reasoning<'a> {
    effort: &'a str,
}

impl From<AudioFormat> for Format {
    fn from(format: AudioFormat) -> Self {
        match format {
            AudioFormat::Pcm24k => Self { kind: "audio/pcm", rate: Some(24_000) },
            AudioFormat::Pcmu => Self { kind: "audio/pcmu", rate: None },
            AudioFormat::Pcma => Self { kind: "audio/pcma", rate: None },
        }
    }
}

impl<'a> Session<'a> {
    /// The whole session: what the profile leaves open is left out, and is the server's own.
    pub(super) fn of(profile: &'a SessionProfile) -> Self {
        let speaks = profile.modality == Modality::Audio;
        let turn_detection = match profile.turn_detection {
            TurnDetection::Server(vad) => Some(Turns::ServerVad {
                threshold: vad.threshold,
                prefix_padding_ms: vad.prefix_padding_ms,
                silence_duration_ms: vad.silence_duration_ms,
                create_response: vad.create_response,
                interrupt_response: vad.interrupt_response,
                idle_timeout_ms: vad.idle_timeout_ms,
            }),
            TurnDetection::Semantic(vad) => Some(Turns::SemanticVad {
                eagerness: vad.eagerness.as_str(),
                create_response: vad.create_response,
                interrupt_response: vad.interrupt_response,
            }),
            TurnDetection::Off => None,
        };
        let functions = profile.tools.iter().map(|tool| {
            AnyTool::Function(ToolConfig {
                kind: "function",
                name: &tool.name,
                description: &tool.description,
                parameters: &tool.parameters,
            })
        });
        let servers = profile.mcp_servers.iter().map(|server| AnyTool::Mcp { kind: "mcp", fields: server.fields() });
        let tools: Vec<_> = functions.chain(servers).collect();
        let tool_choice = (!tools.is_empty()).then_some(match &profile.tool_choice {
            ToolChoice::Auto => Choice::Word("auto"),
            ToolChoice::None => Choice::Word("none"),
            ToolChoice::Required => Choice::Word("required"),
            ToolChoice::Function(name) => Choice::Function { kind: "function", name },
        });
        Self {
            kind: "realtime",
            instructions: &profile.instructions,
            output_modalities: [if speaks { "audio" } else { "text" }],
            max_output_tokens: match profile.max_output_tokens {
                MaxTokens::Count(count) => count.into(),
                MaxTokens::Unlimited => "inf".into(),
            },
            audio: AudioConfig {
                input: InputConfig {
                    format: profile.input.into(),
                    noise_reduction: profile.noise_reduction.map(|noise| Noise {
                        kind: match noise.kind {
                            NoiseKind::NearField => "near_field",
                            NoiseKind::FarField => "far_field",
                        },
                        strength: noise.strength,
                    }),
                    transcription: profile.transcription.as_ref().map(|transcription| Transcribe {
                        model: &transcription.model,
                        language: transcription.language.as_deref(),
                        prompt: transcription.prompt.as_deref(),
                    }),
                    turn_detection,
                },
                output: speaks.then(|| OutputConfig {
                    format: profile.output.into(),
                    voice: profile.voice.as_ref().map(|voice| match voice {
                        Voice::Named(name) => VoiceConfig::Named(name),
                        Voice::Custom(id) => VoiceConfig::Custom { id },
                    }),
                    speed: profile.speed,
                }),
            },
            tool_choice,
            parallel_tool_calls: profile.parallel_tool_calls.filter(|_| !tools.is_empty()),
            tools,
            reasoning: profile.reasoning_effort.as_deref().map(|effort| Reasoning { effort }),
        }
    }
}

impl<'a> ClientEvent<'a> {
    /// The event a command is; `None` for those that are none. `event_id` is given with it. Instructions of a response take
    /// the place of the session's, so `prompt`, which is those, comes before them.
    pub(super) fn of(command: &'a Command, event_id: &'a str, prompt: &str, dialect: &Dialect) -> Option<Self> {
        Some(match command {
            Command::Respond { instructions, .. } => {
                let instructions = instructions.as_deref().filter(|_| dialect.response != ResponseForm::Bare);
                let instructions = instructions.map(|instructions| match prompt {
                    "" => instructions.to_owned(),
                    prompt => format!("{prompt}\n\n{instructions}"),
                });
                let metadata = (dialect.response == ResponseForm::Whole).then_some(Metadata { request: event_id });
                Self::ResponseCreate { event_id, response: Response { instructions, metadata } }
            }
            Command::Cancel { response_id, tell: true } => {
                Self::ResponseCancel { event_id, response_id: dialect.cancels_by_id.then_some(response_id) }
            }
            Command::Truncate { item_id, content_index, audio_end_ms } => {
                Self::ItemTruncate { event_id, item_id, content_index: *content_index, audio_end_ms: *audio_end_ms }
            }
            Command::Delete { item_id } => Self::ItemDelete { event_id, item_id },
            Command::Message { speaker, text, after, .. } => {
                let (role, kind) = match speaker {
                    Speaker::Caller => ("user", "input_text"),
                    Speaker::Agent => ("assistant", dialect.assistant_text),
                    Speaker::System => ("system", "input_text"),
                };
                Self::ItemCreate {
                    event_id,
                    previous_item_id: after.as_deref(),
                    item: Item::Message { role, content: [Content { kind, text }] },
                }
            }
            Command::ToolCall { call_id, name, arguments } => Self::ItemCreate {
                event_id,
                previous_item_id: None,
                item: Item::FunctionCall { call_id, name, arguments },
            },
            Command::ToolOutput { call_id, output } => Self::ItemCreate {
                event_id,
                previous_item_id: None,
                item: Item::FunctionCallOutput { call_id, output },
            },
            Command::Approve { request_id, approve, reason } => Self::ItemCreate {
                event_id,
                previous_item_id: None,
                item: Item::McpApprovalResponse {
                    id: event_id,
                    approval_request_id: request_id,
                    approve: *approve,
                    reason: reason.as_deref(),
                },
            },
            Command::BeginTurn { .. } => Self::Clear { event_id },
            Command::Commit => Self::Commit { event_id },
            Command::Cancel { tell: false, .. }
            | Command::Connect { .. }
            | Command::Close
            | Command::Raw { .. }
            // It says nothing word for word, and takes what was said message by message.
            | Command::Say { .. }
            | Command::Recall { .. } => return None,
        })
    }

    /// A message of the operator's, for a service whose responses take no instructions.
    pub(super) const fn system(event_id: &'a str, text: &'a str) -> Self {
        let item = Item::Message { role: "system", content: [Content { kind: "input_text", text }] };
        Self::ItemCreate { event_id, previous_item_id: None, item }
    }

    /// The event as JSON.
    pub(super) fn to_json(&self) -> String {
        // Serialising fails for maps with keys that are no strings only; there are none in these types.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The event that makes the session what the profile says.
pub(super) fn session_update(event_id: &str, dialect: &Dialect, profile: &SessionProfile) -> String {
    let event = if dialect.is_plain() && profile.fields.is_empty() {
        ClientEvent::SessionUpdate { event_id, session: Box::new(Session::of(profile)) }
    } else {
        ClientEvent::OtherSession { event_id, session: session(dialect, profile) }
    };
    event.to_json()
}

/// The event that makes a session of `before` one of `after`, with the fields that differ; `None` if none does.
pub(super) fn session_change(
    event_id: &str,
    dialect: &Dialect,
    before: &SessionProfile,
    after: &SessionProfile,
) -> Option<String> {
    let session = reshape::difference(&session(dialect, before), &session(dialect, after))?;
    Some(ClientEvent::OtherSession { event_id, session }.to_json())
}

/// The session as the service wants it.
fn session(dialect: &Dialect, profile: &SessionProfile) -> Value {
    // Through its text, so that a number stays as it was written.
    let text = serde_json::to_string(&Session::of(profile)).unwrap_or_default();
    let session = serde_json::from_str(&text).unwrap_or_default();
    let mut session = dialect.session(session, profile);
    merge(&mut session, &profile.fields);
    session
}

/// The `append` message of the caller's audio.
pub(super) fn append(bytes: &[u8]) -> String {
    base64_between(r#"{"type":"input_audio_buffer.append","audio":""#, bytes, r#""}"#)
}
