//! The messages of the service, read in one pass and borrowed from their text.
//!
//! One flat structure serves all of them, since no two kinds have a field of the same name with another meaning.
//! [Lenient](super::super::json). Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json::{Aside, Number, Text};

/// Any message of the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerMessage<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) session_id: Text<'a>,
    /// Seconds since 1970.
    pub(super) expires_at: Number,
    #[serde(borrow)]
    pub(super) config: Aside<Resolved<'a>>,
    #[serde(borrow)]
    pub(super) reply_id: Text<'a>,
    #[serde(borrow)]
    pub(super) item_id: Text<'a>,
    /// Audio, base64.
    #[serde(borrow)]
    pub(super) data: Text<'a>,
    /// A transcript.
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    /// The next word of an answer, and until when of its audio it is spoken.
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    pub(super) end_ms: Number,
    #[serde(borrow)]
    interrupted: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) code: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    /// The field that an error is about.
    #[serde(borrow)]
    pub(super) param: Text<'a>,
}

impl ServerMessage<'_> {
    /// The caller has cut the answer off.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.is_some_and(|raw| raw.get() == "true") || self.status.as_str() == "interrupted"
    }

    /// The arguments of a call as JSON, whether they are an object or the text of one; `None` if they are longer than `most`.
    pub(super) fn arguments(&self, most: usize) -> Option<String> {
        let raw = self.arguments.map_or("{}", RawValue::get);
        if raw.len() > most {
            return None;
        }
        let text = raw.starts_with('"').then(|| serde_json::from_str::<String>(raw).ok()).flatten();
        Some(text.unwrap_or_else(|| raw.to_owned()))
    }
}

/// What a session has become, as far as it is of interest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resolved<'a> {
    /// What the agent says first by itself.
    #[serde(borrow)]
    pub(super) greeting: Text<'a>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) input: Aside<Direction<'a>>,
    #[serde(borrow)]
    pub(super) output: Aside<Direction<'a>>,
}

/// The audio of one direction.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Direction<'a> {
    #[serde(borrow)]
    pub(super) format: Aside<Format<'a>>,
}

/// How audio is coded.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Format<'a> {
    #[serde(borrow)]
    pub(super) encoding: Text<'a>,
}

impl Resolved<'_> {
    /// The functions that the service itself carries out over HTTP. It reports their calls and expects no result.
    pub(super) fn elsewhere(&self) -> Vec<String> {
        let tools: Vec<serde_json::Value> =
            self.tools.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let own = tools.into_iter().filter(|tool| tool["http"].is_object());
        own.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn arguments_are_read_as_an_object_or_as_its_text() {
        let arguments = |text: &str| serde_json::from_str::<ServerMessage<'_>>(text).unwrap().arguments(64);
        assert_eq!(arguments(r#"{"arguments":{"a": 1}}"#).unwrap(), r#"{"a": 1}"#);
        assert_eq!(arguments(r#"{"arguments":"{\"a\":1}"}"#).unwrap(), r#"{"a":1}"#);
        assert_eq!(arguments("{}").unwrap(), "{}");
        assert_eq!(arguments(&format!(r#"{{"arguments":"{}"}}"#, "x".repeat(64))), None);
    }

    #[test]
    fn audio_is_borrowed_and_odd_fields_spoil_nothing() {
        let text = r#"{"type":"reply.audio","data":"AAAA","reply_id":7,"config":[],"interrupted":"no","status":null}"#;
        let message: ServerMessage<'_> = serde_json::from_str(text).unwrap();
        assert!(message.data.is_borrowed() && !message.is_interrupted());
        assert_eq!((message.data.as_str(), message.reply_id.id()), ("AAAA", None));
    }

    #[test]
    fn functions_of_the_service_itself_are_those_with_an_address() {
        let text = r#"{"config":{"greeting":"Hi","tools":[{"name":"a","http":{"url":"https://h"}},{"name":"b"},7]}}"#;
        let message: ServerMessage<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((message.config.0.greeting.as_str(), message.config.0.elsewhere()), ("Hi", vec!["a".to_owned()]));
    }
}
