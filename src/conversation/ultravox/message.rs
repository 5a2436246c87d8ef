//! The messages to the service as JSON. The caller's audio is binary, as it is.
//!
//! Pure. `type` comes first, as people read them.

use serde::Serialize;

/// When the service looks at a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Urgency {
    /// At once: it stops what it says.
    Immediate,
    /// As soon as nobody speaks: it answers.
    Soon,
    /// When it answers the next time.
    Later,
}

/// One message of the client.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum ClientMessage<'a> {
    /// A text, as if the caller had written it.
    UserTextMessage {
        text: &'a str,
        urgency: Urgency,
        /// Nobody is to answer it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        defer_response: bool,
    },
    /// The agent is to say these words.
    ForcedAgentMessage {
        content: &'a str,
        urgency: Urgency,
    },
    ClientToolResult {
        invocation_id: &'a str,
        result: &'a str,
    },
}

impl ClientMessage<'_> {
    /// Gives up what the agent says, and nothing else.
    pub(super) const STOP: Self = Self::UserTextMessage { text: "", urgency: Urgency::Immediate, defer_response: true };

    pub(super) fn to_json(&self) -> String {
        // Serialising fails for maps with keys that are no strings only; there are none in this type.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A text of the operator's or the module's, which the model takes for no words of the caller's.
pub(super) fn instruction(text: &str) -> String {
    format!("<instruction>{text}</instruction>")
}

/// A call of a function of which the service knows nothing.
pub(super) fn called(call_id: &str, name: &str, arguments: &str) -> String {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    format!("You have called the function {name} (call {call_id}) with {arguments}.")
}

/// The result of one.
pub(super) fn returned(call_id: &str, output: &str) -> String {
    format!("The function of call {call_id} has returned: {output}")
}
