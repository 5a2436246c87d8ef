//! What the agent says, as far as it has come: its words, and when each is spoken.
//!
//! Pure; owned by the engine. Bounded: [`MAX_WORDS`] bytes of text.

use std::time::Duration;

use super::super::json::short_id;
use crate::peer::SpeechMark;

/// Longest text of one answer: an hour's.
const MAX_WORDS: usize = 64 << 10;
/// Latest time of a word that is believed.
const LONGEST_MS: u64 = 3_600_000;

/// An answer in progress.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response_id: String,
    pub(super) item_id: String,
    /// The caller is not to hear it, and the agent does not know of it.
    pub(super) unwanted: bool,
    text: String,
    chars: usize,
    timed: bool,
}

impl Reply {
    pub(super) fn new(response_id: String, unwanted: bool) -> Self {
        let item_id = format!("{response_id}_words");
        Self { response_id, item_id, unwanted, text: String::new(), chars: 0, timed: false }
    }

    /// Whether a message that names this answer, or none, is of it.
    pub(super) fn is(&self, reply_id: &str) -> bool {
        reply_id.is_empty() || self.response_id == short_id(reply_id)
    }

    /// Its words so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is known when its words are spoken, and so which of them the caller has heard.
    pub(super) const fn is_timed(&self) -> bool {
        self.timed
    }

    /// The next word: what is new of the text, and when it has been spoken, if the service says so.
    pub(super) fn word(&mut self, word: &str, end_ms: Option<u64>) -> (String, Option<SpeechMark>) {
        // The service gives words without the space between them.
        let space = if self.text.is_empty() || word.starts_with(char::is_whitespace) { "" } else { " " };
        let room = MAX_WORDS.saturating_sub(self.text.len() + space.len());
        let new = format!("{space}{}", &word[..word.floor_char_boundary(room)]);
        self.text.push_str(&new);
        self.chars += new.chars().filter(|c| !c.is_whitespace()).count();
        self.timed |= end_ms.is_some();
        let end = end_ms.map(|ms| Duration::from_millis(ms.min(LONGEST_MS)));
        (new, end.map(|end| SpeechMark { chars: self.chars, end }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_text_with_their_times() {
        let (mut reply, ms) = (Reply::new("r".to_owned(), false), Duration::from_millis);
        assert_eq!(reply.word("Hello", Some(195)), ("Hello".to_owned(), Some(SpeechMark { chars: 5, end: ms(195) })));
        assert_eq!(reply.word("you.", None), (" you.".to_owned(), None));
        assert_eq!(reply.word(" So", Some(u64::MAX)).1, Some(SpeechMark { chars: 11, end: ms(LONGEST_MS) }));
        assert_eq!((reply.text(), reply.is_timed()), ("Hello you. So", true));
        let (new, _) = reply.word(&"é".repeat(MAX_WORDS), None);
        assert!(reply.text().len() <= MAX_WORDS && new.ends_with('é'), "{}", reply.text().len());
    }
}
