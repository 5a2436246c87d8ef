//! The caller's side of the policy: speech and keys, what counts as a turn, and interruptions.

use std::time::Instant;

use super::super::hearing::{LONGEST_TURN, Onset};
use super::super::interruption::Told;
use super::super::judgement::{FalseInterruption, Judged};
use super::super::keypad::Keypad;
use super::super::pending::PendingInterruption;
use super::super::{BargeInCause, Component, Event, Speaker};
use super::Agent;
use crate::conversation::engine::{Command, TurnTaking};
use crate::peer;

impl Agent {
    /// Tells the operator what somebody said.
    pub(super) fn transcript(&mut self, speaker: Speaker, item_id: String, text: String, whole: bool) {
        let previous_item_id = self.history.before(&item_id).map(str::to_owned);
        self.out.event(Event::Transcript { speaker, item_id, previous_item_id, text, whole, heard_text: None });
    }

    /// The engine hears the caller begin.
    pub(super) fn speech_started(&mut self, now: Instant, start_ms: Option<u64>) {
        self.trouble = false;
        self.idle.broken();
        if self.config.engine.full_duplex {
            return self.hearing.engine_began_early(now);
        }
        self.turns.speech_started();
        if start_ms.is_some_and(|start| start < self.early_ms) {
            self.hearing.engine_began_early(now);
        } else {
            let onset = self.hearing.engine_began(now, self.is_saying());
            self.begin_speech(now, onset);
        }
    }

    /// The caller begins to speak, and this is what it means.
    pub(super) fn begin_speech(&mut self, now: Instant, onset: Onset) {
        match onset {
            Onset::Nothing => {}
            Onset::Pauses(cause) => {
                if self.judgement.pause(now, cause) {
                    self.out.push(peer::Output::Hold(true));
                }
            }
            Onset::Interrupts(cause) => {
                self.interrupt(now, cause);
            }
        }
    }

    /// What the caller's words mean for a pause, or for playback that went on too soon.
    pub(super) fn judged(&mut self, now: Instant, judged: Judged) {
        let Judged::Interrupts { cause, over } = judged else { return };
        self.interrupt(now, cause);
        if over {
            self.figures.turn_counts();
            self.turns.want_answer();
        } else {
            self.hearing.words();
        }
    }

    /// Playback that waits goes on, unless an interruption has ended it.
    pub(super) fn go_on(&mut self, ended: Option<FalseInterruption>, tell: bool) {
        let Some(FalseInterruption { cause, paused, text }) = ended else { return };
        self.out.push(peer::Output::Hold(false));
        if tell {
            self.figures.went_on();
            self.out.event(Event::FalseInterruption { cause, paused, text });
        }
    }

    pub(super) fn committed(&mut self, now: Instant, item_id: &str, previous: Option<&str>) {
        self.hearing.turn_over();
        let answer = self.turns.answer().and_then(|response| response.items.first());
        self.history.caller_turn(item_id, previous, answer.map(String::as_str));
        match self.config.turns {
            // Nobody has to answer it.
            TurnTaking::Engine { .. } if self.config.engine.full_duplex => {
                if self.turn_counts() {
                    self.figures.turn_counts();
                    self.figures.asked(now);
                }
            }
            TurnTaking::Engine { responds, .. } => {
                let counts = self.turn_counts();
                self.judgement.committed(item_id, !counts && self.judgement.goes_by_words());
                if counts || responds {
                    self.figures.turn_counts();
                }
                if responds {
                    self.figures.asked(now);
                }
                self.turns.committed(now, item_id, responds, counts);
            }
            TurnTaking::Local => {
                let open = self.judgement.commit_settled();
                self.judgement.committed(item_id, open);
                self.turns.commit_settled(!open);
            }
        }
    }

    /// Whether the caller's turn, which ends now, is to be answered. A short remark during what the agent says is not: an answer
    /// to a "mm-hm" would come behind its words.
    pub(super) fn turn_counts(&mut self) -> bool {
        self.hearing.take_counts() || !self.is_saying()
    }

    /// Whether the agent speaks, or is about to answer what the caller has said until now.
    pub(super) fn is_saying(&self) -> bool {
        self.utterance.audible || self.speech.is_busy() || self.turns.is_answering()
    }

