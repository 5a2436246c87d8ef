//! The caller's audio of one turn, from a little before their first word.
//!
//! Pure. At most [`LONGEST`] of a turn is kept; what is longer loses its beginning.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::engine::InputFormat;

/// Audio kept from before the moment at which speech was detected: a detection takes some of a word.
const BEFORE: Duration = Duration::from_millis(800);
/// Longest turn. The agent commits a turn after this time.
const LONGEST: Duration = Duration::from_secs(60);
/// Least audio that may have a word in it.
const LEAST: Duration = Duration::from_millis(100);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Turn {
    format: InputFormat,
    speaking: bool,
    /// What came before the speech.
    before: VecDeque<u8>,
    /// Since the speech began.
    audio: VecDeque<u8>,
}

impl Turn {
    pub(super) const fn new(format: InputFormat) -> Self {
        Self { format, speaking: false, before: VecDeque::new(), audio: VecDeque::new() }
    }

    /// The caller begins or stops, as the module's detection finds.
    pub(super) fn speech(&mut self, speaking: bool) {
        self.speaking = speaking;
        if speaking {
            self.audio.append(&mut self.before);
        }
    }

    /// The next audio.
    pub(super) fn push(&mut self, audio: &[u8]) {
        let (kept, most) = if self.speaking { (&mut self.audio, LONGEST) } else { (&mut self.before, BEFORE) };
        kept.extend(audio);
        let over = kept.len().saturating_sub(self.format.bytes_in(most));
        kept.drain(..over);
    }

    /// The turn is over: its audio, `None` if there is none that could have a word in it.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let audio: Vec<u8> = std::mem::take(&mut self.audio).into();
        (audio.len() >= self.format.bytes_in(LEAST)).then_some(audio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Encoding, SampleRate};

    const FORMAT: InputFormat = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };

    #[test]
    fn a_turn_has_a_little_of_what_came_before_it() {
        let mut turn = Turn::new(FORMAT);
        for value in 0..10 {
            turn.push(&[value; 6_400]);
        }
        turn.speech(true);
        turn.push(&[77; 6_400]);
        turn.speech(false);
        turn.push(&[88; 640]);
        let audio = turn.take().unwrap_or_default();
        // 800 ms of silence, 200 ms of speech; what follows the speech is not of it.
        assert_eq!((audio.len(), audio.first(), audio.last()), (32_000, Some(&6), Some(&77)));
        assert_eq!(turn.take(), None, "a turn is taken once");
    }

    #[test]
    fn a_turn_without_an_end_keeps_its_last_minute() {
        let mut turn = Turn::new(FORMAT);
        turn.speech(true);
        for second in 0..70 {
            turn.push(&vec![second; 32_000]);
        }
        let audio = turn.take().unwrap_or_default();
        assert_eq!((audio.len(), audio.first()), (60 * 32_000, Some(&10)));
    }
}
