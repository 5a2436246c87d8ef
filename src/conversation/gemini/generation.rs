//! What the model is saying: from its first sign to `turnComplete` it is one response with one message, with ids made up here.
//!
//! ```text
//! none ─ content ─► Wanted ─ turnComplete ─► none
//!                     ├─ interrupted ─► Interrupted ─ turnComplete, or too late ─► none
//!                     └─ given up ─► GivenUp ─ turnComplete, or content of the next ─► none
//! ```
//! Pure. It also knows which request of the agent's the next one answers.

use std::time::{Duration, Instant};

use crate::protocol::pcm::FrameReader;

/// How long the service may take to end what was interrupted.
const ENDING: Duration = Duration::from_secs(5);
/// Longest words that come before the audio, bytes.
const MOST_EARLY: usize = 64 << 10;

/// What becomes of what the model says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Wanted,
    /// The service has given it up.
    Interrupted {
        until: Instant,
    },
    /// The agent has given it up, and the service does not know.
    GivenUp,
}

/// What the model is saying.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) response_id: String,
    pub(super) item_id: String,
    pub(super) fate: Fate,
    /// Nothing more is generated of it.
    pub(super) whole: bool,
    /// Half a sample.
    pub(super) half: FrameReader,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Model {
    number: u64,
    pub(super) current: Option<Generation>,
    /// The agent's request that the next one answers.
    pub(super) asked: Option<u64>,
    /// The caller's turn is over, as the module finds, and the model has not begun to answer it.
    pub(super) owes_answer: bool,
    /// What we said may interrupt the model, and so be reported as an interruption.
    pub(super) disturbed: bool,
    /// The next `turnComplete` without content ends what is over here already.
    pub(super) spent: bool,
    /// It has called functions and may go on without a turn of the caller.
    pub(super) continues: bool,
    /// Words that came before anything else of what they are of.
    early: String,
}

impl Model {
    /// A new session: nothing is being said in it.
    pub(super) fn reset(&mut self) {
        *self = Self { number: self.number, ..Self::default() };
    }

    /// Whether what comes now is of something new.
    pub(super) fn begins(&self) -> bool {
        self.current.as_ref().is_none_or(|current| current.fate == Fate::GivenUp && current.whole)
    }

    /// Something new begins: the request that it answers, and the words that came before.
    pub(super) fn begin(&mut self) -> (Option<u64>, String) {
        self.number += 1;
        self.current = Some(Generation {
            response_id: format!("response_{}", self.number),
            item_id: format!("message_{}", self.number),
            fate: Fate::Wanted,
            whole: false,
            half: FrameReader::new(1),
        });
        (self.owes_answer, self.disturbed, self.spent, self.continues) = (false, false, false, false);
        (self.asked.take(), std::mem::take(&mut self.early))
    }

    /// Words of something that has not begun.
    pub(super) fn early(&mut self, words: &str) {
        if self.early.len() + words.len() <= MOST_EARLY {
            self.early.push_str(words);
        }
    }

    /// Whether there are such words.
    pub(super) const fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// The service has given up what it says; whether it was wanted until now.
    pub(super) fn interrupted(&mut self, now: Instant) -> bool {
        self.continues = false;
        let Some(current) = &mut self.current else { return false };
        match current.fate {
            Fate::Wanted => {
                current.fate = Fate::Interrupted { until: now + ENDING };
                return true;
            }
            Fate::GivenUp => current.whole = true,
            Fate::Interrupted { .. } => {}
        }
        false
    }

    /// The agent gives up what the service says; whether that was this one and wanted.
    pub(super) fn give_up(&mut self, response_id: &str) -> bool {
        let wanted = |current: &&mut Generation| current.response_id == response_id && current.fate == Fate::Wanted;
        let Some(current) = self.current.as_mut().filter(wanted) else { return false };
        current.fate = Fate::GivenUp;
        true
    }

    /// Until when the service is to end what was interrupted.
    pub(super) fn ends_by(&self) -> Option<Instant> {
        match self.current.as_ref()?.fate {
            Fate::Interrupted { until } => Some(until),
            _ => None,
        }
    }

    /// Whether the model is silent, and is not asked to speak.
    pub(super) fn is_silent(&self) -> bool {
        self.current.is_none() && self.asked.is_none() && !self.owes_answer
    }
}
