//! The caller's turns where the module finds them: what of their audio the service gets, and when.
//!
//! ```text
//! streams: begin ─► activityStart, audio… ─ commit ─► activityEnd
//! else:    begin ─► kept ─ commit ─► activityStart, all of it, activityEnd
//! ```
//! The service answers every turn that it gets and cannot be told to forget one. So where not every turn counts, it gets one only
//! when it does. Audio that belongs to no turn is not sent.
//!
//! Pure. At most [`LONGEST`] of a turn is kept; what is longer loses its beginning.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::engine::InputFormat;

/// Longest turn that is kept. The agent commits a turn after this time.
const LONGEST: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Start,
    Audio(Vec<u8>),
    End,
}

#[derive(Debug)]
enum Turn {
    /// There is none.
    None,
    /// The service gets it.
    Sent,
    /// It is kept.
    Kept(VecDeque<u8>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Activity {
    format: InputFormat,
    streams: bool,
    /// The module hears the caller.
    speaking: bool,
    turn: Turn,
    /// When the session became ready: what waited for it comes then.
    ready: Option<Instant>,
    /// The caller was speaking when it did.
    goes_on: bool,
}

impl Activity {
    pub(super) const fn new(format: InputFormat, streams: bool) -> Self {
        Self { format, streams, speaking: false, turn: Turn::None, ready: None, goes_on: false }
    }

    /// The caller begins or stops.
    pub(super) fn speech(&mut self, speaking: bool) {
        self.speaking = speaking;
    }

    /// A session is there. A turn that the caller is in goes on in it.
    pub(super) fn ready(&mut self, now: Instant) {
        self.ready = Some(now);
        self.turn = Turn::None;
        self.goes_on = self.speaking;
    }

    /// The session is gone, and what it had of a turn.
    pub(super) fn gone(&mut self) {
        self.turn = Turn::None;
        self.ready = None;
        self.goes_on = false;
    }

    /// A turn begins; `before` is what came before it was noticed.
    pub(super) fn begin(&mut self, before: &[u8]) -> Vec<Step> {
        (self.ready, self.goes_on) = (None, false);
        if !self.streams {
            self.turn = Turn::Kept(before.iter().copied().collect());
            return Vec::new();
        }
        let open = matches!(std::mem::replace(&mut self.turn, Turn::Sent), Turn::Sent);
        let audio = (!before.is_empty()).then(|| Step::Audio(before.to_vec()));
        (!open).then_some(Step::Start).into_iter().chain(audio).collect()
    }

    /// More of the caller's audio: what is to be done now.
    pub(super) fn audio(&mut self, now: Instant, audio: &[u8]) -> Vec<Step> {
        let mut steps = if self.goes_on { self.begin(&[]) } else { Vec::new() };
        if self.ready.is_some_and(|ready| ready != now) {
            self.ready = None;
        }
        match &mut self.turn {
            Turn::Sent => steps.push(Step::Audio(audio.to_vec())),
            Turn::Kept(kept) if self.speaking || self.ready.is_some() => {
                kept.extend(audio);
                let over = kept.len().saturating_sub(self.format.bytes_in(LONGEST));
                kept.drain(..over);
            }
            // It was over and did not count.
            Turn::Kept(_) => self.turn = Turn::None,
            // A turn may have ended while there was no session.
            Turn::None if self.ready.is_some() => self.turn = Turn::Kept(audio.iter().copied().collect()),
            Turn::None => {}
        }
        steps
    }

    /// The turn is over and counts; nothing where there is none.
    pub(super) fn commit(&mut self) -> Vec<Step> {
        let mut steps = if self.goes_on { self.begin(&[]) } else { Vec::new() };
        self.ready = None;
        match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::None => {}
            Turn::Sent => steps.push(Step::End),
            Turn::Kept(kept) => {
                let kept = Vec::from(kept);
                let pieces = kept.chunks(self.format.bytes_in(Duration::from_millis(200)));
                let pieces = pieces.map(|piece| Step::Audio(piece.to_vec()));
                steps.extend([Step::Start].into_iter().chain(pieces).chain([Step::End]));
            }
        }
        steps
    }

    /// Whether the service takes the caller for speaking.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.turn, Turn::Sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Encoding, SampleRate};

    const FORMAT: InputFormat = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };

    fn bytes(steps: &[Step]) -> usize {
        let length = |step: &Step| if let Step::Audio(audio) = step { audio.len() } else { 0 };
        steps.iter().map(length).sum()
    }

    #[test]
    fn a_turn_streams_between_its_beginning_and_its_end() {
        let (mut activity, now) = (Activity::new(FORMAT, true), Instant::now());
        assert_eq!(activity.audio(now, &[0; 640]), [], "silence is of no turn");
        activity.speech(true);
        assert_eq!(activity.begin(&[1; 320]), [Step::Start, Step::Audio(vec![1; 320])]);
        assert_eq!(activity.audio(now, &[2; 640]), [Step::Audio(vec![2; 640])]);
        activity.speech(false);
        assert_eq!(activity.commit(), [Step::End]);
        assert_eq!((activity.commit(), activity.audio(now, &[3; 640])), (vec![], vec![]));
    }

    #[test]
    fn a_turn_that_does_not_count_is_never_sent() {
        let (mut activity, now) = (Activity::new(FORMAT, false), Instant::now());
        for counts in [false, true] {
            activity.speech(true);
            assert_eq!(activity.begin(&[1; 320]), []);
            assert_eq!(activity.audio(now, &[2; 6_400]), []);
            activity.speech(false);
            if counts {
                let steps = activity.commit();
                assert_eq!((steps.first(), steps.last(), bytes(&steps)), (Some(&Step::Start), Some(&Step::End), 6_720));
            }
            assert_eq!(activity.audio(now, &[3; 640]), []);
            assert_eq!(activity.commit(), []);
        }
    }

    #[test]
    fn a_turn_goes_on_in_the_next_session_or_is_made_up_for() {
        let (mut activity, now) = (Activity::new(FORMAT, true), Instant::now());
        activity.speech(true);
        activity.begin(&[]);
        activity.gone();
        activity.ready(now);
        assert_eq!(activity.audio(now, &[1; 2]), [Step::Start, Step::Audio(vec![1; 2])], "they are still speaking");
        assert_eq!(activity.commit(), [Step::End]);
        // They spoke and stopped while there was no session.
        activity.speech(false);
        activity.gone();
        activity.ready(now);
        for byte in [1, 2] {
            assert_eq!(activity.audio(now, &[byte; 640]), []);
        }
        assert_eq!(bytes(&activity.commit()), 1_280);
        // It was no turn.
        activity.ready(now);
        activity.audio(now, &[1; 640]);
        assert_eq!(activity.audio(now + Duration::from_millis(20), &[2; 640]), []);
        assert_eq!(activity.commit(), []);
    }

    #[test]
    fn a_turn_without_an_end_keeps_its_last_minute() {
        let (mut activity, now) = (Activity::new(FORMAT, false), Instant::now());
        activity.speech(true);
        activity.begin(&[]);
        for second in 0..70 {
            activity.audio(now, &vec![second; 32_000]);
        }
        let steps = activity.commit();
        assert_eq!(bytes(&steps), 60 * 32_000);
        assert!(matches!(&steps[1], Step::Audio(audio) if audio[0] == 10));
    }
}
