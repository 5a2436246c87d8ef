//! The events of the server, read in one pass and borrowed from their text.
//!
//! One flat structure serves all of them, since the names of the fields mean the same everywhere. It is lenient, so that a new
//! field of one event cannot spoil another. Pure; runs on the stream's worker. The base64 of an audio delta is not copied.

use serde::Deserialize;

pub(super) use super::super::json::{Aside, Number, Text};

/// `usage`, of a response or of a transcript.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageBody {
    pub(super) input_tokens: Number,
    pub(super) output_tokens: Number,
    pub(super) input_token_details: Aside<TokenDetails>,
    pub(super) output_token_details: Aside<TokenDetails>,
    /// Of a transcript that is billed by time.
    pub(super) seconds: Number,
}

/// `usage.input_token_details` and `.output_token_details`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenDetails {
    pub(super) text_tokens: Number,
    pub(super) audio_tokens: Number,
    pub(super) cached_tokens: Number,
    pub(super) cached_tokens_details: Aside<CachedDetails>,
}

/// `usage.input_token_details.cached_tokens_details`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CachedDetails {
    pub(super) text_tokens: Number,
    pub(super) audio_tokens: Number,
}

/// Any event of the server: the fields that one of them has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerEvent<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) response_id: Text<'a>,
    #[serde(borrow)]
    pub(super) item_id: Text<'a>,
    #[serde(borrow)]
    pub(super) previous_item_id: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) transcript: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    pub(super) content_index: Number,
    pub(super) audio_start_ms: Number,
    pub(super) audio_end_ms: Number,
    #[serde(borrow)]
    pub(super) error: Option<ErrorBody<'a>>,
    #[serde(borrow)]
    pub(super) session: Option<SessionBody<'a>>,
    #[serde(borrow)]
    pub(super) response: Option<ResponseBody<'a>>,
    #[serde(borrow)]
    pub(super) item: Option<ItemBody<'a>>,
    #[serde(borrow)]
    pub(super) rate_limits: Option<Vec<LimitBody<'a>>>,
    pub(super) usage: Aside<UsageBody>,
}

/// `error`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) code: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    #[serde(borrow)]
    pub(super) event_id: Text<'a>,
}

/// `session`, as the server confirms it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SessionBody<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) expires_at: Number,
}

/// `response`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseBody<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) status_details: Option<StatusDetails<'a>>,
    #[serde(borrow)]
    pub(super) metadata: Option<MetadataBody<'a>>,
    #[serde(borrow)]
    pub(super) output: Option<Vec<ItemBody<'a>>>,
    pub(super) usage: Aside<UsageBody>,
}

/// `response.metadata`: what was given with the request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetadataBody<'a> {
    #[serde(borrow)]
    pub(super) request: Text<'a>,
}

/// `response.status_details`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusDetails<'a> {
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
    #[serde(borrow)]
    pub(super) error: Option<ErrorBody<'a>>,
}

/// `item`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ItemBody<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
    #[serde(borrow)]
    pub(super) server_label: Text<'a>,
}

/// One of `rate_limits`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitBody<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    pub(super) limit: Number,
    pub(super) remaining: Number,
    pub(super) reset_seconds: Number,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_audio_of_a_delta_is_not_copied() {
        let event: ServerEvent<'_> =
            serde_json::from_str(r#"{"type":"response.output_audio.delta","delta":"AAAA","content_index":0}"#).unwrap();
        assert!(event.delta.is_borrowed() && event.kind.is_borrowed());
        assert_eq!(event.content_index.whole(), Some(0));
    }

    #[test]
    fn a_field_of_another_type_is_absent_and_spoils_nothing() {
        let text = r#"{"type":"x","delta":{"a":[1,{"b":null}]},"text":7,"name":null,"transcript":[true],
            "content_index":"1","audio_end_ms":-3,"audio_start_ms":1e300,"item":null,"new":{"deep":[[[]]]}}"#;
        let event: ServerEvent<'_> = serde_json::from_str(text).unwrap();
        assert!(event.delta.is_absent() && event.text.is_absent() && event.name.is_absent());
        assert!(event.transcript.is_absent() && event.item.is_none());
        let numbers = [event.content_index, event.audio_end_ms, event.audio_start_ms];
        assert_eq!(numbers.map(Number::whole), [None; 3]);
    }
}
