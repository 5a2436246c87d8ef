//! The caller's keys as one message to the model: an entry ends with its terminator, at its length, or a time after its last key.
//!
//! If the model may not know the keys, it learns only that a key was pressed, a second after the last one, and only if one
//! interrupted it. Otherwise it would stay silent after the interruption.
//!
//! Pure; owned by the agent. Bounded: an entry holds at most [`MOST_KEYS`] keys, and further ones of it are dropped;
//! [`MOST_ENTRIES`] complete entries wait for a session, and older ones are dropped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long keys may be apart if the model does not learn which they are.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Most keys of one entry.
pub const MOST_KEYS: usize = 32;
/// Most complete entries that wait for a session.
const MOST_ENTRIES: usize = 8;

/// How keys become an entry, and what the model learns of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// The model learns which keys they are.
    pub named: bool,
    /// An entry of so many keys is complete; at most [`MOST_KEYS`], which ends none.
    pub length: Option<usize>,
    /// The key that ends an entry.
    pub terminator: Option<char>,
    /// How long the keys of one entry may be apart.
    pub pause: Duration,
}

impl Default for Keys {
    fn default() -> Self {
        Self { named: false, length: None, terminator: Some('#'), pause: Duration::from_secs(2) }
    }
}

/// The entry in progress, and those that are complete.
#[derive(Debug)]
pub(super) struct Keypad {
    how: Keys,
    keys: String,
    /// When the entry in progress is complete.
    until: Option<Instant>,
    entries: VecDeque<String>,
}

impl Keypad {
    pub(super) const fn new(how: Keys) -> Self {
        Self { how, keys: String::new(), until: None, entries: VecDeque::new() }
    }

    /// Whether it is a key at all.
    pub(super) fn is_key(digit: char) -> bool {
        matches!(digit, '0'..='9' | 'A'..='D' | 'a'..='d' | '*' | '#')
    }

    /// The caller presses a key; `interrupts`: it has interrupted the agent.
    pub(super) fn press(&mut self, now: Instant, digit: char, interrupts: bool) {
        let digit = digit.to_ascii_uppercase();
        if self.how.named {
            self.complete(now);
            if self.keys.len() < MOST_KEYS {
                self.keys.push(digit);
            }
            let ends = self.how.terminator == Some(digit) || self.how.length == Some(self.keys.len());
            self.until = Some(if ends { now } else { now + self.how.pause });
            self.complete(now);
        } else if interrupts || self.until.is_some() {
            self.until = Some(now + SHORT_PAUSE);
        }
    }

    /// Puts the entry in progress behind the complete ones, if its time has come.
    fn complete(&mut self, now: Instant) {
        if self.until.take_if(|until| now >= *until).is_none() {
            return;
        }
        if self.entries.len() == MOST_ENTRIES {
            self.entries.pop_front();
        }
        let keys = if self.how.named { std::mem::take(&mut self.keys) } else { "a key".to_owned() };
        self.entries.push_back(keys);
    }

    /// The oldest complete entry, in words for the model.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        self.complete(now);
        let keys = self.entries.pop_front()?;
        Some(format!("(The caller pressed {keys} on the telephone's keypad.)"))
    }

    /// When the entry in progress is complete.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.until
    }
}
