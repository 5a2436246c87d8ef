//! What the model gets beside the caller's speech: texts that wait to be answered, notes in its prompt, the past of a new session.
//!
//! ```text
//! message ─► waits ─┬─ an answer is asked for ─► injected as words of the caller
//!                   └─ the caller speaks first ─► a note in the prompt
//! ```
//! Pure; owned by the engine. Bounded: [`MOST_WAITING`] texts wait, the notes have [`MOST_NOTES`] bytes; the oldest go.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::engine::Memory;
use crate::peer::Speaker;

/// Texts that wait.
const MOST_WAITING: usize = 32;
/// Bytes of all notes.
const MOST_NOTES: usize = 16 << 10;
/// Injected texts of which the service may still repeat the words.
const MOST_ECHOES: usize = 8;

/// A function call of an earlier session.
#[derive(Clone, Debug)]
struct Earlier {
    call_id: String,
    name: String,
    arguments: String,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Told {
    waiting: VecDeque<(Speaker, String)>,
    notes: VecDeque<String>,
    /// Calls of earlier sessions that have no result yet.
    earlier: Vec<Earlier>,
    /// What was injected as words of the caller, and not repeated yet.
    echoes: VecDeque<String>,
}

impl Told {
    /// A new session begins; notes are kept.
    pub(super) fn begin(&mut self) {
        self.waiting.clear();
        self.earlier.clear();
        self.echoes.clear();
    }

    /// What a session is to know from its beginning, as the messages of its context. The last words, if they are the caller's, wait for
    /// an answer instead. Where there is no `context`, everything but these is left out.
    pub(super) fn recall(&mut self, mut past: Vec<Memory>, context: bool) -> Vec<Value> {
        // Everything that a note says is in the past, or of no use any more.
        self.notes.clear();
        if let Some(Memory::Words { speaker: Speaker::Caller, .. }) = past.last()
            && let Some(Memory::Words { speaker, text }) = past.pop()
        {
            self.wait(speaker, text);
        }
        let mut messages = Vec::new();
        for memory in past {
            match memory {
                Memory::Words { speaker: Speaker::System, text } => self.note(Speaker::System, &text),
                Memory::Words { speaker, text } => {
                    let role = if speaker == Speaker::Caller { "user" } else { "assistant" };
                    messages.push(json!({ "type": "History", "role": role, "content": text }));
                }
                Memory::Call { call_id, name, arguments } => self.call(call_id, name, arguments),
                Memory::Output { call_id, output } => {
                    if let Some(Earlier { call_id, name, arguments }) = self.take_call(&call_id) {
                        let call = json!({ "id": call_id, "name": name, "client_side": true,
                                           "arguments": arguments, "response": output });
                        messages.push(json!({ "type": "History", "function_calls": [call] }));
                    }
                }
            }
        }
        if context { messages } else { Vec::new() }
    }

    /// A function call of an earlier session.
    pub(super) fn call(&mut self, call_id: String, name: String, arguments: String) {
        self.earlier.push(Earlier { call_id, name, arguments });
    }

    fn take_call(&mut self, call_id: &str) -> Option<Earlier> {
        let at = self.earlier.iter().position(|call| call.call_id == call_id)?;
        Some(self.earlier.remove(at))
    }

    /// The result of a call: of one of an earlier session it is a text; otherwise it is none of these.
    pub(super) fn result(&mut self, call_id: &str, output: &str) {
        if let Some(Earlier { name, arguments, .. }) = self.take_call(call_id) {
            self.wait(
                Speaker::Caller,
                format!("(The function {name}, called with {arguments}, has returned: {output})"),
            );
        }
    }

    /// A text that may be to be answered.
    pub(super) fn wait(&mut self, speaker: Speaker, text: String) {
        self.waiting.push_back((speaker, text));
        if self.waiting.len() > MOST_WAITING
            && let Some((speaker, text)) = self.waiting.pop_front()
        {
            self.note(speaker, &text);
        }
    }

    /// A text that the model is to know.
    pub(super) fn note(&mut self, speaker: Speaker, text: &str) {
        self.notes.push_back(match speaker {
            Speaker::Caller => format!("The caller has said or entered: {text}"),
            Speaker::Agent => format!("You have said to the caller: {text}"),
            Speaker::System => text.to_owned(),
        });
        while self.notes.iter().map(String::len).sum::<usize>() > MOST_NOTES {
            self.notes.pop_front();
        }
    }

    /// Nothing is answered before the caller's own words: what waits becomes notes. Whether there was anything.
    pub(super) fn note_waiting(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.iter().for_each(|(speaker, text)| self.note(*speaker, text));
        !waiting.is_empty()
    }

    /// What waits to be answered, as one text.
    pub(super) fn take_waiting(&mut self) -> Option<String> {
        let texts: Vec<_> = self.waiting.drain(..).map(|(_, text)| text).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// This was injected as words of the caller.
    pub(super) fn injected(&mut self, text: &str) {
        if self.echoes.len() == MOST_ECHOES {
            self.echoes.pop_front();
        }
        self.echoes.push_back(text.to_owned());
    }

    /// Whether these words of the caller are injected ones, which the service repeats once.
    pub(super) fn is_echo(&mut self, text: &str) -> bool {
        let Some(at) = self.echoes.iter().position(|echo| echo == text) else { return false };
        self.echoes.remove(at);
        true
    }

    /// A prompt with the notes.
    pub(super) fn prompt(&self, prompt: &str) -> String {
        let parts = std::iter::once(prompt).chain(self.notes.iter().map(String::as_str));
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(speaker: Speaker, text: &str) -> Memory {
        Memory::Words { speaker, text: text.to_owned() }
    }

    #[test]
    fn a_session_knows_what_was_said_and_answers_the_last_words() {
        let mut told = Told::default();
        told.note(Speaker::System, "of the session before");
        let call = |id: &str| Memory::Call { call_id: id.into(), name: "look_up".into(), arguments: "{}".into() };
        let past = vec![
            words(Speaker::Agent, "Hello."),
            words(Speaker::System, "The caller is a member."),
            call("c1"),
            Memory::Output { call_id: "c1".into(), output: "7".into() },
            call("c2"),
            words(Speaker::Caller, "And now?"),
        ];
        let messages = told.recall(past, true);
        assert_eq!(messages[0], json!({"type": "History", "role": "assistant", "content": "Hello."}));
        assert_eq!(messages[1]["function_calls"][0]["response"], "7");
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(told.prompt("Be brief."), "Be brief.\n\nThe caller is a member.");
        told.result("c2", "8");
        let waiting = told.take_waiting().unwrap_or_default();
        assert_eq!(waiting, "And now?\n(The function look_up, called with {}, has returned: 8)");
        assert_eq!(told.take_waiting(), None);
    }

    #[test]
    fn what_nobody_answers_is_a_note_and_notes_are_bounded() {
        let mut told = Told::default();
        told.wait(Speaker::Caller, "1234".into());
        assert!(told.note_waiting() && !told.note_waiting());
        assert_eq!(told.prompt(""), "The caller has said or entered: 1234");
        for _ in 0..100 {
            told.wait(Speaker::System, "x".repeat(1_000));
        }
        told.note_waiting();
        let prompt = told.prompt("P");
        assert!(prompt.starts_with("P\n\nx") && prompt.len() < MOST_NOTES + 100, "{}", prompt.len());
    }

    #[test]
    fn injected_words_are_repeated_once() {
        let mut told = Told::default();
        told.injected("Hello.");
        assert!(!told.is_echo("Hello") && told.is_echo("Hello.") && !told.is_echo("Hello."));
    }
}
