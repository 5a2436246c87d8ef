//! The messages to the service as JSON.
//!
//! Pure. The caller's audio has no `type`; `type` comes first in all others, as people read them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::protocol::codec::base64_between;

/// What the agent is told when a conversation begins.
#[derive(Clone, PartialEq, Default)]
pub(super) struct Initiation {
    /// What is overridden of the agent's settings.
    pub(super) overrides: Map<String, Value>,
    pub(super) variables: Map<String, Value>,
    pub(super) llm_body: Map<String, Value>,
    pub(super) user_id: Option<String>,
}

impl std::fmt::Debug for Initiation {
    /// What was written for the model is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Initiation")
    }
}

impl Initiation {
    /// Overrides one setting of the agent, by its path.
    pub(super) fn set(&mut self, path: &str, value: Value) {
        set(&mut self.overrides, path, value);
    }

    /// The message; `first_message`: what the agent says first, in place of what its settings say; nothing where it is empty.
    pub(super) fn to_json(&self, first_message: Option<&str>) -> String {
        let mut overrides = self.overrides.clone();
        if let Some(words) = first_message {
            set(&mut overrides, "agent.first_message", words.into());
        }
        let mut message = json!({"type": "conversation_initiation_client_data", "conversation_config_override": overrides,
            "dynamic_variables": self.variables, "custom_llm_extra_body": self.llm_body});
        if let Some(user_id) = &self.user_id {
            message["user_id"] = json!(user_id);
        }
        message.to_string()
    }
}

/// Sets the field at the end of `path`; what is no object on the way becomes one.
fn set(fields: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            fields.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = fields.entry(first).or_insert(Value::Null);
            if !inner.is_object() {
                *inner = json!({});
            }
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// One message of the client.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage<'a> {
    Pong { event_id: u64 },
    UserMessage { text: &'a str },
    ContextualUpdate { text: &'a str },
    UserActivity,
    ClientToolResult { tool_call_id: &'a str, result: &'a str, is_error: bool },
    McpToolApprovalResult { tool_call_id: &'a str, is_approved: bool },
}

impl ClientMessage<'_> {
    pub(super) fn to_json(&self) -> String {
        // Serialising fails for maps with keys that are no strings only; there are none in this type.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The message with the caller's audio.
pub(super) fn audio(bytes: &[u8]) -> String {
    base64_between(r#"{"user_audio_chunk":""#, bytes, r#""}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_stands_where_its_path_says() {
        let mut initiation = Initiation::default();
        for (path, value) in [("agent.prompt.prompt", "Be brief."), ("tts.voice_id", "v"), ("agent.language", "de")] {
            initiation.set(path, value.into());
        }
        let wanted = json!({"agent": {"prompt": {"prompt": "Be brief."}, "language": "de"}, "tts": {"voice_id": "v"}});
        assert_eq!(Value::Object(initiation.overrides), wanted);
    }
}
