//! Texts for the model beside the caller's speech: messages that are to be answered, and the past of a new session.
//!
//! Pure; owned by the engine. Bounded: [`MOST_HELD`] messages wait for their answer; the oldest go, which the model has been told before.

use std::collections::VecDeque;

use super::super::engine::Memory;
use crate::peer::Speaker;

/// Messages that wait until an answer to them is asked for.
const MOST_HELD: usize = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Texts {
    held: VecDeque<(Speaker, String)>,
    /// What was said before this session, for its prompt.
    past: String,
}

impl Texts {
    /// A new session begins.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// A message of the conversation as the service takes one: the role and the words. It has no role for the agent.
    pub(super) fn message(speaker: Speaker, text: &str) -> (&'static str, String) {
        match speaker {
            Speaker::Caller => ("user", text.to_owned()),
            Speaker::Agent => ("system", format!("You have said to the caller: {text}")),
            Speaker::System => ("system", text.to_owned()),
        }
    }

    /// The result of a call of which the service knows nothing any more, as a message.
    pub(super) fn result(name: &str, output: &str) -> String {
        format!("The function {name} has returned: {output}")
    }

    /// An answer to this is going to be asked for.
    pub(super) fn hold(&mut self, speaker: Speaker, text: String) {
        if self.held.len() == MOST_HELD {
            self.held.pop_front();
        }
        self.held.push_back((speaker, text));
    }

    /// The instructions for an answer: what waits to be answered, and those that were given. Without instructions, a model may overlook
    /// messages behind the caller's last words.
    pub(super) fn instructions(&mut self, given: Option<String>) -> Option<String> {
        let held = self.held.drain(..).map(|(speaker, text)| match speaker {
            Speaker::Caller => format!("The caller has said or entered: {text}\nAnswer that."),
            Speaker::Agent => format!("You have said to the caller: {text}"),
            Speaker::System => text,
        });
        let parts: Vec<String> = held.chain(given).collect();
        (!parts.is_empty()).then(|| parts.join("\n"))
    }

    /// What a session is to know from its beginning. The last words, if they are the caller's, wait for an answer, too.
    pub(super) fn recall(&mut self, past: Vec<Memory>) {
        if let Some(Memory::Words { speaker: Speaker::Caller, text }) = past.last() {
            self.hold(Speaker::Caller, text.clone());
        }
        let line = |memory: Memory| match memory {
            Memory::Words { speaker: Speaker::Caller, text } => format!("Caller: {text}"),
            Memory::Words { speaker: Speaker::Agent, text } => format!("You: {text}"),
            Memory::Words { speaker: Speaker::System, text } => format!("({text})"),
            Memory::Call { call_id, name, arguments } => {
                format!("(You have called the function {name} with {arguments}: call {call_id}.)")
            }
            Memory::Output { call_id, output } => format!("(Call {call_id} has returned: {output})"),
        };
        self.past = past.into_iter().map(line).collect::<Vec<_>>().join("\n");
    }

    /// A prompt with the past.
    pub(super) fn prompt(&self, prompt: &str) -> String {
        match (prompt.is_empty(), self.past.is_empty()) {
            (_, true) => prompt.to_owned(),
            (true, false) => format!("The conversation so far:\n{}", self.past),
            (false, false) => format!("{prompt}\n\nThe conversation so far:\n{}", self.past),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_session_has_the_past_in_its_prompt() {
        let words = |speaker, text: &str| Memory::Words { speaker, text: text.to_owned() };
        let mut texts = Texts::default();
        texts.recall(vec![
            words(Speaker::Agent, "Hello."),
            words(Speaker::System, "They are a member."),
            Memory::Call { call_id: "c1".into(), name: "look_up".into(), arguments: "{}".into() },
            Memory::Output { call_id: "c1".into(), output: "7".into() },
            words(Speaker::Caller, "And now?"),
        ]);
        let past = "The conversation so far:\nYou: Hello.\n(They are a member.)\n(You have called the function look_up with {}: \
                    call c1.)\n(Call c1 has returned: 7)\nCaller: And now?";
        assert_eq!((texts.prompt("Be brief."), texts.prompt("")), (format!("Be brief.\n\n{past}"), past.to_owned()));
        let asked = texts.instructions(Some("Be quick.".into()));
        assert_eq!(asked.as_deref(), Some("The caller has said or entered: And now?\nAnswer that.\nBe quick."));
        assert_eq!(texts.instructions(None), None);
        texts.begin();
        assert_eq!(texts.prompt("P"), "P");
    }

    #[test]
    fn messages_that_wait_are_bounded() {
        let mut texts = Texts::default();
        for n in 0..1_000 {
            texts.hold(Speaker::System, n.to_string());
        }
        let asked = texts.instructions(None).unwrap_or_default();
        assert!(asked.starts_with("936\n") && asked.ends_with("\n999"), "{asked}");
    }
}
