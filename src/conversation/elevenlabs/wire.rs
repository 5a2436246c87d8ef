//! The messages of the service, read in one pass and borrowed from their text.
//!
//! One flat structure serves all of them: each kind has its fields in an object of its own name. [Lenient](super::super::json). Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json::{Aside, Number, Text};

/// Any message of the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerMessage<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(rename = "conversation_initiation_metadata_event", borrow)]
    pub(super) metadata: Aside<Metadata<'a>>,
    #[serde(rename = "audio_event", borrow)]
    pub(super) audio: Aside<Audio<'a>>,
    #[serde(rename = "agent_response_event", borrow)]
    pub(super) response: Aside<Response<'a>>,
    #[serde(rename = "agent_response_correction_event", borrow)]
    pub(super) correction: Aside<Correction<'a>>,
    #[serde(rename = "user_transcription_event", borrow)]
    pub(super) transcript: Aside<Transcript<'a>>,
    #[serde(rename = "tentative_user_transcription_event", borrow)]
    pub(super) tentative: Aside<Transcript<'a>>,
    #[serde(rename = "interruption_event")]
    pub(super) interruption: Aside<Numbered>,
    #[serde(rename = "ping_event")]
    pub(super) ping: Aside<Numbered>,
    #[serde(borrow)]
    pub(super) client_tool_call: Option<ToolCall<'a>>,
    #[serde(borrow)]
    pub(super) mcp_tool_call: Option<ToolCall<'a>>,
    #[serde(borrow)]
    pub(super) agent_tool_response: Aside<ToolResponse<'a>>,
    #[serde(rename = "error_event", borrow)]
    pub(super) error: Aside<ErrorBody<'a>>,
    #[serde(rename = "client_error_event", borrow)]
    pub(super) client_error_event: Aside<ErrorBody<'a>>,
    #[serde(borrow)]
    pub(super) client_error: Aside<ErrorBody<'a>>,
}

/// How the conversation is held.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) conversation_id: Text<'a>,
    #[serde(borrow)]
    pub(super) agent_output_audio_format: Text<'a>,
    #[serde(borrow)]
    pub(super) user_input_audio_format: Text<'a>,
}

/// Some of what the agent says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub(super) audio_base_64: Text<'a>,
    pub(super) event_id: Number,
    /// [`Alignment`].
    #[serde(borrow)]
    pub(super) alignment: Option<&'a RawValue>,
}

/// When each character of it is spoken, from the beginning of this audio.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct Alignment {
    pub(super) chars: Vec<String>,
    pub(super) char_start_times_ms: Vec<u64>,
    pub(super) char_durations_ms: Vec<u64>,
}

/// The words of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub(super) agent_response: Text<'a>,
    pub(super) event_id: Number,
}

/// What of an answer counts as said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Correction<'a> {
    #[serde(borrow)]
    pub(super) original_agent_response: Text<'a>,
    #[serde(borrow)]
    pub(super) corrected_agent_response: Text<'a>,
}

/// What the caller said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Transcript<'a> {
    #[serde(borrow)]
    pub(super) user_transcript: Text<'a>,
}

/// What has a number and nothing else of interest.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Numbered {
    pub(super) event_id: Number,
}

/// A tool that the client is to carry out, or to approve.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(super) tool_call_id: Text<'a>,
    /// As they are.
    #[serde(borrow)]
    pub(super) parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) service_id: Text<'a>,
    #[serde(borrow)]
    pub(super) state: Text<'a>,
}

/// A tool that the service has carried out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolResponse<'a> {
    #[serde(borrow)]
    pub(super) tool_name: Text<'a>,
}

/// What went wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody<'a> {
    pub(super) code: Number,
    #[serde(borrow)]
    pub(super) error_type: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}
