//! The messages to the service as JSON, but for those of [`profile`](super::profile).
//!
//! Pure. `type` comes first, as people read them.

use serde::Serialize;

use crate::protocol::codec::base64_between;

/// One message of the client.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(super) enum ClientMessage<'a> {
    /// Go on with this session.
    #[serde(rename = "session.resume")]
    Resume { session_id: &'a str },
    /// End the session: it cannot be gone on with, and costs nothing any more.
    #[serde(rename = "session.end")]
    End,
    /// Answer now.
    #[serde(rename = "reply.create")]
    Reply {
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<&'a str>,
    },
    /// Put a message into the conversation.
    #[serde(rename = "conversation.message")]
    Message { role: &'a str, content: &'a str },
    #[serde(rename = "tool.result")]
    Result {
        call_id: &'a str,
        result: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

impl ClientMessage<'_> {
    pub(super) fn to_json(&self) -> String {
        // Serialising fails for maps with keys that are no strings only; there are none in this type.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The message with the caller's audio.
pub(super) fn audio(bytes: &[u8]) -> String {
    base64_between(r#"{"type":"input.audio","audio":""#, bytes, r#""}"#)
}
