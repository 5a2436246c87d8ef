//! What the agent is saying in this turn: the words of its messages, and whether it is being heard.
//!
//! Pure; owned by the agent. Holds the words of one turn.

use std::time::Duration;

use super::speech::whole_words_until;
use crate::peer::SpeechMark;

/// Marks of one message that are kept: those of some ten minutes.
const MOST_MARKS: usize = 10_000;

/// The words of one message.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    pub(super) item_id: String,
    pub(super) text: String,
    /// Its session is gone: what was heard of it is a new message for the next.
    pub(super) lost: bool,
    /// Its end never came: the text may be ahead of the audio.
    pub(super) cut: bool,
    /// When which character of its audio is spoken, if the service says so.
    pub(super) marks: Vec<SpeechMark>,
    /// What the service takes as said of it.
    pub(super) corrected: Option<String>,
}

impl Words {
    /// Further marks.
    pub(super) fn mark(&mut self, marks: Vec<SpeechMark>) {
        let room = MOST_MARKS.saturating_sub(self.marks.len());
        self.marks.extend(marks.into_iter().take(room));
    }

    /// The words that have been spoken whole after so much of the audio; `None` where the service does not say.
    pub(super) fn until(&self, heard: Duration) -> Option<String> {
        whole_words_until(&self.text, &self.marks, heard)
    }
}

/// The agent's turn.
#[derive(Debug, Default)]
pub(super) struct Utterance {
    /// The agent is being heard: from the first audio of a turn to the end of its last.
    pub(super) audible: bool,
    /// The apology for a sentence that could not be spoken has been said.
    pub(super) apologised: bool,
    words: Vec<Words>,
}

impl Utterance {
    /// The words of a message that is part of the turn.
    pub(super) fn known(&mut self, item_id: &str) -> Option<&mut Words> {
        self.words.iter_mut().find(|words| words.item_id == item_id)
    }

    /// The words of a message, which may be new.
    pub(super) fn words_of(&mut self, item_id: &str) -> &mut Words {
        let at = self.words.iter().position(|words| words.item_id == item_id).unwrap_or_else(|| {
            self.words.push(Words { item_id: item_id.to_owned(), ..Words::default() });
            self.words.len() - 1
        });
        &mut self.words[at]
    }

    /// The text of these messages, as far as there is any.
    pub(super) fn text_of(&self, items: &[String]) -> String {
        let wanted = self.words.iter().filter(|words| items.contains(&words.item_id) && !words.text.is_empty());
        wanted.map(|words| words.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The message that was begun last.
    pub(super) fn last_item(&self) -> Option<&str> {
        self.words.last().map(|words| words.item_id.as_str())
    }

    /// The session is gone, and with it the end of the `unfinished` messages. `resumes`: the next one knows them.
    pub(super) fn session_gone(&mut self, unfinished: &[String], resumes: bool) {
        for words in &mut self.words {
            words.lost |= !resumes;
            words.cut |= unfinished.contains(&words.item_id);
        }
    }

    /// The next session goes on with the one that was gone: it knows the messages.
    pub(super) fn session_kept(&mut self) {
        for words in &mut self.words {
            words.lost = false;
        }
    }

    /// Takes the words of the turn.
    pub(super) fn take_words(&mut self) -> Vec<Words> {
        std::mem::take(&mut self.words)
    }

    /// Whether there is a turn.
    pub(super) fn is_begun(&self) -> bool {
        self.audible || !self.words.is_empty()
    }

    /// The turn is over, and everything heard. Its words.
    pub(super) fn end(&mut self) -> Vec<Words> {
        self.audible = false;
        self.apologised = false;
        self.take_words()
    }
}
