//! The messages of the service, read in one pass and borrowed from their text.
//!
//! One flat structure serves all of them. [Lenient](super::super::json). Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json::{Number, Text};

/// Any message of the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServerMessage<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    /// `idle`, `listening`, `thinking`, `speaking`.
    #[serde(borrow)]
    pub(super) state: Text<'a>,
    /// `user`, `agent`.
    #[serde(borrow)]
    pub(super) role: Text<'a>,
    /// `voice`, `text`.
    #[serde(borrow)]
    pub(super) medium: Text<'a>,
    /// Everything so far.
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    /// What is new.
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    #[serde(rename = "final", borrow)]
    last: Option<&'a RawValue>,
    /// Which message of the call it is.
    pub(super) ordinal: Number,
    #[serde(borrow)]
    pub(super) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(super) invocation_id: Text<'a>,
    /// As they are.
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

impl ServerMessage<'_> {
    /// No more of a transcript is to come.
    pub(super) fn is_final(&self) -> bool {
        self.last.is_some_and(|raw| raw.get() == "true")
    }

    /// The arguments of a call; `None` where they are longer than `most`.
    pub(super) fn arguments(&self, most: usize) -> Option<String> {
        self.parameters.map(RawValue::get).filter(|text| text.len() <= most).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_field_of_another_type_is_taken_as_absent() {
        let text = r#"{"type":"transcript","role":"agent","text":null,"delta":"Hi","final":1,"ordinal":"2","parameters":{"a": 1},"new":[]}"#;
        let message: ServerMessage<'_> = serde_json::from_str(text).unwrap();
        assert!(message.delta.is_borrowed() && message.text.is_absent() && !message.is_final());
        assert_eq!((message.ordinal.whole(), message.arguments(9).as_deref()), (None, Some(r#"{"a": 1}"#)));
        assert_eq!(message.arguments(7), None);
    }
}
