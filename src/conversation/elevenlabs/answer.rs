//! What the agent says, as far as it has come. The service gives its answers no ids, and says not always where one ends.
//!
//! Pure; owned by the engine.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wire::Alignment;
use crate::peer::SpeechMark;

/// Silence after the audio received so far, by the clock, that ends an answer.
const GRACE: Duration = Duration::from_millis(500);
/// The same where the end is not to be guessed: before the first audio, where the service says the end, and where more must not be heard.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers whose words are remembered, for a correction that comes late.
const REMEMBERED: usize = 8;

/// An answer in progress.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response_id: String,
    pub(super) item_id: String,
    /// Its words have come.
    pub(super) worded: bool,
    /// The agent has given it up, and learned that it is over: what still comes of it is of no use.
    pub(super) given_up: bool,
    /// It is said again though the caller has heard it: the agent's first words in a conversation that goes on.
    pub(super) unwanted: bool,
    audio: Duration,
    chars: usize,
    since: Option<Instant>,
    last: Instant,
}

impl Answer {
    /// Nothing has come yet. `number` tells it from every other answer.
    pub(super) fn new(now: Instant, number: u64) -> Self {
        Self {
            response_id: format!("answer_{number}"),
            item_id: format!("words_{number}"),
            worded: false,
            given_up: false,
            unwanted: false,
            audio: Duration::ZERO,
            chars: 0,
            since: None,
            last: now,
        }
    }

    /// Something of it has come.
    pub(super) const fn touch(&mut self, now: Instant) {
        self.last = now;
    }

    /// More of its audio; when its characters are spoken, from its beginning, if the service says so.
    pub(super) fn audio(&mut self, now: Instant, duration: Duration, alignment: Option<&Alignment>) -> Vec<SpeechMark> {
        let before = self.audio;
        self.since.get_or_insert(now);
        self.audio += duration;
        self.last = now;
        let Some(Alignment { chars, char_start_times_ms, char_durations_ms }) = alignment else { return Vec::new() };
        let times = char_start_times_ms.iter().zip(char_durations_ms);
        let mut marks = Vec::new();
        for (at, (text, (start, length))) in chars.iter().zip(times).enumerate() {
            let letters = text.chars().filter(|c| !c.is_whitespace()).count();
            self.chars += letters;
            // One mark for each word is enough.
            let ends = chars.get(at + 1).is_none_or(|next| next.chars().all(char::is_whitespace));
            if letters > 0 && ends {
                let end = before + Duration::from_millis(start.saturating_add(*length).min(3_600_000));
                marks.push(SpeechMark { chars: self.chars, end });
            }
        }
        marks
    }

    /// When it counts as over, if nothing more of it comes. `told`: the service says the end of its answers.
    pub(super) fn ends_at(&self, told: bool) -> Instant {
        match self.since {
            Some(since) if !told && !self.given_up => (since + self.audio).max(self.last) + GRACE,
            Some(since) => (since + self.audio).max(self.last) + PATIENCE,
            // Its audio is being made.
            None => self.last + PATIENCE,
        }
    }
}

/// The words of the last answers, and of what message they are.
#[derive(Debug, Default)]
pub(super) struct Said(VecDeque<(String, String)>);

impl Said {
    pub(super) fn note(&mut self, item_id: &str, text: &str) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((item_id.to_owned(), text.to_owned()));
    }

    /// The last message with these words.
    pub(super) fn item_of(&self, text: &str) -> Option<&str> {
        self.0.iter().rev().find(|(_, said)| said.trim() == text.trim()).map(|(item_id, _)| item_id.as_str())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_over_once_its_audio_would_have_been_heard() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut answer = Answer::new(now, 1);
        assert_eq!(answer.ends_at(false), now + PATIENCE, "words come before their audio");
        answer.audio(now, ms(2_000), None);
        answer.audio(now + ms(100), ms(1_000), None);
        assert_eq!(answer.ends_at(false), now + ms(3_000) + GRACE);
        answer.touch(now + ms(4_000));
        assert_eq!(answer.ends_at(false), now + ms(4_000) + GRACE);
        assert_eq!(answer.ends_at(true), now + ms(4_000) + PATIENCE);
    }

    #[test]
    fn each_word_has_a_mark_on_the_time_of_the_whole_answer() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut answer = Answer::new(now, 1);
        let of = |text: &str| Alignment {
            chars: text.chars().map(String::from).collect(),
            char_start_times_ms: (0..text.len() as u64).map(|at| at * 100).collect(),
            char_durations_ms: vec![100; text.len()],
        };
        let first = answer.audio(now, ms(600), Some(&of("Hi you")));
        assert_eq!(first, [SpeechMark { chars: 2, end: ms(200) }, SpeechMark { chars: 5, end: ms(600) }]);
        assert_eq!(answer.audio(now, ms(300), Some(&of(" a."))), [SpeechMark { chars: 7, end: ms(900) }]);
        // Lists of other lengths are as long as the shortest.
        let short = Alignment { char_durations_ms: vec![100], ..of("abc") };
        assert_eq!(answer.audio(now, ms(100), Some(&short)).len(), 0);
    }

    #[test]
    fn a_correction_finds_the_last_message_with_its_words() {
        let mut said = Said::default();
        for n in 0..20 {
            said.note(&format!("words_{n}"), if n % 2 == 0 { "Yes. " } else { "No." });
        }
        assert_eq!((said.item_of("Yes."), said.item_of("Perhaps.")), (Some("words_18"), None));
    }
}
