//! An answer of the language model, as far as it has come.
//!
//! Pure; from the request to its end.

use super::completion::{CallPart, Chunk, Data, Lines};
use super::failure::Refused;
use crate::peer::{Fetched, Usage, is_success};

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
    lines: Lines,
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    /// Why the model has stopped; empty until it has.
    pub(super) finish: String,
    /// The body of a refusal.
    refusal: Vec<u8>,
}

/// A function call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// What is new of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// The model answers.
    Began,
    /// More text; `first`: there was none before.
    Text { text: String, first: bool },
    /// What it has cost.
    Used(Usage),
    /// A line that is no part of an answer.
    Unusable,
    /// It is whole. Nothing follows.
    Whole,
    /// There is none, or only the beginning of one. Nothing follows.
    Broken(Refused),
}

impl Answer {
    /// Nothing has come yet. `fetch` tells it from every other answer.
    pub(super) fn new(fetch: u64, request: u64) -> Self {
        Self {
            fetch,
            request,
            response_id: format!("answer_{fetch}"),
            item_id: format!("words_{fetch}"),
            status: 0,
            request_id: None,
            lines: Lines::default(),
            text: String::new(),
            calls: Vec::new(),
            finish: String::new(),
            refusal: Vec::new(),
        }
    }

    /// What has come of the request.
    pub(super) fn read(&mut self, piece: Fetched<'_>) -> Vec<News> {
        match piece {
            Fetched::Head { status, request_id } => {
                (self.status, self.request_id) = (status, request_id.map(str::to_owned));
                if is_success(status) { vec![News::Began] } else { Vec::new() }
            }
            Fetched::Body(bytes) if is_success(self.status) => self.body(bytes),
            Fetched::Body(bytes) => {
                let room = MOST_REFUSAL.saturating_sub(self.refusal.len()).min(bytes.len());
                self.refusal.extend_from_slice(&bytes[..room]);
                Vec::new()
            }
            // Some servers end without saying so.
            Fetched::End if is_success(self.status) && !self.finish.is_empty() => vec![News::Whole],
            Fetched::End if is_success(self.status) => vec![self.broken(Refused::broken("the answer has no end"))],
            Fetched::End => vec![self.broken(Refused::answered(self.status, &self.refusal))],
            Fetched::Failed(message) => vec![self.broken(Refused::broken(message))],
        }
    }

    fn broken(&self, refused: Refused) -> News {
        News::Broken(refused.of_request(self.request_id.as_deref()))
    }

    fn body(&mut self, bytes: &[u8]) -> Vec<News> {
        let mut news = Vec::new();
        for data in self.lines.push(bytes) {
            match data {
                Data::Chunk(chunk) => self.chunk(*chunk, &mut news),
                Data::Done => news.push(News::Whole),
                Data::Unusable => news.push(News::Unusable),
            }
            if matches!(news.last(), Some(News::Whole | News::Broken(_))) {
                break;
            }
        }
        news
    }

    fn chunk(&mut self, chunk: Chunk, news: &mut Vec<News>) {
        news.extend(chunk.usage().map(News::Used));
        if let Some(error) = &chunk.error {
            return news.push(self.broken(Refused::told(error)));
        }
        let Some(choice) = chunk.choices.into_iter().next() else { return };
        if let Some(reason) = choice.finish_reason {
            self.finish = reason.chars().take(64).collect();
        }
        for part in choice.delta.tool_calls.into_iter().flatten() {
            self.call(part);
        }
        if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
            let first = self.text.is_empty();
            self.text.push_str(&text);
            news.push(News::Text { text, first });
        }
    }

    /// More of a function call: its id and name come once, its arguments in pieces.
    fn call(&mut self, part: CallPart) {
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
}
