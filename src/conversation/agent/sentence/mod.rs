//! Cuts a text that arrives in pieces into sentences to be spoken.
//!
//! | file | job |
//! |---|---|
//! | `clean` | takes out Markdown and emoji, before anything else |
//! | `boundary` | whether a sentence ends at a place |
//! | `abbreviations` | the words that decide, by language, and what the operator adds |
//! | `length` | where a sentence that is too long is cut |
//! | `characters` | what Unicode says about a character |
//!
//! A sentence ends at the characters that Unicode calls sentence terminals, and at a line's end. A full stop, `!` or `?`
//! needs a space behind it, or a capital letter that clearly begins the next sentence. None ends in numbers, dates, times,
//! abbreviations, initials, host names, tags or the marks of a list, and not before its 10th character. After 250 characters it
//! is cut. Where the pieces of the text are cut has no influence: a decision is made with the first character that makes it
//! certain, so most sentences are complete when the next one begins. The last sentence waits for
//! [`SentenceSplitter::finish`].
//!
//! Pure; runs on the stream's worker. Holds at most one sentence and one link's address; the cost is linear in the text.

mod abbreviations;
mod boundary;
mod characters;
mod clean;
mod length;

use std::borrow::Cow;

use boundary::{Text, Verdict};
use clean::{Cleaner, clean};

pub use abbreviations::Abbreviations;

/// The bounds of a sentence, in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentenceBounds {
    /// Shorter ones are joined with what follows.
    pub min: usize,
    /// Longer ones are cut.
    pub max: usize,
}

impl Default for SentenceBounds {
    /// 10 to 250: short enough to start soon, long enough to sound like speech.
    fn default() -> Self {
        Self { min: 10, max: 250 }
    }
}

/// How a text becomes sentences.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentenceRules {
    /// The bounds of a sentence.
    pub bounds: SentenceBounds,
    /// Markdown and emoji are taken out.
    pub clean: bool,
    /// What the operator adds to the table.
    pub abbreviations: Abbreviations,
}

impl SentenceRules {
    /// A text as a voice is to have it.
    pub fn voiced<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.clean { clean(text).into() } else { text.into() }
    }

    /// The sentences of a whole text.
    pub fn sentences(&self, text: &str) -> Vec<String> {
        let mut splitter = SentenceSplitter::new(self.clone());
        let mut sentences = Vec::new();
        splitter.push(text, |sentence| sentences.push(sentence));
        splitter.finish(|sentence| sentences.push(sentence));
        sentences
    }
}

impl Default for SentenceRules {
    /// Cleaned, by the table alone.
    fn default() -> Self {
        Self { bounds: SentenceBounds::default(), clean: true, abbreviations: Abbreviations::default() }
    }
}

/// The rest of a text that is cut for its length has at least this many characters, so that no lone word is spoken.
const TAIL: usize = 20;

/// The splitter of one text.
#[derive(Clone, Debug, Default)]
pub struct SentenceSplitter {
    rules: SentenceRules,
    cleaner: Cleaner,
    /// What is not yet a sentence: no space in front, runs of white space as one character.
    buffer: Vec<char>,
    /// Up to here no end was found, and none will be.
    seen: usize,
}

impl SentenceSplitter {
    /// By rules; `max` is at least `min` and 16.
    pub fn new(mut rules: SentenceRules) -> Self {
        rules.bounds.max = rules.bounds.max.max(rules.bounds.min).max(16);
        Self { rules, ..Self::default() }
    }

    /// Takes the next piece; hands each sentence it completes to `sentence`.
    pub fn push(&mut self, text: &str, mut sentence: impl FnMut(String)) {
        if !self.rules.clean {
            return self.take(text, &mut sentence);
        }
        let mut cleaned = String::with_capacity(text.len());
        for c in text.chars() {
            self.cleaner.push(c, &mut cleaned);
        }
        self.take(&cleaned, &mut sentence);
    }

    /// The text is complete: hands the rest to `sentence`. The next text may follow.
    pub fn finish(&mut self, mut sentence: impl FnMut(String)) {
        let mut rest = String::new();
        self.cleaner.finish(&mut rest);
        self.take(&rest, &mut sentence);
        self.cut_all(true, &mut sentence);
        if !self.buffer.is_empty() {
            self.cut_off(self.buffer.len(), &mut sentence);
        }
        self.clear();
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.cleaner = Cleaner::default();
        self.buffer = Vec::new();
        self.seen = 0;
    }

    fn take(&mut self, text: &str, sentence: &mut impl FnMut(String)) {
        for c in text.chars() {
            self.append(c);
            // One at a time, so that the size of the pieces cannot matter.
            self.cut_all(false, sentence);
        }
    }

    fn append(&mut self, c: char) {
        if !c.is_whitespace() {
            return self.buffer.push(c);
        }
        let line_end = matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
        match self.buffer.last_mut() {
            None => {}
            Some(last) if last.is_whitespace() && line_end => {
                *last = '\n';
                self.seen = self.seen.min(self.buffer.len() - 1);
            }
            Some(last) if last.is_whitespace() => {}
            Some(_) => self.buffer.push(if line_end { '\n' } else { ' ' }),
        }
    }

    fn cut_all(&mut self, ended: bool, sentence: &mut impl FnMut(String)) {
        while let Some(end) = self.end(ended) {
            self.cut_off(end, sentence);
        }
    }

    fn cut_off(&mut self, end: usize, sentence: &mut impl FnMut(String)) {
        let text: String = self.buffer.drain(..end).collect();
        let space = self.buffer.iter().take_while(|c| c.is_whitespace()).count();
        self.buffer.drain(..space);
        self.seen = 0;
        let text = text.trim_end();
        if !text.is_empty() {
            sentence(text.to_owned());
        }
    }

    /// Where the first sentence ends, if that is certain.
    fn end(&mut self, ended: bool) -> Option<usize> {
        let SentenceBounds { min, max } = self.rules.bounds;
        let tail = TAIL.min(max / 4);
        let length = self.buffer.len();
        let text = Text { chars: &self.buffer, min, ended, abbreviations: &self.rules.abbreviations };
        while self.seen < length.min(max + tail) {
            match text.verdict(self.seen) {
                Verdict::End(end) if end <= max => return Some(end),
                // A little too long: cut so that its rest is no lone word.
                Verdict::End(end) => return Some(length::cut(&self.buffer, min, max.min(end - tail))),
                Verdict::No => self.seen += 1,
                Verdict::NoneBefore(next) => self.seen = next,
                Verdict::Unknown => break,
            }
        }
        let too_long = if ended { length > max } else { length >= max + tail };
        too_long.then(|| length::cut(&self.buffer, min, max.min(length - tail)))
    }
}

#[cfg(test)]
mod tests;
