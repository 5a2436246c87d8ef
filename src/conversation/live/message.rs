//! The commands to the service as JSON.
//!
//! Pure. `type` comes first, as people read it.

use serde::Serialize;
use serde_json::Value;

use crate::protocol::codec::base64_between;

/// One command.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(super) enum ClientEvent<'a> {
    #[serde(rename = "session.start")]
    Start { event_id: &'a str, session: Value },
    #[serde(rename = "session.update")]
    Update { event_id: &'a str, session: Value },
    #[serde(rename = "session.close")]
    Close,
    /// What the model is to say, in words of its own.
    #[serde(rename = "session.commentary.append")]
    Commentary {
        #[serde(skip_serializing_if = "Option::is_none")]
        event_id: Option<&'a str>,
        content: &'a str,
        /// Never left out.
        delegation_id: Option<&'a str>,
    },
    /// What it is to know.
    #[serde(rename = "session.thinking.append")]
    Thinking { content: &'a str, delegation_id: Option<&'a str> },
    /// What it is to do from now on.
    #[serde(rename = "session.instructions.append")]
    Instructions { content: &'a str, delegation_id: Option<&'a str> },
    /// Something for the second model.
    #[serde(rename = "response.item.create")]
    Item { item: Output<'a> },
    /// The second model is to go on.
    #[serde(rename = "response.create")]
    Respond,
}

/// The result of a function that the second model has called.
#[derive(Serialize)]
#[serde(tag = "type", rename = "function_call_output")]
pub(super) struct Output<'a> {
    pub(super) call_id: &'a str,
    pub(super) output: &'a str,
}

impl ClientEvent<'_> {
    pub(super) fn to_json(&self) -> String {
        // Serialising fails for maps with keys that are no strings only; there are none in this type.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The command with the caller's audio.
pub(super) fn audio(bytes: &[u8]) -> String {
    base64_between(r#"{"type":"session.input_audio.append","audio":""#, bytes, r#""}"#)
}
