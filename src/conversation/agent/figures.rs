//! The numbers of each turn: how long the caller waited, and for whom; how soon an interruption was silence; what was billed.
//!
//! The caller's last sound is found in their audio, by its level, when the engine or the module says that they have stopped: services
//! state different moments, and their events come late. What counts as sound is at most 25 dB below the loudest of the last
//! ten seconds.
//!
//! Pure; owned by the agent. Holds ten seconds of levels, 1 kB, and the turn in progress.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Event;
use super::outputs::Outputs;
use crate::peer::{TalkFigures, TurnFigures, TurnReport, Usage};
use crate::units::{Encoding, Law};

/// Levels that are kept: ten seconds.
const KEPT: usize = 1_000;
/// Duration of one level.
const BLOCK: Duration = Duration::from_millis(10);
/// Audio that the media side takes at once; it counts as heard when it is taken.
const FRAME: Duration = Duration::from_millis(20);
/// Quieter than the loudest by more than this is no sound of the caller: 24 dB, as the codes of G.711 have it, 6 dB in 16.
const RANGE: u8 = 64;
/// A line with a lower peak is silent: 50 dB below full scale.
const SILENT: u8 = 13;

/// A turn of the agent that is not over.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Unfinished {
    figures: TurnFigures,
    speech_asked: Option<Instant>,
    interrupted: Option<Instant>,
}

/// The numbers of one conversation.
#[derive(Debug)]
pub(super) struct Figures {
    encoding: Encoding,
    /// Bytes of one level.
    block: usize,
    levels: VecDeque<u8>,
    /// The caller's last sound, once they have stopped.
    last_sound: Option<Instant>,
    /// The same of the turn that is to be answered next.
    answering: Option<Instant>,
    /// The model was asked, and nothing of its response has come.
    asked: Option<Instant>,
    turn: Unfinished,
    /// Something of the turn has been heard.
    heard: bool,
    talk: TalkFigures,
    /// Answers and their sum, for the mean.
    answers: (u32, Duration),
    /// What had been billed at the end of the turn before.
    usage: Usage,
}

impl Figures {
    /// For caller's audio in this form.
    pub(super) fn new(encoding: Encoding, bytes_per_second: usize) -> Self {
        let sample = encoding.sample_bytes();
        Self {
            encoding,
            block: (bytes_per_second / 100 / sample).max(1) * sample,
            levels: VecDeque::new(),
            last_sound: None,
            answering: None,
            asked: None,
            turn: Unfinished::default(),
            heard: false,
            talk: TalkFigures::default(),
            answers: (0, Duration::ZERO),
            usage: Usage::default(),
        }
    }

    /// Audio of the caller. Some 100 ns for 20 ms of G.711.
    pub(super) fn captured(&mut self, audio: &[u8]) {
        for block in audio.chunks(self.block) {
            if self.levels.len() == KEPT {
                self.levels.pop_front();
            }
            self.levels.push_back(peak(self.encoding, block));
        }
    }

    /// The caller has stopped, as somebody hears.
    pub(super) fn caller_stopped(&mut self, now: Instant) {
        let loudest = self.levels.iter().copied().max().unwrap_or_default();
        let since = self.levels.iter().rev().position(|level| *level > loudest.saturating_sub(RANGE));
        self.last_sound = match since {
            Some(blocks) if loudest > SILENT => now.checked_sub(BLOCK * blocks as u32),
            _ => Some(now),
        };
    }

    /// The caller's turn is to be answered.
    pub(super) fn turn_counts(&mut self) {
        self.answering = self.last_sound.take().or(self.answering);
    }

