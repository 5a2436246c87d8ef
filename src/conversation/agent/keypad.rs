//! The caller's keys as one message to the model: an entry ends with `#`, or two seconds after its last key.
//!
//! Pure; owned by the agent. Holds [`MOST_KEYS`] keys; further ones of an entry are dropped.

use std::time::{Duration, Instant};

/// How long the keys of one entry may be apart.
const PAUSE: Duration = Duration::from_secs(2);
/// Most keys of one entry.
const MOST_KEYS: usize = 32;

/// The entry in progress.
#[derive(Debug, Default)]
pub(super) struct Keypad {
    keys: String,
    until: Option<Instant>,
}

impl Keypad {
    /// Whether it is a key at all.
    pub(super) fn is_key(digit: char) -> bool {
        matches!(digit, '0'..='9' | 'A'..='D' | 'a'..='d' | '*' | '#')
    }

    /// A key that is to reach the model.
    pub(super) fn press(&mut self, now: Instant, digit: char) {
        if self.keys.len() < MOST_KEYS {
            self.keys.push(digit.to_ascii_uppercase());
        }
        self.until = Some(if digit == '#' { now } else { now + PAUSE });
    }

    /// The entry, once it is complete, in words for the model.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        self.until.take_if(|until| now >= *until)?;
        let keys = std::mem::take(&mut self.keys);
        Some(format!("(The caller pressed {keys} on the telephone's keypad.)"))
    }

    /// When the entry is complete.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }
}
