//! What happens to an agent, as the event that operators see.

use super::conversation::{AiAction, AiBargeIn, AiFalseInterruption, AiIdle, AiRaw, AiResponse, AiState, AiTranscript};
use super::figures::{AiSummary, AiTurn};
use super::{Error, Event, ServiceIds};
use crate::peer::{AiEvent, Component, Speaker};

impl From<AiEvent> for Event {
    fn from(event: AiEvent) -> Self {
        use AiEvent as Of;
        match event {
            Of::State { state, last, code, message } => {
                AiState { state, last, code: code.into(), message: message.into(), ids: ServiceIds::default() }.into()
            }
            Of::Transcript { speaker, item_id, previous_item_id, text, whole, heard_text } => {
                let heard_text = heard_text.map(Into::into);
                let speaker = match speaker {
                    Speaker::Caller => "caller",
                    Speaker::Agent => "agent",
                    // What an operator tells the model is no part of the talk, so this does not occur.
                    Speaker::System => "system",
                };
                AiTranscript { speaker, item_id, previous_item_id, text: text.into(), whole, heard_text }.into()
            }
            Of::Response { response_id, text, interrupted, heard_text, usage } => {
                let heard_text = heard_text.map(Into::into);
                AiResponse { response_id, text: text.into(), interrupted, heard_text, usage }.into()
            }
            Of::Turn(report) => AiTurn(report).into(),
            Of::Summary { reason, talk, usage } => AiSummary { reason, talk, usage }.into(),
            Of::BargeIn { cause, item_id, heard_ms, received_ms } => {
                AiBargeIn { cause, item_id, heard_ms, received_ms }.into()
            }
            Of::FalseInterruption { cause, paused, text } => {
                AiFalseInterruption { cause, paused_ms: paused.as_millis() as u64, text: text.into() }.into()
            }
            Of::Action { call_id, name, arguments, builtin, webhook, mcp_server } => {
                AiAction { call_id, name, arguments: arguments.into(), builtin, webhook, mcp_server }.into()
            }
            Of::Raw(text) => AiRaw(text.into()).into(),
            Of::Idle { count } => AiIdle { count }.into(),
            Of::Error { component, response_id, code, message } => {
                let component = match component {
                    Component::Engine => "openai",
                    Component::Tool => "tool",
                };
                Error::in_conversation(component, code, message, None).of_response(response_id).into()
            }
            Of::TranscriptFailed { item_id, code, message } => {
                Error::in_conversation("openai", code, message, None).of_item(item_id).into()
            }
            Of::SpeechFailed { text, code, message, latency } => {
                let speech = Some((text, latency.as_millis() as u64));
                Error::in_conversation("tts", code, message, speech).into()
            }
        }
    }
}
