//! The parts of a cascade, scripted: a recognition and a language model over HTTP, strict about what they are asked.
//!
//! Written from OpenAI's API reference and the parameter types of its Python SDK 3.57 (`audio/transcription_create_params`,
//! `chat/completion_create_params`), not from the module.
//!
//! | file | job |
//! |---|---|
//! | `strict` | what may be asked, field by field |
//! | `server` | both over real sockets |
//! | `recogniser`, `recogniser_server` | a recogniser that hears the caller all the time, Deepgram's; over real sockets |
//!
//! Used as `#[path = "support/parts/mod.rs"] mod parts;` next to `mod support;`.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod recogniser;
mod recogniser_server;
mod server;
mod strict;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

pub use recogniser_server::RecogniserServer;
pub use server::PartsServer;
pub use strict::{Form, check_completion, read_form};

/// The key that both want.
pub const KEY: &str = "sk-parts";

/// What the model says to these messages.
type Decide = dyn Fn(&[Value]) -> Reply + Send + Sync;

/// One answer of the model.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// What it writes.
    pub text: String,
    /// A function that it calls instead, with its arguments.
    pub call: Option<(String, String)>,
    /// Between two words.
    pub pace: Duration,
    /// It refuses with this status.
    pub refusal: u16,
    /// The connection breaks after so many words.
    pub breaks_after: Option<usize>,
}

impl Reply {
    /// These words, one every 5 ms.
    pub fn text(text: &str) -> Self {
        Self { text: text.to_owned(), pace: Duration::from_millis(5), ..Self::default() }
    }

    /// A call of this function.
    pub fn call(name: &str, arguments: &Value) -> Self {
        Self { call: Some((name.to_owned(), arguments.to_string())), ..Self::default() }
    }
}

/// What both do, and what they were asked. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    decide: Arc<Decide>,
    /// What the turns are understood as, one after the other; the last again and again.
    words: Arc<Vec<String>>,
    record: Arc<Mutex<Record>>,
}

/// What they were asked.
#[derive(Default)]
pub struct Record {
    /// The turns of the caller, at 16 kHz.
    pub turns: Vec<Vec<i16>>,
    /// The requests to the model.
    pub asked: Vec<Value>,
    /// What was wrong.
    pub complaints: Vec<String>,
}

/// An answer: its status, and its body in pieces with the wait before each; `None`: the connection breaks.
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub pieces: Vec<(Duration, Option<Vec<u8>>)>,
}

impl Parts {
    /// A model that says what this decides, and a recognition that understands these words.
    pub fn new(words: &[&str], decide: impl Fn(&[Value]) -> Reply + Send + Sync + 'static) -> Self {
        let words = Arc::new(words.iter().map(|words| (*words).to_owned()).collect());
        Self { decide: Arc::new(decide), words, record: Arc::default() }
    }

    /// What was asked so far.
    pub fn record(&self) -> parking_lot::MutexGuard<'_, Record> {
        self.record.lock()
    }

    /// The answer to a request.
    pub fn answer(&self, path: &str, key: Option<&str>, content_type: &str, body: &[u8]) -> Answer {
        if key != Some(&format!("Bearer {KEY}")) {
            return Answer::error(401, "Incorrect API key provided.");
        }
        let answered = match path {
            "/v1/audio/transcriptions" => self.transcribe(content_type, body),
            "/v1/chat/completions" => self.complete(content_type, body),
            _ => return Answer::error(404, "Not found."),
        };
        answered.unwrap_or_else(|complaint| {
            self.record.lock().complaints.push(complaint.clone());
            Answer::error(400, &complaint)
        })
    }

    fn transcribe(&self, content_type: &str, body: &[u8]) -> Result<Answer, String> {
        let form = read_form(content_type, body)?;
        if form.model != "words" {
            return Ok(Answer::error(404, "There is no such model."));
        }
        let mut record = self.record.lock();
        let seconds = form.samples.len() as f64 / 16_000.0;
        let text = self.words.get(record.turns.len()).or(self.words.last()).cloned().unwrap_or_default();
        record.turns.push(form.samples);
        let body = json!({"text": text, "usage": {"type": "duration", "seconds": seconds}});
        Ok(Answer::json(200, &body))
    }

    fn complete(&self, content_type: &str, body: &[u8]) -> Result<Answer, String> {
        if content_type != "application/json" {
            return Err(format!("{content_type} is no JSON"));
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        check_completion(&body)?;
        if body["model"] != "test-model" {
            return Ok(Answer::error(404, "There is no such model."));
        }
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        self.record.lock().asked.push(body);
        let reply = (self.decide)(&messages);
        if reply.refusal > 0 {
            return Ok(Answer::error(reply.refusal, "The model is being loaded."));
        }
        let event = |delta: Value, finish: Option<&str>| {
            let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test-model",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            Some(format!("data: {chunk}\n\n").into_bytes())
        };
        let mut pieces = vec![(Duration::ZERO, event(json!({"role": "assistant", "content": ""}), None))];
        if let Some((name, arguments)) = &reply.call {
            let part = |call: Value| json!({"tool_calls": [call]});
            let begun =
                json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}});
            pieces.push((Duration::ZERO, event(part(begun), None)));
            let (head, tail) = arguments.split_at(arguments.len() / 2);
            for more in [head, tail] {
                let more = json!({"index": 0, "function": {"arguments": more}});
                pieces.push((Duration::ZERO, event(part(more), None)));
            }
            pieces.push((Duration::ZERO, event(json!({}), Some("tool_calls"))));
        } else {
            for (at, word) in reply.text.split_inclusive(' ').enumerate() {
                if reply.breaks_after == Some(at) {
                    pieces.push((Duration::ZERO, None));
                    return Ok(Answer { status: 200, content_type: "text/event-stream", pieces });
                }
                pieces.push((reply.pace, event(json!({"content": word}), None)));
            }
            pieces.push((Duration::ZERO, event(json!({}), Some("stop"))));
        }
        let usage = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [],
            "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}});
        pieces.push((Duration::ZERO, Some(format!("data: {usage}\n\ndata: [DONE]\n\n").into_bytes())));
        Ok(Answer { status: 200, content_type: "text/event-stream", pieces })
    }
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        let pieces = vec![(Duration::ZERO, Some(body.to_string().into_bytes()))];
        Self { status, content_type: "application/json", pieces }
    }

    fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"error": {"message": message, "type": "invalid_request_error", "code": null}}))
    }
}
