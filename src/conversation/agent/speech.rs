//! Text mode: what the model writes becomes sentences, sentences become requests for speech, one ahead of the playback.
//!
//! ```text
//! text ─► splitter ─► waiting ─► being made (one) ─► queued for playback ─► heard
//! ```
//! The next sentence is requested when the previous one has been received whole and nothing made lies unheard behind what
//! plays: so the synthesis works while the caller listens, and an interruption wastes one sentence at most.
//! Every sentence has an id; audio with another id than the one being made is stale.
//!
//! Pure; owned by the agent. Bounded: a response longer than [`MAX_WAITING`] sentences loses its end, counted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Recording;
use super::playback::{Owner, Playback};
use super::sentence::{SentenceRules, SentenceSplitter};
use crate::peer::SpeechMark;

/// Most sentences that wait: a quarter of an hour of speech.
const MAX_WAITING: usize = 256;

/// Something to be spoken.
#[derive(Clone, Debug)]
pub(super) struct Sentence {
    pub(super) id: u64,
    /// The model's message it is of; `None` for what the agent says of its own accord.
    pub(super) item_id: Option<String>,
    pub(super) text: String,
    /// It is not made but played from this recording, whose words are the text.
    pub(super) recording: Option<Recording>,
}

/// A sentence that was requested in this turn.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) sentence: Sentence,
    /// All of its audio has been received, or it has failed.
    pub(super) complete: bool,
    pub(super) failed: bool,
    /// When which character is spoken, if its provider says so.
    pub(super) marks: Vec<SpeechMark>,
}

impl Spoken {
    fn new(sentence: Sentence, complete: bool) -> Self {
        Self { sentence, complete, failed: false, marks: Vec::new() }
    }

    /// The words that have been spoken whole after so much of its audio; `None` where its provider does not say.
    pub(super) fn words_until(&self, heard: Duration) -> Option<String> {
        whole_words_until(&self.sentence.text, &self.marks, heard)
    }
}

/// The words of `text` that have been spoken whole after so much of its audio; `None` without marks.
pub(super) fn whole_words_until(text: &str, marks: &[SpeechMark], heard: Duration) -> Option<String> {
    let known = marks.iter().take_while(|mark| mark.end <= heard).last();
    (!marks.is_empty()).then(|| whole_words(text, known.map_or(0, |mark| mark.chars)))
}

/// The words of `text` that are within its first `chars` characters, white space apart.
fn whole_words(text: &str, chars: usize) -> String {
    let (mut left, mut end) = (chars, 0);
    // Where there are no spaces, characters are the words.
    let words: Vec<&str> = match text.contains(char::is_whitespace) {
        true => text.split_inclusive(char::is_whitespace).collect(),
        false => text.split_inclusive(|_| true).collect(),
    };
    for word in words {
        let length = word.chars().filter(|c| !c.is_whitespace()).count();
        let Some(rest) = left.checked_sub(length) else { break };
        (left, end) = (rest, end + word.len());
    }
    text[..end].trim_end().to_owned()
}

/// The speech of one turn after the other.
#[derive(Debug)]
pub(super) struct Speech {
    rules: SentenceRules,
    splitter: SentenceSplitter,
    /// Whose text is in the splitter.
    item_id: Option<String>,
    waiting: VecDeque<Sentence>,
    /// The last one is being made unless it is complete.
    requested: Vec<Spoken>,
    since: Option<Instant>,
    ids: u64,
    overflowed: u64,
}

impl Speech {
    pub(super) fn new(rules: SentenceRules) -> Self {
        Self {
            splitter: SentenceSplitter::new(rules.clone()),
            rules,
            item_id: None,
            waiting: VecDeque::new(),
            requested: Vec::new(),
            since: None,
            ids: 0,
            overflowed: 0,
        }
    }

    /// The next piece of an item's text.
    pub(super) fn text(&mut self, item_id: Option<&str>, text: &str) {
        if self.item_id.as_deref() != item_id {
            self.text_end();
            self.item_id = item_id.map(str::to_owned);
        }
        let mut sentences = Vec::new();
        self.splitter.push(text, |sentence| sentences.push(sentence));
        for sentence in sentences {
            self.enqueue(self.item_id.clone(), sentence);
        }
    }

    /// Something of the agent's own, behind what waits.
    pub(super) fn say(&mut self, text: &str) {
        for sentence in self.rules.sentences(text) {
            self.enqueue(None, sentence);
        }
    }

    /// One sentence of the agent's own, before everything that waits.
    pub(super) fn say_next(&mut self, text: &str) {
        self.ids += 1;
        let text = self.rules.voiced(text).into_owned();
        self.waiting.push_front(Sentence { id: self.ids, item_id: None, text, recording: None });
    }

