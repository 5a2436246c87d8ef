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

/// Most bytes that are kept of a function's result. A result alone must not take the place of the talk.
const MAX_OUTPUT: usize = 4 << 10;

/// One thing that the next session has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Past<'a> {
    /// Somebody said this.
    Words(Speaker, &'a str),
    /// The model called a function: id, name and arguments.
    Call(&'a str, &'a str, &'a str),
    /// The result of a call: id and result.
    Output(&'a str, &'a str),
}

#[derive(Clone, Debug)]
enum Kind {
    /// Without text the entry is the place of a turn whose words come later, if at all.
    Words(Speaker),
    Call {
        call_id: String,
        name: String,
    },
    Output {
        call_id: String,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    item_id: String,
    text: String,
}

impl Entry {
    fn is_words_of(&self, speaker: Speaker, item_id: &str) -> bool {
        matches!(self.kind, Kind::Words(of) if of == speaker) && !item_id.is_empty() && self.item_id == item_id
    }

    /// Whether it is a place without words.
    fn is_place(&self) -> bool {
        matches!(self.kind, Kind::Words(_)) && self.text.is_empty()
    }

    fn bytes(&self) -> usize {
        self.text.len()
            + match &self.kind {
                Kind::Words(_) => 0,
                Kind::Call { call_id, name } => call_id.len() + name.len(),
                Kind::Output { call_id } => call_id.len(),
            }
    }
}

/// The conversation as text.
#[derive(Debug)]
pub(super) struct History {
    bounds: HistoryBounds,
    entries: VecDeque<Entry>,
}

impl History {
    pub(super) fn new(bounds: HistoryBounds) -> Self {
        Self { bounds, entries: VecDeque::new() }
    }

    /// The caller's turn has its place; the words come later, if at all. It is behind the item `previous`, if that is known, or
    /// else before the item `answer`, if the agent began to answer it before this was known, or else at the end.
    pub(super) fn caller_turn(&mut self, item_id: &str, previous: Option<&str>, answer: Option<&str>) {
        let place = |id: Option<&str>| {
            let id = id.filter(|id| !id.is_empty())?;
            self.entries.iter().rposition(|entry| entry.item_id == id)
        };
        let at = place(previous).map(|at| at + 1).or_else(|| place(answer)).unwrap_or(self.entries.len());
        let entry = Entry { kind: Kind::Words(Speaker::Caller), item_id: item_id.to_owned(), text: String::new() };
        self.entries.insert(at, entry);
        self.trim();
    }

    /// The words of a turn of the caller.
    pub(super) fn caller_words(&mut self, item_id: &str, text: &str) {
        self.words(Speaker::Caller, item_id, text);
    }

    /// A message of the agent has its place; what is heard of it is known later.
    pub(super) fn agent_turn(&mut self, item_id: &str) {
        if !self.entries.iter().any(|entry| entry.is_words_of(Speaker::Agent, item_id)) {
            self.push(Kind::Words(Speaker::Agent), item_id, "");
        }
    }

    /// What was heard of a message of the agent; empty: nothing.
    pub(super) fn agent_words(&mut self, item_id: &str, text: &str) {
        self.words(Speaker::Agent, item_id, text);
    }

    /// What was heard of a message of the agent, if it is known.
    pub(super) fn agent_text(&self, item_id: &str) -> Option<&str> {
        self.entries
            .iter()
            .rev()
            .find(|entry| entry.is_words_of(Speaker::Agent, item_id))
            .map(|entry| entry.text.as_str())
    }

    /// Somebody said something that is no item of the service's: keys, the operator's texts, sentences of our own.
    pub(super) fn said(&mut self, speaker: Speaker, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            self.push(Kind::Words(speaker), "", text);
        }
    }

    /// The model calls a function.
    pub(super) fn call(&mut self, call_id: &str, name: &str, arguments: &str) {
        self.push(Kind::Call { call_id: call_id.to_owned(), name: name.to_owned() }, "", arguments);
    }

    /// The result of a call.
    pub(super) fn output(&mut self, call_id: &str, output: &str) {
        self.push(Kind::Output { call_id: call_id.to_owned() }, "", &output[..output.floor_char_boundary(MAX_OUTPUT)]);
    }

    /// Whether a call is known.
    pub(super) fn has_call(&self, call_id: &str) -> bool {
        self.entries.iter().any(|entry| matches!(&entry.kind, Kind::Call { call_id: id, .. } if id == call_id))
    }

    /// The item before this one, where both are known.
    pub(super) fn before(&self, item_id: &str) -> Option<&str> {
        let at = self.entries.iter().rposition(|entry| !item_id.is_empty() && entry.item_id == item_id)?;
        let before = self.entries.iter().take(at).rev().find(|entry| !entry.item_id.is_empty())?;
        Some(&before.item_id)
    }

    /// The session is gone: its item ids mean nothing in the next. Messages of the agent that are still being heard keep theirs.
    pub(super) fn forget_ids(&mut self) {
        self.entries.retain(|entry| !entry.is_place() || matches!(entry.kind, Kind::Words(Speaker::Agent)));
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_place()) {
            entry.item_id = String::new();
        }
    }

    /// Everything the next session has to know, oldest first. A result is of no use without its call.
    pub(super) fn entries(&self) -> impl Iterator<Item = Past<'_>> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            Kind::Words(_) if entry.text.is_empty() => None,
            Kind::Words(speaker) => Some(Past::Words(*speaker, &entry.text)),
            Kind::Call { call_id, name } => Some(Past::Call(call_id, name, &entry.text)),
            Kind::Output { call_id } if self.has_call(call_id) => Some(Past::Output(call_id, &entry.text)),
            Kind::Output { .. } => None,
        })
    }

    fn words(&mut self, speaker: Speaker, item_id: &str, text: &str) {
        let text = text.trim();
        match self.entries.iter().rposition(|entry| entry.is_words_of(speaker, item_id)) {
            Some(at) if text.is_empty() && speaker == Speaker::Agent => {
                self.entries.remove(at);
            }
            Some(at) => {
                text.clone_into(&mut self.entries[at].text);
                self.trim();
            }
            None if text.is_empty() => {}
            None => self.push(Kind::Words(speaker), item_id, text),
        }
    }

    fn push(&mut self, kind: Kind, item_id: &str, text: &str) {
        self.entries.push_back(Entry { kind, item_id: item_id.to_owned(), text: text.to_owned() });
        self.trim();
    }

    /// Places count apart: noises that nobody answers must not take the place of the talk.
    fn trim(&mut self) {
        let mut bytes: usize = self.entries.iter().map(Entry::bytes).sum();
        let mut places = self.entries.iter().filter(|entry| entry.is_place()).count();
        while bytes > self.bounds.bytes
            || places > self.bounds.entries
            || self.entries.len() - places > self.bounds.entries
        {
            let Some(oldest) = self.entries.pop_front() else { return };
            bytes -= oldest.bytes();
            places -= usize::from(oldest.is_place());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the history.
    fn words(history: &History) -> Vec<(Speaker, &str)> {
        let words = |past| match past {
            Past::Words(speaker, text) => Some((speaker, text)),
            _ => None,
        };
        history.entries().filter_map(words).collect()
    }

    #[test]
    fn words_that_come_late_stand_where_the_turn_was() {
        let mut history = History::new(HistoryBounds::default());
        history.caller_turn("u1", None, None);
        history.said(Speaker::Agent, "Good morning.");
        history.caller_words("u1", " Hello? ");
        history.caller_turn("u2", None, None);
        assert_eq!(words(&history), [(Speaker::Caller, "Hello?"), (Speaker::Agent, "Good morning.")]);
    }

    #[test]
    fn turns_stand_in_their_order_whenever_they_are_known() {
        let mut history = History::new(HistoryBounds::default());
        // The first is committed after the agent has begun to answer it, and the service does not say where it belongs.
        history.agent_turn("r1");
        history.caller_turn("u1", None, Some("r1"));
        history.agent_turn("r2");
        history.caller_turn("u2", Some("r1"), None);
        for id in ["u2", "u1"] {
            history.caller_words(id, id);
        }
        for id in ["r2", "r1"] {
            history.agent_words(id, id);
        }
        assert_eq!(words(&history).iter().map(|(_, text)| *text).collect::<Vec<_>>(), ["u1", "r1", "u2", "r2"]);
        assert_eq!((history.before("u2"), history.before("u1"), history.before("?")), (Some("r1"), None, None));
    }

    #[test]
    fn texts_without_an_item_do_not_overwrite_each_other() {
        let mut history = History::new(HistoryBounds::default());
        history.said(Speaker::Caller, "one");
        history.said(Speaker::Caller, "two");
        history.caller_words("", "three");
        assert_eq!(words(&history).len(), 3);
    }

    #[test]
    fn a_result_is_cut_and_is_told_only_with_its_call() {
        let mut history = History::new(HistoryBounds { entries: 2, ..HistoryBounds::default() });
        history.call("c1", "look_up", "{}");
        history.output("c1", &"ä".repeat(MAX_OUTPUT));
        let text = "ä".repeat(MAX_OUTPUT / 2);
        assert_eq!(
            history.entries().collect::<Vec<_>>(),
            [Past::Call("c1", "look_up", "{}"), Past::Output("c1", &text)]
        );
        history.said(Speaker::Agent, "It is on its way.");
        assert_eq!(history.entries().count(), 1, "the call is gone, and its result with it");
    }

    #[test]
    fn places_without_words_take_no_room_from_words() {
        let mut history = History::new(HistoryBounds { entries: 3, ..HistoryBounds::default() });
        history.said(Speaker::Agent, "Hello.");
        for noise in 0..3 {
            history.caller_turn(&format!("u{noise}"), None, None);
        }
        assert_eq!(words(&history), [(Speaker::Agent, "Hello.")]);
        let mut none = History::new(HistoryBounds { entries: 0, bytes: 100 });
        none.caller_turn("u", None, None);
        none.call("c", "f", "");
        assert!(none.entries.is_empty());
    }

    #[test]
    fn the_oldest_goes_when_there_is_too_much() {
        let mut history = History::new(HistoryBounds { entries: 3, bytes: 10 });
        for text in ["aa", "bb", "cc", "dd"] {
            history.said(Speaker::Agent, text);
        }
        assert_eq!(history.entries().count(), 3);
        history.said(Speaker::Agent, "123456789");
        assert_eq!(words(&history), [(Speaker::Agent, "123456789")]);
        history.said(Speaker::Agent, &"x".repeat(11));
        assert_eq!(history.entries().count(), 0);
    }
}
