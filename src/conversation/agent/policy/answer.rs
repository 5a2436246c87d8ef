//! The agent's side of the policy: responses of the model and their failures, what is spoken of them, and what is asked for.

use std::time::{Duration, Instant};

use super::super::choices::VoiceMode;
use super::super::config::Greeting;
use super::super::playback::Owner;
use super::super::requests::Purpose;
use super::super::speech::Sentence;
use super::super::turns::Begun;
use super::super::utterance::Words;
use super::super::{Component, Event, Recording, Source, Speaker, memory, tools};
use super::Agent;
use crate::conversation::engine::{Command, Failure, FailureClass, Outcome};
use crate::peer;
use crate::peer::{MonoAudio, Tell};

impl Agent {
    pub(super) fn response_started(&mut self, now: Instant, response_id: String, request: Option<u64>) {
        let mut begun = self.turns.started(now, response_id, request, &mut self.out);
        let by_itself = begun == Begun::Wanted && request.is_none();
        if by_itself && (self.tool_calls.hands_over() || self.idle.take_passed_over()) {
            self.turns.give_up(false, &mut self.out);
            begun = Begun::Cancelled;
        }
        if begun == Begun::Wanted && request.is_none() {
            // A service that commits no turns answers the last one.
            self.figures.turn_counts();
        }
        if begun != Begun::Past {
            self.hearing.turn_over();
            self.trouble &= begun == Begun::Cancelled;
        }
    }

    /// Whether something belongs to the response in progress. Where there is none, one that was not announced begins with it.
    pub(super) fn is_wanted(&mut self, now: Instant, response_id: &str) -> bool {
        if self.turns.is_past(response_id) {
            return false;
        }
        if !self.turns.has_response() {
            self.response_started(now, response_id.to_owned(), None);
        }
        self.turns.sign_of(now, response_id)
    }

    /// The words of a message of the response in progress.
    pub(super) fn words_of(&mut self, item_id: &str) -> &mut Words {
        self.turns.note_item(item_id);
        self.history.agent_turn(item_id);
        self.utterance.words_of(item_id)
    }

    pub(super) fn text(&mut self, now: Instant, response_id: &str, item_id: &str, text: &str, whole: bool) {
        if !self.is_wanted(now, response_id) {
            return;
        }
        self.figures.model_came(now);
        let words = self.words_of(item_id);
        let news = if !whole || words.text.is_empty() { text } else { "" };
        words.text.push_str(news);
        if !news.is_empty() {
            self.transcript(Speaker::Agent, item_id.to_owned(), news.to_owned(), false);
        }
        if self.config.voice == VoiceMode::Synthesis {
            self.speech.text(Some(item_id), news);
            if whole {
                self.speech.text_end();
            }
        }
    }

    /// The service says what counts as said of a message that was interrupted, before it is known what was heard or after.
    pub(super) fn corrected(&mut self, item_id: &str, text: &str, said: String) {
        if self.interruptions.corrected(item_id, &said) {
            return;
        }
        match self.utterance.known(item_id) {
            Some(words) => words.corrected = Some(said),
            None => memory::corrected(item_id, text, &said, &mut self.history, &mut self.out),
        }
    }

    pub(super) fn response_done(&mut self, now: Instant, response_id: String, outcome: Outcome) {
        if matches!(outcome, Outcome::Failed(_)) {
            self.tool_calls.response_failed(&response_id, &mut self.history, &mut self.out);
        }
        let Some(response) = self.turns.done(response_id) else { return };
        match &outcome {
            Outcome::Cancelled => self.speech.text_lost(),
            _ => self.speech.text_end(),
        }
        let interrupted = outcome == Outcome::Cancelled;
        let mute = !self.sounds(&response.items, false);
        match outcome {
            Outcome::Failed(failure) if !mute => {
                self.turn_failed(Some(&response.id), &failure.code, &failure.message);
            }
            Outcome::Failed(failure) => {
                if failure.class == FailureClass::Transient && self.turns.retry(now, failure.retry_after) {
                    self.failed(Some(&response.id), failure);
                } else {
                    self.answer_failed(Some(&response.id), &failure);
                }
            }
            // The service did it by itself. A response that the caller interrupted was given up before.
            Outcome::Cancelled if mute => self.turns.unheard(now, true),
            Outcome::Incomplete(reason) => {
                let message = format!("the response was cut short: {reason}");
                let response_id = Some(response.id.clone());
                self.out.event(Event::Error { component: Component::Engine, response_id, code: reason, message });
            }
            Outcome::Completed | Outcome::Cancelled => {}
        }
        if self.config.voice == VoiceMode::Engine {
            memory::correct_refused(self.playback.current(), &response.items, &mut self.out);
        }
        let text = self.utterance.text_of(&response.items);
        self.out.response(response.id, text, interrupted, None);
    }

    /// The turn failed; the conversation goes on with the next.
    pub(super) fn turn_failed(&mut self, response_id: Option<&str>, code: &str, message: &str) {
        self.trouble = true;
        let response_id = response_id.map(str::to_owned);
        let (code, message) = (code.to_owned(), message.to_owned());
        self.out.event(Event::Error { component: Component::Engine, response_id, code, message });
    }

    /// There will be no answer, and the caller has heard nothing.
    pub(super) fn answer_failed(&mut self, response_id: Option<&str>, failure: &Failure) {
        self.turn_failed(response_id, &failure.code, &failure.message);
        if self.config.voice == VoiceMode::Synthesis {
            self.apologise();
        }
    }

