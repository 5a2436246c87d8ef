//! The ends in the policy: of what was being said, of a session, of the conversation.

use std::time::Instant;

use super::super::choices::VoiceMode;
use super::super::interruption::Told;
use super::super::playback::PlayedSegment;
use super::super::speech::Spoken;
use super::super::turns::Response;
use super::super::{Event, Recording, State, memory};
use super::{Agent, Parting};
use crate::peer;

impl Agent {
    /// The session and all that was in it are gone; what is being heard goes on.
    pub(super) fn session_gone(&mut self, undelivered: usize) {
        self.caller.broken(undelivered);
        let cut_off = self.turns.session_gone();
        self.link.session_gone();
        self.hearing.session_gone();
        self.judgement.session_gone();
        // The messages are gone with their ids: nothing can be truncated any more.
        match self.config.voice {
            VoiceMode::Engine => {
                let unfinished = cut_off.as_ref().map_or(&[][..], |response| &response.items);
                self.utterance.session_gone(unfinished, self.config.engine.resumes);
            }
            VoiceMode::Synthesis => drop(self.utterance.take_words()),
        }
        if let Some(Response { id, items }) = cut_off {
            let text = self.utterance.text_of(&items);
            self.out.response(id, text, true, None);
        }
        self.speech.forget_items();
        self.interruptions.session_gone();
        self.history.forget_ids();
    }

    /// The service has failed for good: the last words, if there are any, and the end.
    pub(super) fn part(&mut self, now: Instant) {
        match self.config.fallback.take() {
            Some(fallback) if fallback.recorded => self.speech.recite(Recording::Fallback, &fallback.words),
            Some(fallback) => self.speech.say(&fallback.words),
            None => return self.finish(now, State::Failed, "failed"),
        }
        self.parting = Some(Parting::Failed);
    }

    /// The service has ended the conversation as it is meant to: what it has said is heard, and then the conversation is over.
    pub(super) fn service_ended(&mut self, message: String) {
        self.link.ended(("ended".to_owned(), message), &mut self.out);
        self.session_gone(0);
        self.parting = Some(Parting::Ended);
    }

    /// The last words have been heard, or nobody waits for them.
    pub(super) fn part_now(&mut self, now: Instant) {
        match self.parting {
            Some(Parting::Ended) => self.finish(now, State::Idle, "agent_ended"),
            Some(Parting::Failed) | None => self.finish(now, State::Failed, "failed"),
        }
    }

    /// The end, once: nothing more is heard, said or asked.
    pub(super) fn finish(&mut self, now: Instant, state: State, reason: &'static str) {
        let (sentence, spoken) = self.speech.abort();
        if let Some(sentence) = sentence {
            self.out.push(peer::Output::AbortSynthesis { sentence });
        }
        if self.playback.is_playing() {
            let id = self.playback.flush();
            self.out.push(peer::Output::Flush { id });
        }
        let paused = self.judgement.end(now);
        self.go_on(paused, false);
        self.end_talk(spoken);
        self.link.end(&mut self.out);
        self.out.event(Event::Summary { reason, talk: self.figures.talk(), usage: self.out.usage() });
        self.caller.clear();
        self.ended = Some(state);
        self.tell_state(true);
    }

    /// Tells the operator what the caller has heard of the last words.
    pub(super) fn end_talk(&mut self, spoken: Vec<Spoken>) {
        // No session is to learn of it any more.
        self.out.set_session(false);
        let unfinished = self.turns.response().map_or(&[][..], |response| &response.items);
        self.utterance.session_gone(unfinished, true);
        let (flushed, mut last) = self.playback.end();
        for (id, segment) in flushed {
            let told = Told { history: &mut self.history, figures: &mut self.figures, out: &mut self.out };
            if !self.interruptions.confirmed(id, &segment, None, told) {
                last = segment;
            }
        }
        if self.utterance.is_begun() {
            self.words_heard(&last, spoken);
        }
    }

    /// The agent's turn is over, and so much of it was heard.
    pub(super) fn words_heard(&mut self, segment: &PlayedSegment, spoken: Vec<Spoken>) {
        let turn = self.figures.take();
        let words = self.utterance.end();
        match self.config.voice {
            VoiceMode::Engine => {
                memory::own_words(segment, &spoken, &mut self.history, &mut self.out);
                memory::turn_heard(segment, words, &mut self.history, &mut self.out);
            }
            VoiceMode::Synthesis => {
                // Where every sentence was spoken the engine's memory is right as it is.
                let failed = |item_id: &str| {
                    spoken.iter().any(|s: &Spoken| s.failed && s.sentence.item_id.as_deref() == Some(item_id))
                };
                let words = words.into_iter().map(|words| (failed(&words.item_id), words)).collect();
                let rules = &self.config.sentences;
                memory::correct_text(segment, &spoken, words, rules, &mut self.history, &mut self.out);
            }
        }
        self.figures.over(turn, segment.heard_in_all(), None, &mut self.out);
    }
}
