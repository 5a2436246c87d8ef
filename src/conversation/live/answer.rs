//! What the model says, as far as it has come: from its first sound or word until it is silent for a while.
//!
//! Pure; owned by the engine. The words of one answer are kept until it is over, at most [`MOST_WORDS`] of their end.

use std::time::{Duration, Instant};

/// Silence that ends what one side says: fragments of a transcript come every 200 ms, and pauses in speech are shorter.
pub(super) const GAP: Duration = Duration::from_millis(800);
/// The same by the clock: where no audio comes, or none to words.
const PATIENCE: Duration = Duration::from_secs(3);
/// Words of the caller's over an answer are the reason that it ends if they come at most so long before its last sound, or later.
const OVERLAP: Duration = Duration::from_millis(1_500);
/// Bytes of an answer's words by which its end is judged.
const MOST_WORDS: usize = 256;

/// An answer in progress.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response_id: String,
    pub(super) item_id: String,
    /// It has been given up: the caller hears no more of it.
    pub(super) muted: bool,
    /// Something has happened since that the model answers: what it says after a short pause is another answer.
    pub(super) superseded: bool,
    /// When there was a sound of it last.
    sounded: Option<Instant>,
    /// When there was a sound or a word of it last.
    last: Instant,
    /// When the caller spoke over it last.
    spoken_over: Option<Instant>,
    /// The end of its words.
    words: String,
}

/// How an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    /// The model has said all.
    Whole,
    /// The caller has spoken over it, and the model has fallen silent in the middle of a sentence.
    Interrupted,
}

impl Answer {
    /// Nothing has come yet. `number` tells it from every other answer.
    pub(super) fn new(now: Instant, number: u64) -> Self {
        Self {
            response_id: format!("answer_{number}"),
            item_id: format!("words_{number}"),
            muted: false,
            superseded: false,
            sounded: None,
            last: now,
            spoken_over: None,
            words: String::new(),
        }
    }

    /// A sound of it.
    pub(super) const fn sound(&mut self, now: Instant) {
        (self.sounded, self.last) = (Some(now), now);
    }

    /// Words of it.
    pub(super) fn words(&mut self, now: Instant, text: &str) {
        self.last = now;
        self.words.push_str(text);
        let surplus = self.words.len().saturating_sub(MOST_WORDS);
        self.words.drain(..self.words.ceil_char_boundary(surplus));
    }

    /// The caller speaks while the model does.
    pub(super) fn spoken_over(&mut self, now: Instant) {
        self.spoken_over = self.sounded.and(Some(now));
    }

    /// Whether it is over after so much silence in the stream.
    pub(super) fn ends(&self, quiet: Duration) -> Option<Ends> {
        let sounded = self.sounded?;
        let over = self.spoken_over.is_some_and(|at| at + OVERLAP >= sounded) && is_cut_off(&self.words);
        match () {
            () if self.muted && self.superseded => Some(Ends::Whole),
            () if over && !self.muted => Some(Ends::Interrupted),
            () => (quiet >= GAP).then_some(Ends::Whole),
        }
    }

    /// When it is over by the clock, if nothing more of it comes.
    pub(super) fn ends_at(&self) -> Instant {
        self.last + PATIENCE
    }
}

/// Whether words end within a sentence.
fn is_cut_off(words: &str) -> bool {
    let end = words.trim_end().trim_end_matches(['"', '\'', '”', '’', ')', '»']).chars().last();
    end.is_some_and(|end| !matches!(end, '.' | '!' | '?' | '…' | ':' | '。' | '！' | '？' | '।' | '؟'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_answer_ends_with_silence_and_not_with_a_pause() {
        let now = Instant::now();
        let mut answer = Answer::new(now, 1);
        answer.words(now, "Well, ");
        assert_eq!((answer.ends(ms(5_000)), answer.ends_at()), (None, now + PATIENCE), "words come before their sound");
        answer.sound(now + ms(400));
        assert_eq!((answer.ends(ms(700)), answer.ends(ms(800))), (None, Some(Ends::Whole)));
        assert_eq!(answer.ends_at(), now + ms(3_400));
    }

    #[test]
    fn an_answer_that_stops_within_a_sentence_is_interrupted() {
        let now = Instant::now();
        let ends = |words: &str, over: Option<u64>| {
            let mut answer = Answer::new(now, 1);
            answer.sound(now);
            answer.words(now, words);
            over.into_iter().for_each(|at| answer.spoken_over(now + ms(at)));
            answer.sound(now + ms(5_000));
            answer.ends(ms(220))
        };
        assert_eq!(ends("It is a long", Some(4_800)), Some(Ends::Interrupted));
        assert_eq!(ends("It is a long", Some(5_200)), Some(Ends::Interrupted), "transcripts come late");
        assert_eq!(ends("It is a long", Some(3_000)), None, "the model has talked on over a remark");
        assert_eq!(ends("It is a long", None), None);
        assert_eq!(ends("It is “long.” ", Some(4_800)), None);
        assert_eq!(ends("", Some(4_800)), None, "nothing is known of its words");
    }

    #[test]
    fn an_answer_given_up_ends_sooner_once_it_is_superseded() {
        let now = Instant::now();
        let mut answer = Answer::new(now, 1);
        answer.sound(now);
        answer.muted = true;
        assert_eq!(answer.ends(ms(500)), None);
        answer.superseded = true;
        assert_eq!(answer.ends(ms(220)), Some(Ends::Whole));
    }

    #[test]
    fn of_long_words_the_end_is_kept() {
        let mut answer = Answer::new(Instant::now(), 1);
        for _ in 0..200 {
            answer.words(Instant::now(), "日本語 and more ");
        }
        assert!(answer.words.len() <= MOST_WORDS && answer.words.ends_with("and more "));
    }
}
