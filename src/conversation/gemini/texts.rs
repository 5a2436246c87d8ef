//! What the service is told in words: the history at the beginning of a session, messages, requests.
//!
//! A text interrupts the model. So one that wants no answer waits until the model is silent; one that an answer is asked for goes
//! with the request. Pure; at most [`MOST`] texts wait, the oldest go first.

use std::collections::VecDeque;

use crate::peer::Speaker;

/// Texts that wait.
const MOST: usize = 128;

/// What asks the model to go on where there is nothing new to be answered.
const GO_ON: &str =
    "(There are no new words of the caller. Go on where the talk was left, and answer what is still unanswered.)";

/// A text in the service's roles.
type Turn = (&'static str, String);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Texts {
    waiting: VecDeque<(Speaker, String)>,
    /// The session waits for the history.
    history: bool,
}

/// What the operator wants, in the words of a caller: the service has no other role for it during a talk.
fn by_operator(text: &str) -> String {
    format!("(From the operator of this call, not from the caller: {text})")
}

fn turn((speaker, text): (Speaker, String)) -> Turn {
    match speaker {
        Speaker::Caller => ("user", text),
        Speaker::Agent => ("model", text),
        Speaker::System => ("user", by_operator(&text)),
    }
}

/// Instructions for one answer.
pub(super) fn instructions(text: &str) -> String {
    by_operator(&format!("follow these instructions in your next answer, without mentioning them: {text}"))
}

impl Texts {
    /// A session begins; `history`: it waits for that.
    pub(super) fn begin(&mut self, history: bool) {
        self.waiting.clear();
        self.history = history;
    }

    /// The next text. Whether one was dropped for it.
    pub(super) fn add(&mut self, speaker: Speaker, text: String) -> bool {
        self.waiting.push_back((speaker, text));
        let over = self.waiting.len() > MOST;
        if over {
            self.waiting.pop_front();
        }
        over
    }

    /// Whether the session waits for the history, so that nothing else may be said.
    pub(super) const fn owes_history(&self) -> bool {
        self.history
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.history
    }

    /// The history, all of it.
    pub(super) fn take_history(&mut self) -> Option<Vec<Turn>> {
        std::mem::take(&mut self.history).then(|| self.waiting.drain(..).map(turn).collect())
    }

    /// Everything that waits, to be added to the talk.
    pub(super) fn take(&mut self) -> Vec<Turn> {
        self.waiting.drain(..).map(turn).collect()
    }

    /// What waits and is not to be answered, and the text that asks for an answer, with these instructions.
    pub(super) fn request(&mut self, with: Option<&str>) -> (Vec<Turn>, String) {
        let after = self.waiting.iter().rposition(|(speaker, _)| *speaker == Speaker::Agent).map_or(0, |at| at + 1);
        let before = self.waiting.drain(..after).map(turn).collect();
        let mut lines: Vec<_> = self.waiting.drain(..).map(|text| turn(text).1).collect();
        lines.extend(with.map(instructions));
        let text = if lines.is_empty() { GO_ON.to_owned() } else { lines.join("\n") };
        (before, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_an_answer_goes_with_the_request() {
        let mut texts = Texts::default();
        texts.begin(false);
        assert_eq!(texts.request(None), (vec![], GO_ON.to_owned()));
        for (speaker, text) in [(Speaker::Caller, "one"), (Speaker::Agent, "two"), (Speaker::Caller, "three")] {
            texts.add(speaker, text.to_owned());
        }
        texts.add(Speaker::System, "be brief".to_owned());
        let (before, text) = texts.request(Some("say hello"));
        assert_eq!(before, [("user", "one".to_owned()), ("model", "two".to_owned())]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!((lines[0], lines[1]), ("three", "(From the operator of this call, not from the caller: be brief)"));
        assert!(lines[2].ends_with("without mentioning them: say hello)"), "{text}");
        assert!(texts.is_empty());
    }

    #[test]
    fn the_history_is_owed_once_even_if_there_is_none() {
        let mut texts = Texts::default();
        texts.begin(true);
        assert!(texts.owes_history() && !texts.is_empty());
        assert_eq!(texts.take_history(), Some(vec![]));
        assert_eq!((texts.take_history(), texts.is_empty()), (None, true));
    }

    #[test]
    fn over_the_bound_the_oldest_text_goes() {
        let mut texts = Texts::default();
        let dropped = (0..=MOST).filter(|at| texts.add(Speaker::Caller, at.to_string())).count();
        assert_eq!((dropped, texts.take().first().map(|(_, text)| text.as_str())), (1, Some("1")));
    }
}
