//! A conversation as the API threads see it: its state and counts, and the function calls that wait for an answer.
//!
//! Written by the stream's task, read by `health`, `list` and `ai_result`, under a lock that is held for a copy.

use serde::Serialize;

use crate::agent::{AgentStats, State};

/// A conversation at one moment, as `health` gives it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct AiStatus {
    /// Its state, which `health` gives as that of the stream.
    #[serde(skip)]
    pub state: State,
    /// The policy's counts.
    #[serde(flatten)]
    pub stats: AgentStats,
    /// Sentences of the whole module that nobody had to make, percent; filled in by whoever has the cache.
    pub tts_cache_hit_pct: f64,
}

impl Default for AiStatus {
    fn default() -> Self {
        Self { state: State::Idle, stats: AgentStats::default(), tts_cache_hit_pct: 0.0 }
    }
}

/// What a conversation shares with the API threads.
#[derive(Clone, Debug, Default)]
pub struct AiShared {
    /// Its state and counts.
    pub status: AiStatus,
    /// Ids of function calls that wait for `ai_result`, oldest first.
    pub awaited: Vec<String>,
}
