//! The events of the service, read in one pass and borrowed from their text.
//!
//! One flat structure serves all of them, and another one the events of the second model within them.
//! [Lenient](super::super::json). Pure. The base64 of an audio delta is not copied.

use serde::Deserialize;

use super::super::json::{Aside, Number, Text};

/// Any event of the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerEvent<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    pub(super) start_ms: Number,
    pub(super) end_ms: Number,
    #[serde(borrow)]
    pub(super) session: Aside<Session<'a>>,
    #[serde(borrow)]
    pub(super) delegation: Aside<Delegation<'a>>,
    #[serde(borrow)]
    pub(super) delegation_id: Text<'a>,
    #[serde(borrow)]
    pub(super) event: Aside<BackendEvent<'a>>,
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
    #[serde(borrow)]
    pub(super) client_event_id: Text<'a>,
    pub(super) usage: Aside<SessionUsage>,
    #[serde(borrow)]
    pub(super) error: Aside<ErrorBody<'a>>,
}

/// How much of the session is billed, from its beginning.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SessionUsage {
    pub(super) seconds: Number,
}

/// `session`, as the service confirms it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Session<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) expires_at: Number,
}

/// A task that the model hands on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delegation<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) target: Text<'a>,
}

/// An event of the second model.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BackendEvent<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) item: Aside<Item<'a>>,
    #[serde(borrow)]
    pub(super) response: Aside<Response<'a>>,
}

/// Something that the second model has made.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
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
}

/// How a response of the second model ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Response<'a> {
    pub(super) usage: Aside<UsageBody>,
    #[serde(borrow)]
    pub(super) error: Aside<ErrorBody<'a>>,
    #[serde(borrow)]
    pub(super) incomplete_details: Aside<Incomplete<'a>>,
}

/// Why a response is not whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Incomplete<'a> {
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}

/// What a response of the second model has used.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageBody {
    pub(super) input_tokens: Number,
    pub(super) output_tokens: Number,
    pub(super) input_tokens_details: Aside<InputDetails>,
}

/// Of the tokens that were read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InputDetails {
    pub(super) cached_tokens: Number,
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
    pub(super) client_event_id: Text<'a>,
}