    pub(super) fn local_speech(&mut self, now: Instant, speaking: bool) {
        if !self.hearing.local_changed(now, speaking) {
            return;
        }
        if speaking {
            self.idle.broken();
            if self.config.turns == TurnTaking::Local && self.link.is_ready() {
                // What came since the last turn is no part of this one: silence, echo, remarks.
                let most = self.config.pre_roll.as_millis() as usize * self.config.caller_bytes_per_second / 1_000;
                let audio = self.caller.begin_turn(most);
                self.out.command(Command::BeginTurn { audio });
            }
            let onset = self.hearing.local_began(self.is_saying());
            self.begin_speech(now, onset);
            return;
        }
        self.hearing.local_stopped();
        self.figures.caller_stopped(now);
        match self.config.turns {
            TurnTaking::Local => {
                let counts = self.turn_counts();
                if counts || self.judgement.goes_by_words() {
                    self.commit(now, counts);
                }
            }
            TurnTaking::Engine { .. } => self.turns.caller_silent(now),
        }
    }

    /// The caller has been heard without a pause for too long to be a turn. Nothing waits for its end any more: requests are made,
    /// and silence of the agent counts as idle. Where the module ends the turns, this one ends here.
    pub(super) fn turn_too_long(&mut self, now: Instant, local: bool) {
        let seconds = LONGEST_TURN.as_secs();
        let message = format!("the caller has been heard for {seconds} s without a pause: music or noise?");
        self.out.event(Event::Error {
            component: Component::Engine,
            response_id: None,
            code: "endless_turn".into(),
            message,
        });
        if local {
            self.commit(now, true);
        }
    }

    /// The caller's turn is over, as the module finds. If it does not count by itself, its words decide.
    pub(super) fn commit(&mut self, now: Instant, counts: bool) {
        if self.link.is_ready() {
            self.caller.turn_over();
            if counts {
                self.figures.turn_counts();
            }
            self.judgement.commit(!counts);
            self.turns.commit(now, &mut self.out);
        } else {
            self.link.owe_commit();
        }
    }

    pub(super) fn dtmf(&mut self, now: Instant, digit: char) {
        if !Keypad::is_key(digit) {
            return;
        }
        self.idle.broken();
        let interrupts = self.hearing.keys_interrupt() && self.interrupt(now, BargeInCause::Dtmf);
        if !self.link.is_idle() {
            self.keypad.press(now, digit, interrupts);
        }
    }

    /// The caller or the operator interrupts: whether the agent was saying something, or about to. What was cut off before it
    /// was heard is asked for again.
    pub(super) fn interrupt(&mut self, now: Instant, cause: BargeInCause) -> bool {
        match cause {
            BargeInCause::EngineVad | BargeInCause::LocalVad => self.turns.caller_speaks(),
            BargeInCause::Operator => self.turns.clear(),
            BargeInCause::Dtmf => {}
        }
        let unheard = self.is_unheard();
        let interrupts = self.cut_off(now, cause);
        // The operator knows what they do. The model learns of a key, and answers that.
        if interrupts && unheard && cause != BargeInCause::Operator {
            self.turns.unheard(now, cause != BargeInCause::Dtmf);
        }
        interrupts
    }

    /// Ends what the agent says: whether it said something, or was about to.
    pub(super) fn cut_off(&mut self, now: Instant, cause: BargeInCause) -> bool {
        self.tool_calls.interrupted(&mut self.history, &mut self.out);
        let queued = !self.playback.current().owners().is_empty();
        let paused = self.judgement.end(now);
        if !self.utterance.audible && !self.turns.has_response() && !self.speech.is_busy() {
            self.go_on(paused, false);
            return false;
        }
        // The ear first.
        let flush = queued.then(|| self.playback.flush());
        if let Some(id) = flush {
            self.out.push(peer::Output::Flush { id });
        }
        // After the flush, so that nothing of what is flushed is heard.
        self.go_on(paused, false);
        let (sentence, spoken) = self.speech.abort();
        if let Some(sentence) = sentence {
            self.out.push(peer::Output::AbortSynthesis { sentence });
        }
        self.utterance.audible = false;
        let itself = matches!(self.config.turns, TurnTaking::Engine { interrupts: true, .. })
            && cause == BargeInCause::EngineVad;
        let interruption = PendingInterruption {
            flush,
            cause,
            figures: self.figures.interrupted(now),
            cancelled: self.turns.give_up(itself, &mut self.out),
            words: self.utterance.take_words(),
            spoken,
            stale: !self.link.is_ready(),
        };
        let told = Told { history: &mut self.history, figures: &mut self.figures, out: &mut self.out };
        self.interruptions.add(interruption, told);
        true
    }
}