    /// Tells the operator of a failure that has no further consequence here.
    pub(super) fn failed(&mut self, response_id: Option<&str>, Failure { class, code, message, .. }: Failure) {
        if class != FailureClass::Harmless {
            let response_id = response_id.map(str::to_owned);
            self.out.event(Event::Error { component: Component::Engine, response_id, code, message });
        }
    }

    pub(super) fn apologise(&mut self) {
        if let Some(apology) = self.config.apology.as_deref().filter(|_| !self.utterance.apologised) {
            self.utterance.apologised = true;
            self.speech.say_next(apology);
        }
    }

    /// Whether the caller has heard some of these messages; with `begun` false, whether they have or will.
    pub(super) fn sounds(&self, items: &[String], begun: bool) -> bool {
        let heard = |owner: &Owner| !begun || self.playback.has_begun(owner);
        match self.config.voice {
            VoiceMode::Engine => self.playback.current().owners().iter().any(|owner| match owner {
                Owner::Item { item_id, .. } => items.contains(item_id) && heard(owner),
                Owner::Sentence(_) => false,
            }),
            VoiceMode::Synthesis => self.speech.sentences_of(items).any(|id| heard(&Owner::Sentence(id))),
        }
    }

    /// Whether the caller has heard nothing of the last thing that the agent says or is about to say.
    pub(super) fn is_unheard(&self) -> bool {
        match (self.turns.response(), self.utterance.last_item()) {
            (Some(response), _) => !self.sounds(&response.items, true),
            (None, Some(item_id)) => !self.sounds(&[item_id.to_owned()], true),
            (None, None) => false,
        }
    }

    /// Queues speech for the caller.
    pub(super) fn speak(&mut self, owner: Owner, source: Source, audio: MonoAudio) {
        let length = audio.duration();
        if length.is_zero() {
            return;
        }
        self.trouble = false;
        if self.playback.has_no_room_for(&owner) {
            // A gap in the middle of a message cannot be told to the model.
            self.playback.refuse(owner, length);
            self.out.push(peer::Output::NoRoom(length));
            return;
        }
        self.playback.push(owner, length);
        self.utterance.audible = true;
        self.spoken = true;
        self.out.push(peer::Output::Speak { source, audio });
    }

    /// The agent says something of its own accord.
    pub(super) fn say(&mut self, purpose: Purpose, text: &str) {
        match self.config.voice {
            VoiceMode::Synthesis => self.speech.say(text),
            VoiceMode::Engine if self.config.engine.says => {
                let wanted = self.turns.want_words(purpose, text.to_owned());
                self.overflowed(!wanted);
            }
            VoiceMode::Engine => {
                let exactly = "Say exactly this to the caller, in these words, and nothing else";
                self.ask_for(purpose, format!("{exactly}: {text}"));
            }
        }
    }

    /// A function call has its result. Words in it for the caller are said at once, in place of an answer of the model.
    pub(super) fn tool_result(&mut self, call_id: &str, output: String) {
        let Some(words) = tools::words_for_the_caller(&output) else {
            return self.tool_calls.answered(call_id, output, &mut self.history, &mut self.out);
        };
        if self.tool_calls.answered_for_the_caller(call_id, output, &mut self.history, &mut self.out) {
            self.turns.functions_returned();
            self.say(Purpose::Say, &words);
        }
    }

    /// The model is to say something by these instructions.
    pub(super) fn ask_for(&mut self, purpose: Purpose, instructions: String) {
        let wanted = self.turns.want(purpose, Some(instructions));
        self.overflowed(!wanted);
    }

    /// Tells the operator where a text is not said.
    fn overflowed(&mut self, dropped: bool) {
        if dropped {
            let (code, message) =
                ("overflow".to_owned(), "too many texts wait to be spoken: one was dropped".to_owned());
            self.out.event(Event::Error { component: Component::Engine, response_id: None, code, message });
        }
    }

    /// Gives the model a message, and asks for an answer where one is wanted.
    pub(super) fn told(&mut self, Tell { speaker, text, respond }: Tell<'_>) {
        if self.link.is_ready() {
            self.out.command(Command::Message { speaker, text: text.to_owned(), after: None, respond });
            if respond {
                self.turns.want_answer();
            }
        }
        self.history.said(speaker, text);
    }

    pub(super) fn speech_failed(&mut self, now: Instant, sentence: u64, code: String, message: String) {
        let since = self.speech.since();
        let Some(Sentence { text, recording, .. }) = self.speech.complete(sentence, true).cloned() else { return };
        self.trouble = true;
        let latency = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        match recording {
            // Said instead, once somebody can say it.
            Some(Recording::Greeting) if !text.is_empty() => {
                self.greeting = Some(Greeting::Text(text.clone()));
                if self.link.is_ready() {
                    self.greet();
                }
            }
            Some(Recording::Greeting | Recording::Fallback) => {}
            None if self.parting.is_some() => {}
            None => self.apologise(),
        }
        self.out.event(Event::SpeechFailed { text, code, message, latency });
    }

    pub(super) fn idle_elapsed(&mut self, ours: bool) {
        if let Some(instructions) = self.idle.elapsed(ours, &mut self.out) {
            self.ask_for(Purpose::Idle, instructions);
        }
    }
}
