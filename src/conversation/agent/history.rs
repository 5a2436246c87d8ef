//! What was said so far, for a session that has to be started anew: the service forgets, the caller does not.
//!
//! Pure; owned by the agent. Bounded in entries and bytes; over a bound the oldest goes.

use std::collections::VecDeque;

use super::Speaker;

/// The bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryBounds {
    /// Most entries; 0: nothing is kept, each session starts blank.
    pub entries: usize,
    /// Most bytes of text.
    pub bytes: usize,
}

impl Default for HistoryBounds {
    /// 40 entries, 16 KiB.
    fn default() -> Self {
        Self { entries: 40, bytes: 16 << 10 }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    speaker: Speaker,
    item_id: String,
    text: String,
}

/// The conversation as text.
#[derive(Debug)]
pub(super) struct History {
    bounds: HistoryBounds,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl History {
    pub(super) fn new(bounds: HistoryBounds) -> Self {
        Self { bounds, entries: VecDeque::new(), bytes: 0 }
    }

    /// The caller's turn has its place; the words come later, if at all.
    pub(super) fn caller_turn(&mut self, item_id: &str) {
        self.push(Speaker::Caller, item_id, "");
    }

    /// The words of a turn of the caller.
    pub(super) fn caller_words(&mut self, item_id: &str, text: &str) {
        let text = text.trim();
        match self.entries.iter_mut().rev().find(|entry| entry.item_id == item_id && entry.speaker == Speaker::Caller) {
            Some(entry) => {
                self.bytes = self.bytes - entry.text.len() + text.len();
                text.clone_into(&mut entry.text);
                self.trim();
            }
            None => self.push(Speaker::Caller, item_id, text),
        }
    }

    /// What the agent said, as far as it was heard.
    pub(super) fn agent(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.push(Speaker::Agent, "", text.trim());
        }
    }

    /// The session is gone: its item ids mean nothing in the next.
    pub(super) fn forget_ids(&mut self) {
        for entry in &mut self.entries {
            entry.item_id = String::new();
        }
        self.entries.retain(|entry| !entry.text.is_empty());
    }

    /// Everything that was said, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Speaker, &str)> {
        self.entries.iter().filter(|entry| !entry.text.is_empty()).map(|entry| (entry.speaker, entry.text.as_str()))
    }

    fn push(&mut self, speaker: Speaker, item_id: &str, text: &str) {
        self.bytes += text.len();
        self.entries.push_back(Entry { speaker, item_id: item_id.to_owned(), text: text.to_owned() });
        self.trim();
    }

    fn trim(&mut self) {
        while self.entries.len() > self.bounds.entries || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_come_late_stand_where_the_turn_was() {
        let mut history = History::new(HistoryBounds::default());
        history.caller_turn("u1");
        history.agent("Good morning.");
        history.caller_words("u1", " Hello? ");
        history.caller_turn("u2");
        assert_eq!(
            history.entries().collect::<Vec<_>>(),
            [(Speaker::Caller, "Hello?"), (Speaker::Agent, "Good morning.")]
        );
    }

    #[test]
    fn the_oldest_goes_when_there_is_too_much() {
        let mut history = History::new(HistoryBounds { entries: 3, bytes: 10 });
        for text in ["aa", "bb", "cc", "dd"] {
            history.agent(text);
        }
        assert_eq!(history.entries().count(), 3);
        history.agent("123456789");
        assert_eq!(history.entries().collect::<Vec<_>>(), [(Speaker::Agent, "123456789")]);
        history.agent(&"x".repeat(11));
        assert_eq!(history.entries().count(), 0);
    }
}
