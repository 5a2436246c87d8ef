//! Whether speech of the caller interrupts the agent: playback pauses at the first sign of it and goes on where it stopped, unless
//! words follow.
//!
//! What counts as words is in the transcript of the caller's turn, if the engine gives one; otherwise the length of their speech
//! decides, which [`Hearing`](super::hearing::Hearing) knows. A transcript comes after the turn, and may come after the playback
//! went on: its words interrupt nevertheless. A turn of the caller that began before the agent spoke is none of this.
//!
//! Pure; owned by the agent. Bounded: one pause, [`KEPT`] turns, [`LONGEST_TEXT`] of a transcript in pieces.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::BargeInCause;
use super::remarks::{Remarks, Said};

/// Turns of the caller whose transcripts may still come.
const KEPT: usize = 16;
/// Bytes of a transcript in pieces: what is longer than this is no remark.
const LONGEST_TEXT: usize = 1_000;

/// The caller may be interrupting.
#[derive(Debug)]
struct Pause {
    cause: BargeInCause,
    since: Instant,
    /// Nobody hears the caller any more, since then.
    quiet: Option<Instant>,
    /// What they said, if that does not interrupt.
    remark: Option<String>,
}

/// A pause that is over because it was no interruption.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FalseInterruption {
    pub(super) cause: BargeInCause,
    /// How long playback stood still.
    pub(super) paused: Duration,
    /// The words of the list that the caller said; empty if none are known.
    pub(super) text: String,
}

/// A turn of the caller.
#[derive(Debug)]
struct CallerTurn {
    item_id: String,
    /// Its words decide whether it interrupts.
    open: bool,
}

/// What the caller's words mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judged {
    /// Nothing.
    Nothing,
    /// They interrupt. `over`: the turn is over, and is to be answered.
    Interrupts { cause: BargeInCause, over: bool },
}

/// The judgement of one conversation.
#[derive(Debug)]
pub(super) struct Judgement {
    /// How long playback waits for words once nobody hears the caller; zero: there is no judgement.
    wait: Duration,
    remarks: Remarks,
    transcribed: bool,
    pause: Option<Pause>,
    /// The cause of the last pause, for words that come late.
    last_cause: BargeInCause,
    turns: VecDeque<CallerTurn>,
    /// Our own commits that are not confirmed yet: whether their words decide.
    commits: VecDeque<bool>,
    /// The transcript that comes in pieces, and of what.
    pieces: (String, String),
}

impl Judgement {
    pub(super) fn new(wait: Duration, remarks: Remarks, transcribed: bool) -> Self {
        Self {
            wait,
            remarks,
            transcribed: transcribed && !wait.is_zero(),
            pause: None,
            last_cause: BargeInCause::EngineVad,
            turns: VecDeque::new(),
            commits: VecDeque::new(),
            pieces: Default::default(),
        }
    }

    /// The caller begins to speak while the agent does: whether playback is to be paused, which it may be already.
    pub(super) fn pause(&mut self, now: Instant, cause: BargeInCause) -> bool {
        self.last_cause = cause;
        match &mut self.pause {
            Some(pause) => {
                (pause.quiet, pause.remark) = (None, None);
                false
            }
            None => {
                self.pause = Some(Pause { cause, since: now, quiet: None, remark: None });
                true
            }
        }
    }

    /// Whether the words of a turn that does not count by itself decide.
    pub(super) fn goes_by_words(&self) -> bool {
        self.transcribed
    }

    /// We commit a turn of the caller; `open`: its words decide.
    pub(super) fn commit(&mut self, open: bool) {
        if self.commits.len() == KEPT {
            self.commits.pop_front();
        }
        self.commits.push_back(open);
    }

    /// The service has confirmed or refused our oldest commit: whether its words decide.
    pub(super) fn commit_settled(&mut self) -> bool {
        self.commits.pop_front().unwrap_or_default()
    }

    /// A turn of the caller is part of the conversation; `open`: its words decide.
    pub(super) fn committed(&mut self, item_id: &str, open: bool) {
        if self.wait.is_zero() || self.turns.iter().any(|turn| turn.item_id == item_id) {
            return;
        }
        if self.turns.len() == KEPT {
            self.turns.pop_front();
        }
        self.turns.push_back(CallerTurn { item_id: item_id.to_owned(), open });
    }

    /// Words of the caller: what comes next, or with `whole` everything.
    pub(super) fn words(&mut self, item_id: &str, text: &str, whole: bool) -> Judged {
        let turn = self.turns.iter_mut().find(|turn| turn.item_id == item_id);
        let over = turn.is_some();
        let open = turn.as_ref().map_or(self.pause.is_some(), |turn| turn.open);
        if !self.transcribed || !open {
            return Judged::Nothing;
        }
        if self.pieces.0 != item_id {
            self.pieces = (item_id.to_owned(), String::new());
        }
        if whole {
            text.clone_into(&mut self.pieces.1);
        } else {
            self.pieces.1.push_str(text);
        }
        let said = match self.pieces.1.len() {
            0..=LONGEST_TEXT => self.remarks.judge(&self.pieces.1, whole),
            _ => Said::Words,
        };
        if said == Said::Unknown {
            return Judged::Nothing;
        }
        let text = std::mem::take(&mut self.pieces).1;
        if let Some(turn) = turn {
            turn.open = false;
        }
        match said {
            Said::Words => {
                let cause = self.pause.as_ref().map_or(self.last_cause, |pause| pause.cause);
                Judged::Interrupts { cause, over }
            }
            _ => {
                if let Some(pause) = &mut self.pause {
                    pause.remark = Some(text.trim().to_owned());
                }
                Judged::Nothing
            }
        }
    }

    /// The words of a turn stay unknown: it is taken for one that interrupts.
    pub(super) fn words_unknown(&mut self, item_id: &str) -> Judged {
        let Some(turn) = self.turns.iter_mut().find(|turn| turn.item_id == item_id && turn.open) else {
            return Judged::Nothing;
        };
        turn.open = false;
        Judged::Interrupts { cause: self.last_cause, over: true }
    }

    /// A turn whose words would decide has none.
    pub(super) fn no_words(&mut self) {
        if let Some(pause) = &mut self.pause {
            pause.remark = Some(String::new());
        }
    }

    /// After every input: whether somebody `hears` the caller. Gives the pause that was no interruption, once that is certain.
    pub(super) fn follow(&mut self, now: Instant, hears: bool) -> Option<FalseInterruption> {
        let pause = self.pause.as_mut()?;
        if hears {
            pause.quiet = None;
            return None;
        }
        let quiet = *pause.quiet.get_or_insert(now);
        if pause.remark.is_none() && now < quiet + self.wait {
            return None;
        }
        self.end(now)
    }

    /// The pause is over, whatever it was.
    pub(super) fn end(&mut self, now: Instant) -> Option<FalseInterruption> {
        let Pause { cause, since, remark, .. } = self.pause.take()?;
        let text = remark.unwrap_or_default();
        Some(FalseInterruption { cause, paused: now.saturating_duration_since(since), text })
    }

    /// Whether playback is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// The session is gone, and with it the transcripts that were to come.
    pub(super) fn session_gone(&mut self) {
        self.turns.clear();
        self.commits.clear();
    }

    /// When playback goes on unless words come.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.pause.as_ref()?.quiet? + self.wait)
    }
}
