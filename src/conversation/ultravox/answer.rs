//! What the agent says, as far as it has come. The service numbers its transcripts, and neither its audio nor its calls of functions.
//!
//! Pure; owned by the engine.

use std::time::Instant;

use super::super::growing::Growing;

/// An answer in progress.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response_id: String,
    pub(super) item_id: String,
    /// The number of its transcript, once one has come.
    pub(super) ordinal: Option<u64>,
    /// The agent has given it up, and learned that it is over: what still comes of it is of no use.
    pub(super) given_up: bool,
    /// The service has stopped speaking: when it counts as over, if nothing more of it comes.
    pub(super) ends: Option<Instant>,
}

impl Answer {
    /// Nothing has come yet. `number` tells it from every other answer.
    pub(super) fn new(number: u64) -> Self {
        Self {
            response_id: format!("answer_{number}"),
            item_id: format!("words_{number}"),
            ordinal: None,
            given_up: false,
            ends: None,
        }
    }
}

/// The words of a message of the agent's, which may come before its audio or after it.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) ordinal: u64,
    growing: Growing,
    whole: bool,
}

impl Words {
    /// Of the message of this number. Its item is named by the answer.
    pub(super) const fn new(ordinal: u64) -> Self {
        Self { ordinal, growing: Growing::new(String::new()), whole: false }
    }

    /// Everything so far, or what is new; what is to be handed on, and whether it is everything again.
    pub(super) fn more(&mut self, text: &str, delta: &str, is_final: bool) -> Option<(String, bool)> {
        if self.whole {
            return None;
        }
        let new = if text.is_empty() { self.growing.add(delta) } else { self.growing.more(text) };
        self.whole = is_final;
        let whole = if text.is_empty() { self.growing.text() } else { text }.trim();
        match is_final {
            true => (!whole.is_empty()).then(|| (whole.to_owned(), true)),
            false => new.map(|new| (new, false)),
        }
    }

    /// What has come before anybody wanted it: the words, and whether they are all.
    pub(super) fn so_far(&self) -> Option<(String, bool)> {
        let text = self.growing.text();
        (!text.trim().is_empty()).then(|| (text.to_owned(), self.whole))
    }

    /// All of them have come.
    pub(super) const fn are_whole(&self) -> bool {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_handed_on_once_and_then_whole() {
        let mut words = Words::new(1);
        let new = |text: &str| Some((text.to_owned(), false));
        assert_eq!(words.more("", "It is", false), new("It is"));
        assert_eq!(words.more("", " a story.", false), new(" a story."));
        assert_eq!(words.more("It is a story. And", "", false), new(" And"));
        assert_eq!(words.so_far(), new("It is a story. And"));
        assert_eq!(words.more("", " more. ", true), Some(("It is a story. And more.".to_owned(), true)));
        assert!(words.are_whole() && words.more("", "late", false).is_none());
        let mut none = Words::new(2);
        assert_eq!((none.more("", " ", true), none.so_far()), (None, None), "nothing was said");
        assert_eq!(Words::new(3).more("Corrected.", "", true), Some(("Corrected.".to_owned(), true)));
    }
}
