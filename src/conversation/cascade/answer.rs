//! An answer of the language model, as far as it has come.
//!
//! Pure; from the request to its end.

use super::completion::{CallPart, Lines};

/// Most function calls of one answer.
const MOST_CALLS: usize = 16;
/// Longest arguments of a call: far beyond any sense.
const MOST_ARGUMENTS: usize = 64 << 10;
/// Bytes of a refusal that are read for its message.
const MOST_REFUSAL: usize = 8 << 10;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP request.
    pub(super) fetch: u64,
    /// The agent's request.
    pub(super) request: u64,
    pub(super) response_id: String,
    pub(super) item_id: String,
    /// Of the head; 0 until it has come.
    pub(super) status: u16,
    /// What the service calls the request.
    pub(super) request_id: Option<String>,
    pub(super) lines: Lines,
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    /// Why the model has stopped; empty until it has.
    pub(super) finish: String,
    /// The body of a refusal.
    pub(super) refusal: Vec<u8>,
}

/// A function call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Answer {
    /// Nothing has come yet. `number` tells it from every other answer.
    pub(super) fn new(fetch: u64, request: u64, number: u64) -> Self {
        Self {
            fetch,
            request,
            response_id: format!("answer_{number}"),
            item_id: format!("words_{number}"),
            status: 0,
            request_id: None,
            lines: Lines::default(),
            text: String::new(),
            calls: Vec::new(),
            finish: String::new(),
            refusal: Vec::new(),
        }
    }

    /// More of a function call: its id and name come once, its arguments in pieces.
    pub(super) fn call(&mut self, part: CallPart) {
        if part.index >= MOST_CALLS {
            return;
        }
        if self.calls.len() <= part.index {
            self.calls.resize_with(part.index + 1, Call::default);
        }
        let call = &mut self.calls[part.index];
        if let Some(id) = part.id.filter(|id| !id.is_empty() && call.id.is_empty()) {
            call.id = id.chars().take(128).collect();
        }
        if let Some(name) = part.function.name.filter(|name| !name.is_empty() && call.name.is_empty()) {
            call.name = name.chars().take(128).collect();
        }
        let more = part.function.arguments.unwrap_or_default();
        if call.arguments.len() + more.len() <= MOST_ARGUMENTS {
            call.arguments.push_str(&more);
        }
    }

    /// More of a refusal's body.
    pub(super) fn refuse(&mut self, piece: &[u8]) {
        let room = MOST_REFUSAL.saturating_sub(self.refusal.len()).min(piece.len());
        self.refusal.extend_from_slice(&piece[..room]);
    }
}