    /// A recording with these words, behind what waits. They may be unknown.
    pub(super) fn recite(&mut self, recording: Recording, words: &str) {
        self.ids += 1;
        let text = words.trim().to_owned();
        self.waiting.push_back(Sentence { id: self.ids, item_id: None, text, recording: Some(recording) });
    }

    /// The session is gone: what is still to be spoken belongs to no item any more.
    pub(super) fn forget_items(&mut self) {
        self.text_lost();
        for sentence in self.waiting.iter_mut().chain(self.requested.iter_mut().map(|spoken| &mut spoken.sentence)) {
            sentence.item_id = None;
        }
    }

    /// The text is complete: what was held back is a sentence.
    pub(super) fn text_end(&mut self) {
        let mut sentences = Vec::new();
        self.splitter.finish(|sentence| sentences.push(sentence));
        for sentence in sentences {
            self.enqueue(self.item_id.clone(), sentence);
        }
        self.item_id = None;
    }

    /// The text will not be completed: what was held back is none.
    pub(super) fn text_lost(&mut self) {
        self.splitter.clear();
        self.item_id = None;
    }

    fn enqueue(&mut self, item_id: Option<String>, text: String) {
        // Dots and dashes alone cannot be spoken.
        if !text.chars().any(char::is_alphanumeric) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.overflowed += 1;
            return;
        }
        self.ids += 1;
        self.waiting.push_back(Sentence { id: self.ids, item_id, text, recording: None });
    }

    /// The next sentence to request, if it is time.
    pub(super) fn next(&mut self, now: Instant, playback: &Playback) -> Option<&Sentence> {
        if self.being_made().is_some() {
            return None;
        }
        // One ahead: what was made last must have begun to be heard.
        let unheard = self.requested.last().is_some_and(|last| {
            let owner = Owner::Sentence(last.sentence.id);
            !playback.current().received(&owner).is_zero() && !playback.has_begun(&owner)
        });
        if unheard {
            return None;
        }
        let sentence = self.waiting.pop_front()?;
        self.since = Some(now);
        self.requested.push(Spoken::new(sentence, false));
        self.requested.last().map(|last| &last.sentence)
    }

    /// Whether the sentence requested last is the first one of its turn.
    pub(super) fn is_first(&self) -> bool {
        self.requested.len() == 1
    }

    /// The sentence being made.
    pub(super) fn being_made(&self) -> Option<&Sentence> {
        self.requested.last().filter(|last| !last.complete).map(|last| &last.sentence)
    }

    /// When the last sign of life of what is being made was.
    pub(super) fn since(&self) -> Option<Instant> {
        self.being_made().and(self.since)
    }

    /// Audio of a sentence: whether it is the one being made.
    pub(super) fn audio(&mut self, now: Instant, id: u64) -> bool {
        let made = self.being_made().is_some_and(|sentence| sentence.id == id);
        if made {
            self.since = Some(now);
        }
        made
    }

    /// When which character of a sentence is spoken.
    pub(super) fn marks(&mut self, id: u64, marks: &[SpeechMark]) {
        if let Some(made) = self.requested.last_mut().filter(|last| last.sentence.id == id && !last.complete) {
            made.marks.extend_from_slice(marks);
        }
    }

    /// The sentence is complete, or failed; `None` when it is not the one being made.
    pub(super) fn complete(&mut self, id: u64, failed: bool) -> Option<&Sentence> {
        let last = self.requested.last_mut().filter(|last| last.sentence.id == id && !last.complete)?;
        last.complete = true;
        last.failed = failed;
        Some(&last.sentence)
    }

    /// The sentences of these messages: those requested in this turn, and those that wait.
    pub(super) fn sentences_of(&self, items: &[String]) -> impl Iterator<Item = u64> {
        let sentences = self.requested.iter().map(|spoken| &spoken.sentence).chain(&self.waiting);
        let of_these = |sentence: &&Sentence| sentence.item_id.as_ref().is_some_and(|id| items.contains(id));
        sentences.filter(of_these).map(|sentence| sentence.id)
    }

    /// Whether anything is still to be requested or received.
    pub(super) fn is_busy(&self) -> bool {
        self.being_made().is_some() || !self.waiting.is_empty()
    }

    /// Sentences waiting or being made.
    pub(super) fn depth(&self) -> usize {
        self.waiting.len() + usize::from(self.being_made().is_some())
    }

    /// Sentences lost because too many were waiting.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Nothing of this turn is wanted any more: the sentence to abort, and what was or would have been requested in the turn.
    pub(super) fn abort(&mut self) -> (Option<u64>, Vec<Spoken>) {
        let made = self.being_made().map(|sentence| sentence.id);
        let waiting = self.waiting.drain(..).map(|sentence| Spoken::new(sentence, true));
        self.requested.extend(waiting);
        self.text_lost();
        (made, std::mem::take(&mut self.requested))
    }

    /// The turn is over: what was requested in it.
    pub(super) fn turn_over(&mut self) -> Vec<Spoken> {
        std::mem::take(&mut self.requested)
    }
}