    /// The model has been asked for a response, or will give one by itself.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Something of a response has come.
    pub(super) fn model_came(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            self.turn.figures.model.get_or_insert(now.saturating_duration_since(asked));
        }
    }

    /// Speech of a sentence has been asked for.
    pub(super) fn speech_asked(&mut self, now: Instant) {
        self.turn.speech_asked.get_or_insert(now);
    }

    /// Some of it has come.
    pub(super) fn speech_came(&mut self, now: Instant) {
        if let Some(asked) = self.turn.speech_asked {
            self.turn.figures.speech.get_or_insert(now.saturating_duration_since(asked));
        }
    }

    /// The service says how long its own voice took.
    pub(super) fn speech_took(&mut self, time: Duration) {
        self.turn.figures.speech.get_or_insert(time);
    }

    /// The caller has heard so much of the turn.
    pub(super) fn heard(&mut self, now: Instant, length: Duration) {
        if length.is_zero() || std::mem::replace(&mut self.heard, true) {
            return;
        }
        let first = now.checked_sub(length.saturating_sub(FRAME));
        if let (Some(last_sound), Some(first)) = (self.answering.take(), first) {
            let answer = first.saturating_duration_since(last_sound);
            self.turn.figures.answer = Some(answer);
            self.answers = (self.answers.0 + 1, self.answers.1 + answer);
            let ms = |time: Duration| time.as_millis() as u64;
            self.talk.answer_ms = Some(ms(self.answers.1 / self.answers.0));
            self.talk.answer_max_ms = self.talk.answer_max_ms.max(Some(ms(answer)));
        }
    }

    /// Playback that speech of the caller had paused goes on.
    pub(super) fn went_on(&mut self) {
        self.talk.false_interruptions += 1;
    }

    /// A function is called.
    pub(super) fn called(&mut self) {
        self.talk.actions += 1;
    }

    /// The turn is interrupted; it is over once it is known how much was heard.
    pub(super) fn interrupted(&mut self, now: Instant) -> Unfinished {
        self.turn.interrupted = Some(now);
        self.take()
    }

    /// The turn in progress, which is over.
    pub(super) fn take(&mut self) -> Unfinished {
        self.heard = false;
        std::mem::take(&mut self.turn)
    }

    /// A turn is over, and so much of it was heard. `silent`: when an interruption was silence.
    pub(super) fn over(&mut self, turn: Unfinished, heard: Duration, silent: Option<Instant>, out: &mut Outputs) {
        let used = out.usage();
        let usage = used.since(&self.usage);
        self.usage = used;
        let silence = turn.interrupted.and_then(|at| Some(silent?.saturating_duration_since(at)));
        let interrupted = turn.interrupted.is_some();
        self.talk.turns += 1;
        self.talk.interruptions += u64::from(interrupted);
        let figures = TurnFigures { silence, heard, interrupted, usage, ..turn.figures };
        out.event(Event::Turn(Box::new(TurnReport { figures, talk: self.talk, usage: used })));
    }

    /// Of all turns so far.
    pub(super) const fn talk(&self) -> TalkFigures {
        self.talk
    }
}

/// The loudest sample, as the magnitude that G.711 codes it with: 16 steps for 6 dB, 127 at most.
fn peak(encoding: Encoding, bytes: &[u8]) -> u8 {
    let pairs = || bytes.as_chunks::<2>().0.iter().copied();
    let peak = match encoding {
        Encoding::G711(Law::Mu) => return bytes.iter().map(|byte| !byte & 0x7f).max().unwrap_or_default(),
        Encoding::G711(Law::A) => return bytes.iter().map(|byte| (byte ^ 0x55) & 0x7f).max().unwrap_or_default(),
        Encoding::S16Le => pairs().map(|pair| i16::from_le_bytes(pair).unsigned_abs()).max(),
        Encoding::S16Be => pairs().map(|pair| i16::from_be_bytes(pair).unsigned_abs()).max(),
    };
    // As in the µ-law: 14 bits with a bias of 33.
    let biased = (u32::from(peak.unwrap_or_default()) >> 2).min(8_158) + 33;
    let segment = biased.ilog2() - 5;
    (segment * 16 + (biased >> (segment + 1) & 15)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Law;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_callers_last_sound_is_found_before_silence_and_noise() {
        let mut figures = Figures::new(Encoding::S16Le, 48_000);
        let sound = |level: i16, ms: usize| level.to_le_bytes().repeat(24 * ms);
        let now = Instant::now();
        for (level, length) in [(0, 500), (8_000, 600), (300, 730)] {
            sound(level, length).chunks(960).for_each(|message| figures.captured(message));
        }
        figures.caller_stopped(now);
        assert_eq!(figures.last_sound, now.checked_sub(ms(730)));
        let mut quiet = Figures::new(Encoding::G711(Law::Mu), 8_000);
        quiet.captured(&[0xff; 8_000]);
        quiet.caller_stopped(now);
        assert_eq!(quiet.last_sound, Some(now), "nothing was loud");
    }
}
