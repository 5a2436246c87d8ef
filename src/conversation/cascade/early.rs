//! An answer that the language model makes before the caller's turn is over, and that nobody knows of until it fits.
//!
//! Pure; owned by the engine. Where the turn ends with the words that the answer is for, it is taken for the answer to the turn.
//! Otherwise it is thrown away: no event, no history. What it has cost counts.

use serde_json::Value;

use super::answer::{Answer, News};
use super::open_turn::essence;
use super::out::Out;
use crate::peer::Fetched;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Early {
    /// What the caller had said.
    words: String,
    /// What the model was told.
    messages: Vec<Value>,
    answer: Answer,
    whole: bool,
    /// The request is over.
    ended: bool,
    /// It was of no use: the model failed.
    failed: bool,
}

/// An answer that is taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) answer: Answer,
    pub(super) whole: bool,
    /// Its request is over.
    pub(super) ended: bool,
}

impl Early {
    /// An answer to `messages`, whose last are the caller's `words`.
    pub(super) fn new(words: &str, messages: Vec<Value>, fetch: u64) -> Self {
        let answer = Answer::new(fetch, 0);
        Self { words: essence(words), messages, answer, whole: false, ended: false, failed: false }
    }

    /// Whether a piece of an answer to a request is its.
    pub(super) const fn asked(&self, id: u64) -> bool {
        self.answer.fetch == id
    }

    /// Whether these are the words that it answers.
    pub(super) fn answers(&self, words: &str) -> bool {
        self.words == essence(words)
    }

    /// Whether it answers what the model would be told now.
    pub(super) fn fits(&self, messages: &[Value]) -> bool {
        let (Some((last, before)), Some((now, told))) = (self.messages.split_last(), messages.split_last()) else {
            return false;
        };
        let said = |message: &Value| message["content"].as_str().map(essence);
        !self.failed && before == told && last["role"] == now["role"] && said(last) == said(now)
    }

    /// What has come of its request.
    pub(super) fn take(&mut self, piece: Fetched<'_>, out: &mut Out) {
        self.ended |= matches!(piece, Fetched::End | Fetched::Failed(_));
        if self.whole || self.failed {
            return;
        }
        for news in self.answer.read(piece) {
            match news {
                News::Used(usage) => out.used(usage),
                News::Whole => self.whole = true,
                News::Broken(_) => self.failed = true,
                News::Began | News::Text { .. } | News::Unusable => {}
            }
        }
    }

    /// It is not wanted.
    pub(super) fn throw_away(self, out: &mut Out) {
        if !self.ended {
            out.abort(self.answer.fetch);
        }
    }

    /// It is the answer to this request of the agent's.
    pub(super) fn answer(mut self, request: u64) -> Taken {
        self.answer.request = request;
        Taken { answer: self.answer, whole: self.whole, ended: self.ended }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_early_answer_fits_the_same_words_in_another_writing() {
        let said =
            |text: &str| vec![json!({"role": "system", "content": "S."}), json!({"role": "user", "content": text})];
        let mut early = Early::new("where is it", said("where is it"), 7);
        assert!(early.answers("Where is it?") && !early.answers("Where is it now?"));
        assert!(early.fits(&said("Where is it?")) && !early.fits(&said("Where is it now?")));
        let mut corrected = said("Where is it?");
        corrected.insert(1, json!({"role": "assistant", "content": "I"}));
        assert!(!early.fits(&corrected), "the model was told something else");
        let mut out = Out::default();
        early.take(Fetched::Failed("reset"), &mut out);
        assert!(!early.fits(&said("Where is it?")), "there is no answer");
        early.throw_away(&mut out);
        assert!(out.pop().is_none(), "its request is over");
    }
}
