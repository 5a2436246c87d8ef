//! The messages of the service, borrowed from their text.
//!
//! A message carries one thing, or several. Lenient: what is unknown is skipped. Pure; the base64 of audio is not copied.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::json::{Aside, Number, Text};

/// Any message of the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServerMessage<'a> {
    #[serde(borrow)]
    pub(super) setup_complete: Option<Aside<SetupComplete<'a>>>,
    #[serde(borrow)]
    pub(super) server_content: Option<ServerContent<'a>>,
    #[serde(borrow)]
    pub(super) tool_call: Option<ToolCall<'a>>,
    #[serde(borrow)]
    pub(super) tool_call_cancellation: Option<Cancellation<'a>>,
    #[serde(borrow)]
    pub(super) usage_metadata: Option<Aside<UsageBody<'a>>>,
    #[serde(borrow)]
    pub(super) go_away: Option<Aside<GoAway<'a>>>,
    #[serde(borrow)]
    pub(super) session_resumption_update: Option<Resumption<'a>>,
    #[serde(borrow)]
    pub(super) voice_activity: Option<Aside<VoiceActivity<'a>>>,
    #[serde(borrow)]
    pub(super) error: Option<Aside<ErrorBody<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SetupComplete<'a> {
    #[serde(borrow)]
    pub(super) session_id: Text<'a>,
}

/// What the model generates, and what was heard of the caller.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServerContent<'a> {
    #[serde(borrow)]
    pub(super) model_turn: Option<Content<'a>>,
    pub(super) turn_complete: Option<bool>,
    pub(super) interrupted: Option<bool>,
    pub(super) generation_complete: Option<bool>,
    #[serde(borrow)]
    pub(super) input_transcription: Option<Aside<Transcription<'a>>>,
    #[serde(borrow)]
    pub(super) output_transcription: Option<Aside<Transcription<'a>>>,
    #[serde(borrow)]
    pub(super) turn_complete_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) interaction_status: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub(super) parts: Option<Vec<Part<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub(super) inline_data: Option<Aside<Blob<'a>>>,
    /// It is what the model thinks, and not what it says.
    pub(super) thought: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    #[serde(borrow)]
    pub(super) mime_type: Text<'a>,
    #[serde(borrow)]
    pub(super) data: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Transcription<'a> {
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    pub(super) finished: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) function_calls: Option<Vec<FunctionCall<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionCall<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    pub(super) args: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cancellation<'a> {
    #[serde(borrow)]
    pub(super) ids: Option<Vec<Text<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct UsageBody<'a> {
    pub(super) prompt_token_count: Number,
    pub(super) cached_content_token_count: Number,
    pub(super) response_token_count: Number,
    pub(super) tool_use_prompt_token_count: Number,
    pub(super) thoughts_token_count: Number,
    #[serde(borrow)]
    pub(super) prompt_tokens_details: Option<Vec<ModalityCount<'a>>>,
    #[serde(borrow)]
    pub(super) cache_tokens_details: Option<Vec<ModalityCount<'a>>>,
    #[serde(borrow)]
    pub(super) response_tokens_details: Option<Vec<ModalityCount<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ModalityCount<'a> {
    #[serde(borrow)]
    pub(super) modality: Text<'a>,
    pub(super) token_count: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct GoAway<'a> {
    #[serde(borrow)]
    pub(super) time_left: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Resumption<'a> {
    #[serde(borrow)]
    pub(super) new_handle: Text<'a>,
    pub(super) resumable: Option<bool>,
}

/// The service hears the caller begin or stop, where it says so.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct VoiceActivity<'a> {
    #[serde(borrow)]
    pub(super) voice_activity_type: Text<'a>,
    #[serde(borrow)]
    pub(super) audio_offset: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody<'a> {
    pub(super) code: Number,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
}

impl ServerMessage<'_> {
    /// Whether it has anything that is known here.
    pub(super) const fn is_known(&self) -> bool {
        self.setup_complete.is_some()
            || self.server_content.is_some()
            || self.tool_call.is_some()
            || self.tool_call_cancellation.is_some()
            || self.usage_metadata.is_some()
            || self.go_away.is_some()
            || self.session_resumption_update.is_some()
            || self.voice_activity.is_some()
            || self.error.is_some()
    }
}

/// A duration as protobuf's JSON has it, `12.5s`; at most a day.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?.parse::<f64>().ok().filter(|seconds| !seconds.is_nan())?;
    Duration::try_from_secs_f64(seconds.min(86_400.0)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_message_is_read_whatever_else_is_in_it() {
        let text = r#"{"serverContent":{"modelTurn":{"role":"model","parts":[{"text":"thinking","thought":true},
            {"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"AAAA"}}]},"interrupted":null,"groundingMetadata":{"a":[1]},
            "outputTranscription":{"text":"Hi"},"inputTranscription":7},"usageMetadata":"none","goAway":{},"news":1}"#;
        let message: ServerMessage<'_> = serde_json::from_str(text).unwrap();
        let content = message.server_content.as_ref().unwrap();
        let parts = content.model_turn.as_ref().unwrap().parts.as_ref().unwrap();
        assert_eq!((parts[0].thought, parts[1].inline_data.as_ref().unwrap().0.data.as_str()), (Some(true), "AAAA"));
        assert_eq!(content.output_transcription.as_ref().unwrap().0.text.as_str(), "Hi");
        assert!(content.input_transcription.as_ref().unwrap().0.text.is_absent());
        assert!(message.go_away.is_some() && message.is_known() && content.interrupted.is_none());
        let other: ServerMessage<'_> = serde_json::from_str(r#"{"newThing":{}}"#).unwrap();
        assert!(!other.is_known());
    }

    #[test]
    fn durations_are_read_as_protobuf_writes_them() {
        assert_eq!(duration("50s"), Some(Duration::from_secs(50)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(duration("1e300s"), Some(Duration::from_secs(86_400)));
        for other in ["", "s", "5", "-1s", "NaNs", "5 s"] {
            assert_eq!(duration(other), None, "{other}");
        }
    }
}
