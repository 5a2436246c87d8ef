//! What the service does, and the calls that were created and not yet joined.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::session::Session;
use super::shape;
use crate::realtime::{Answer, Answers, Complaint, Far, Opening, Record, Request, Service};

/// The key that is let in, the agent that is stored, and what is secret of every address to join at.
pub const KEY: &str = "uv-test";
pub const STORED: &str = "agent-7";
pub const JOIN: &str = "j01n";
/// The chord in which words of the client's are said.
pub const WORDS_SEED: u64 = 920;
/// How long a character of them lasts, ms.
const CHARACTER_MS: u32 = 50;

/// How long the service takes for words of the client's, ms.
pub fn words_ms(words: &str) -> u32 {
    CHARACTER_MS * words.chars().count() as u32
}

/// What the service does.
#[derive(Clone)]
pub struct Agent {
    pub answers: Answers,
    /// What the caller says in each of their turns, over all connections; the last again and again.
    pub words: Vec<&'static str>,
    /// Silence that ends a turn.
    pub silence_ms: u64,
    /// What the stored agent says first.
    pub greeting: Option<Answer>,
    /// How long its calls last.
    pub lasts: Duration,
    /// It counts as speaking until what it has sent was heard, and not only until it was sent.
    pub speaks_while_heard: bool,
    /// Its words come whole, before their audio, and not bit by bit with it.
    pub words_first: bool,
    /// It tells when a call has begun.
    pub tells_beginning: bool,
    pub turns: Arc<AtomicUsize>,
    pub responses: Arc<AtomicUsize>,
    /// Everything that was asked for, as it was asked for, and what was wrong with it.
    pub created: Arc<Mutex<Vec<Value>>>,
    pub refused: Arc<Mutex<Vec<Complaint>>>,
    /// Calls that can be joined, by their paths.
    pub open: Arc<Mutex<HashMap<String, (String, Value)>>>,
}

impl Agent {
    /// A service that answers so.
    pub fn answering(answers: impl Into<Vec<Answer>>) -> Self {
        Self {
            answers: Answers::each(answers.into()),
            words: vec!["What the caller says."],
            silence_ms: 300,
            greeting: None,
            lasts: Duration::from_secs(3_600),
            speaks_while_heard: true,
            words_first: false,
            tells_beginning: true,
            turns: Arc::default(),
            responses: Arc::default(),
            created: Arc::default(),
            refused: Arc::default(),
            open: Arc::default(),
        }
    }

    /// What the caller says in the next turn.
    pub fn next_words(&self) -> String {
        let at = self.turns.fetch_add(1, Ordering::Relaxed);
        self.words[at.min(self.words.len() - 1)].to_owned()
    }

    /// The words that a new call was told of the past: who has said what.
    pub fn past(&self, call: usize) -> Vec<(String, String)> {
        let created = self.created.lock();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let past = created[call]["initialMessages"].as_array().cloned().unwrap_or_default();
        past.iter().map(|message| (text(&message["role"]), text(&message["text"]))).collect()
    }

    fn create(&self, request: &Request<'_>, stored: bool) -> Result<Value, (u16, Complaint)> {
        if request.header("x-api-key") != Some(KEY) {
            return Err((403, Complaint::plain("key", "Invalid API key")));
        }
        if request.header("content-type") != Some("application/json") {
            return Err((415, Complaint::plain("content_type", "The body has to be JSON.")));
        }
        let body = serde_json::from_slice(request.body);
        let call: Value = body.map_err(|error| (400, Complaint::plain("json", error.to_string())))?;
        shape::check_call(&call, stored).map_err(|complaint| (400, complaint))?;
        let mut created = self.created.lock();
        let call_id = format!("call-{}", created.len());
        let path = format!("/calls/{JOIN}-{}/server_web_socket?apiVersion=1", created.len());
        created.push(call.clone());
        self.open.lock().insert(path.clone(), (call_id.clone(), call));
        Ok(json!({"callId": call_id, "clientVersion": null, "created": "2026-11-30T00:00:00Z", "joinTimeout": "30s",
            "maxDuration": format!("{}s", self.lasts.as_secs_f64()), "joinUrl": format!("ws://{}{path}", request.server())}))
    }
}

impl Service for Agent {
    fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16> {
        // The key is for the request that creates a call, and for nothing else.
        if headers.iter().any(|(name, value)| name == "x-api-key" || value.contains(KEY)) {
            return Err(400);
        }
        if self.open.lock().contains_key(uri) { Ok(()) } else { Err(404) }
    }

    fn is_request(&self, line: &str) -> bool {
        line.contains("/api/")
    }

    fn answer(&self, request: &Request<'_>) -> (u16, String) {
        let stored = format!("/api/agents/{STORED}/calls");
        let created = match (request.method, request.uri) {
            ("POST", "/api/calls") => self.create(request, false),
            ("POST", uri) if uri == stored => self.create(request, true),
            _ => Err((404, Complaint::plain("path", "Not found."))),
        };
        match created {
            Ok(call) => (201, call.to_string()),
            Err((status, complaint)) => {
                let body = json!({"detail": complaint.message}).to_string();
                self.refused.lock().push(complaint);
                (status, body)
            }
        }
    }

    fn open(self: Arc<Self>, opening: &Opening, record: Arc<Mutex<Record>>) -> Box<dyn Far> {
        let (call_id, call) = self.open.lock().remove(&opening.uri).expect("it was let in");
        Box::new(Session::open(self, opening, record, &call_id, &call))
    }
}