/// The words of `text` that fit into the part `heard / whole` of it, for a sentence that was cut off.
pub(super) fn heard_words(text: &str, heard: f64, whole: f64) -> String {
    if heard <= 0.0 || whole <= 0.0 {
        return String::new();
    }
    let chars = text.chars().count();
    let part = ((heard / whole).min(1.0) * chars as f64) as usize;
    if part >= chars {
        return text.to_owned();
    }
    let head: String = text.chars().take(part).collect();
    // A word half spoken was not heard; where there are no spaces, characters are the words.
    match head.rfind(char::is_whitespace) {
        _ if text.chars().nth(part).is_some_and(char::is_whitespace) => head,
        Some(end) => head[..end].trim_end().to_owned(),
        None if text.contains(char::is_whitespace) => String::new(),
        None => head,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_next_sentence_is_requested_while_the_present_one_plays() {
        let now = Instant::now();
        let mut playback = Playback::default();
        let mut speech = Speech::new(SentenceRules::default());
        speech.text(Some("i"), "The first sentence. The second sentence. The third sentence. ");
        speech.text_end();
        let first = speech.next(now, &playback).unwrap().id;
        assert!(speech.next(now, &playback).is_none(), "one at a time");
        assert!(speech.audio(now, first) && !speech.audio(now, first + 1));
        playback.push(Owner::Sentence(first), Duration::from_secs(2));
        speech.complete(first, false);
        assert!(speech.next(now, &playback).is_none(), "nothing is heard yet");
        playback.position(Duration::from_millis(20), false);
        let second = speech.next(now, &playback).unwrap().id;
        playback.push(Owner::Sentence(second), Duration::from_secs(1));
        speech.complete(second, false);
        assert!(speech.next(now, &playback).is_none(), "the first one plays");
        playback.position(Duration::from_millis(2_020), false);
        assert_eq!(speech.next(now, &playback).unwrap().text, "The third sentence.");
        let (made, requested) = speech.abort();
        assert_eq!((made, requested.len(), speech.is_busy()), (Some(second + 1), 3, false));
        assert!(speech.complete(second + 1, false).is_none(), "stale");
    }

    #[test]
    fn a_sentence_that_gave_no_audio_does_not_hold_up_the_next() {
        let now = Instant::now();
        let mut speech = Speech::new(SentenceRules::default());
        speech.text(None, "The first sentence. ... The second sentence.");
        speech.text_end();
        let first = speech.next(now, &Playback::default()).unwrap().id;
        assert!(speech.complete(first, true).is_some());
        assert!(speech.next(now, &Playback::default()).is_some());
    }

    #[test]
    fn marks_tell_which_words_were_heard() {
        let sentence = Sentence { id: 1, item_id: None, text: "one  two, three".into(), recording: None };
        let mut spoken = Spoken::new(sentence, true);
        let ms = Duration::from_millis;
        assert_eq!(spoken.words_until(ms(500)), None, "nothing is known");
        // A long pause behind the comma, which no average knows of.
        let ends = [100, 200, 300, 400, 500, 600, 650, 2_000, 2_100, 2_200, 2_300, 2_400];
        spoken.marks = (1..).zip(ends).map(|(chars, end)| SpeechMark { chars, end: ms(end) }).collect();
        for (heard, words) in [
            (0, ""),
            (299, ""),
            (300, "one"),
            (649, "one"),
            (650, "one  two,"),
            (2_399, "one  two,"),
            (2_400, "one  two, three"),
            (9_999, "one  two, three"),
        ] {
            assert_eq!(spoken.words_until(ms(heard)).as_deref(), Some(words), "{heard}");
        }
        assert_eq!(whole_words("今天的天气", 2), "今天");
    }

    #[test]
    fn only_whole_words_count_as_heard() {
        let text = "one two three";
        for (heard, words) in
            [(0.0, ""), (0.2, ""), (0.3, "one"), (0.5, "one"), (0.6, "one two"), (1.0, text), (2.0, text)]
        {
            assert_eq!(heard_words(text, heard, 1.0), words, "{heard}");
        }
        assert_eq!(heard_words("今天的天气", 0.5, 1.0), "今天");
        assert_eq!(heard_words(text, 0.5, 0.0), "");
    }
}
