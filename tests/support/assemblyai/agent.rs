//! What the service does, and the sessions that it keeps without a connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::session::Session;
use crate::realtime::{Answer, Answers, Far, Opening, Record, Service, admit_by_header};

/// The key that is let in, and the agent that is stored.
pub const KEY: &str = "aai-test";
pub const STORED: &str = "agent-7";
/// The chord in which a greeting is said.
pub const WORDS_SEED: u64 = 910;
/// How long a session is kept without a connection.
const KEPT: Duration = Duration::from_secs(30);

/// What the service does.
#[derive(Clone)]
pub struct Agent {
    pub answers: Answers,
    /// What the caller says in each of their turns, over all connections; the last again and again.
    pub words: Vec<&'static str>,
    /// Silence that ends a turn.
    pub silence_ms: u64,
    /// What it says while a function runs that it has called without words.
    pub bridge: Option<Answer>,
    /// What the stored agent says first.
    pub greeting: Option<Answer>,
    /// How the stored agent's audio is coded, each way.
    pub coded: (&'static str, &'static str),
    /// It goes on with sessions that have lost their connection.
    pub resumes: bool,
    /// How long its sessions last, as it says; nothing: it does not say.
    pub lasts: Option<Duration>,
    pub turns: Arc<AtomicUsize>,
    pub responses: Arc<AtomicUsize>,
    pub kept: Arc<Mutex<HashMap<String, Kept>>>,
}

/// A session that can be gone on with.
#[derive(Clone, Debug)]
pub struct Kept {
    /// When it was alive last.
    pub alive: Instant,
    pub coded: (String, String),
    /// Functions without a result.
    pub calls: Vec<String>,
}

impl Agent {
    /// A service that answers so.
    pub fn answering(answers: impl Into<Vec<Answer>>) -> Self {
        Self {
            answers: Answers::each(answers.into()),
            words: vec!["What the caller says."],
            silence_ms: 300,
            bridge: None,
            greeting: None,
            coded: ("audio/pcmu", "audio/pcmu"),
            resumes: true,
            lasts: None,
            turns: Arc::default(),
            responses: Arc::default(),
            kept: Arc::default(),
        }
    }

    /// What the caller says in the next turn.
    pub fn next_words(&self) -> String {
        let at = self.turns.fetch_add(1, Ordering::Relaxed);
        self.words[at.min(self.words.len() - 1)].to_owned()
    }

    /// The session of this id, if it can be gone on with.
    pub fn take_kept(&self, now: Instant, session_id: &str) -> Option<Kept> {
        let kept = self.kept.lock().remove(session_id).filter(|_| self.resumes)?;
        (now.saturating_duration_since(kept.alive) <= KEPT).then_some(kept)
    }
}

impl Service for Agent {
    fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16> {
        admit_by_header((uri, "/v1/ws"), headers, ("authorization", &format!("Bearer {KEY}")))
    }

    fn open(self: Arc<Self>, opening: &Opening, record: Arc<Mutex<Record>>) -> Box<dyn Far> {
        Box::new(Session::open(self, opening, record))
    }
}
