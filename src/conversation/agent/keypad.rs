//! The caller's keys as one message to the model: an entry ends with `#`, or two seconds after its last key.
//!
//! If the model may not know the keys, it learns only that a key was pressed, a second after the last one, and only if one
//! interrupted it. Otherwise it would stay silent after the interruption.
//!
//! Pure; owned by the agent. Holds [`MOST_KEYS`] keys; further ones of an entry are dropped.

use std::time::{Duration, Instant};

/// How long the keys of one entry may be apart.
const PAUSE: Duration = Duration::from_secs(2);
/// The same if the model does not learn which keys they are.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Most keys of one entry.
const MOST_KEYS: usize = 32;

/// The entry in progress.
#[derive(Debug)]
pub(super) struct Keypad {
    /// The model learns which keys they are.
    named: bool,
    keys: String,
    until: Option<Instant>,
}

impl Keypad {
    pub(super) const fn new(named: bool) -> Self {
        Self { named, keys: String::new(), until: None }
    }

    /// Whether it is a key at all.
    pub(super) fn is_key(digit: char) -> bool {
        matches!(digit, '0'..='9' | 'A'..='D' | 'a'..='d' | '*' | '#')
    }

    /// The caller presses a key; `interrupts`: it has interrupted the agent.
    pub(super) fn press(&mut self, now: Instant, digit: char, interrupts: bool) {
        if self.named {
            if self.keys.len() < MOST_KEYS {
                self.keys.push(digit.to_ascii_uppercase());
            }
            self.until = Some(if digit == '#' { now } else { now + PAUSE });
        } else if interrupts || self.until.is_some() {
            self.until = Some(now + SHORT_PAUSE);
        }
    }

    /// The entry, once it is complete, in words for the model.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        self.until.take_if(|until| now >= *until)?;
        let keys = if self.named { std::mem::take(&mut self.keys) } else { "a key".to_owned() };
        Some(format!("(The caller pressed {keys} on the telephone's keypad.)"))
    }

    /// When the entry is complete.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }
}
