//! What the far end does: it hears the caller, responds with speech or text, calls functions.
//!
//! Of every response only what belongs to the one in progress is taken: what comes of one that is over or given up is
//! dropped by its id.

use std::time::Instant;

use super::config::{SpeechTrigger, TurnTaking, VoiceMode};
use super::conversation::{Agent, Call, RESPOND_AGAIN, Request, Response, Words};
use super::playback::Owner;
use super::tools::{self, Verdict};
use super::{Audio, Component, Event, FarCommand, FarEvent, Outcome, Output, Source, Speaker};

/// Refusals of one request for a response before it is given up.
const MAX_REFUSALS: u32 = 5;

impl Agent {
    pub(super) fn far(&mut self, now: Instant, event: FarEvent) {
        if let FarEvent::Ready = event {
            return self.ready(now);
        }
        if !self.link.is_ready() {
            return;
        }
        match event {
            FarEvent::Ready => {}
            FarEvent::ExpiresSoon { now } => self.link.renew(now),
            FarEvent::SpeechStarted => {
                self.far_hears = true;
                self.turn_until = None;
                self.trouble = false;
                self.caller_began(now, SpeechTrigger::FarEnd);
            }
            FarEvent::SpeechStopped => {
                let heard = std::mem::take(&mut self.far_hears);
                self.caller_stopped(SpeechTrigger::FarEnd);
                // The turn is still to be committed: a session that is replaced in between would lose it.
                if heard && matches!(self.config.turns, TurnTaking::FarEnd { .. }) {
                    self.turn_until = Some(now + self.config.response_timeout);
                }
            }
            FarEvent::Committed { item_id } => self.committed(now, &item_id),
            FarEvent::IdleTimeout => self.idle(false),
            FarEvent::ResponseStarted { response_id } => self.response_started(now, response_id),
            FarEvent::ItemStarted { response_id, item_id } => {
                if self.is_wanted(now, &response_id) {
                    self.words_of(&item_id);
                }
            }
            FarEvent::Audio { response_id, item_id, content_index, audio } => {
                self.audio(now, &response_id, item_id, content_index, audio);
            }
            FarEvent::Text { response_id, item_id, text, whole } => {
                self.text(now, &response_id, &item_id, &text, whole);
            }
            FarEvent::Transcript { response_id, item_id, text, whole } => {
                if self.is_wanted(now, &response_id) {
                    let words = self.words_of(&item_id);
                    if whole {
                        words.text.clone_from(&text);
                    } else {
                        words.text.push_str(&text);
                    }
                    self.event(Event::Transcript { speaker: Speaker::Agent, item_id, text, whole });
                }
            }
            FarEvent::CallerTranscript { item_id, text, whole } => {
                if whole {
                    self.history.caller_words(&item_id, &text);
                }
                self.event(Event::Transcript { speaker: Speaker::Caller, item_id, text, whole });
            }
            FarEvent::FunctionCall { response_id, call_id, name, arguments } => {
                if self.is_wanted(now, &response_id) {
                    self.function_call(now, call_id, name, arguments);
                }
            }
            FarEvent::ResponseDone { response_id, outcome } => self.response_done(response_id, outcome),
            FarEvent::Refused { response_running, response, code, message } => {
                self.refused(now, response_running, response, &code, &message);
            }
        }
    }

    fn committed(&mut self, now: Instant, item_id: &str) {
        self.far_hears = false;
        self.history.caller_turn(item_id);
        match self.config.turns {
            TurnTaking::FarEnd { responds: true, .. } => {
                self.turn_until = Some(now + self.config.response_timeout);
            }
            TurnTaking::FarEnd { responds: false, .. } => {
                self.turn_until = None;
                self.want_response(None);
            }
            // Asked for when the turn was committed.
            TurnTaking::Local => {}
        }
    }

    fn response_started(&mut self, now: Instant, response_id: String) {
        if self.is_past(&response_id) {
            return;
        }
        self.far_active = Some(response_id.clone());
        self.far_since = Some(now);
        self.far_hears = false;
        self.turn_until = None;
        self.refusals = 0;
        if let Request::Sent { cancel, .. } = self.request {
            self.request = Request::None;
            if cancel {
                self.command(FarCommand::Cancel { response_id: response_id.clone(), tell: true });
                return self.put_past(response_id);
            }
        }
        self.trouble = false;
        if let Some(before) = self.response.replace(Response { id: response_id, items: Vec::new() }) {
            self.put_past(before.id);
        }
    }

    /// Whether something belongs to the response in progress. Where there is none, one that was not announced begins with it.
    fn is_wanted(&mut self, now: Instant, response_id: &str) -> bool {
        if self.is_past(response_id) {
            return false;
        }
        if self.response.is_none() {
            self.response_started(now, response_id.to_owned());
        }
        self.far_since = Some(now);
        self.response.as_ref().is_some_and(|response| response.id == response_id)
    }

    /// The words of a message of the response in progress.
    fn words_of(&mut self, item_id: &str) -> &mut Words {
        if let Some(response) = &mut self.response
            && !response.items.iter().any(|known| known == item_id)
        {
            response.items.push(item_id.to_owned());
        }
        let at = self.words.iter().position(|words| words.item_id == item_id).unwrap_or_else(|| {
            self.words.push(Words { item_id: item_id.to_owned(), text: String::new() });
            self.words.len() - 1
        });
        &mut self.words[at]
    }

    fn audio(&mut self, now: Instant, response_id: &str, item_id: String, content_index: u32, audio: Audio) {
        // In text mode the voice is ours: two at once are none.
        if self.config.voice == VoiceMode::FarEnd && self.is_wanted(now, response_id) {
            self.words_of(&item_id);
            self.play(Owner::Item { item_id: item_id.clone(), content_index }, Source::Item(item_id), audio);
        }
    }

    fn text(&mut self, now: Instant, response_id: &str, item_id: &str, text: &str, whole: bool) {
        if !self.is_wanted(now, response_id) {
            return;
        }
        let words = self.words_of(item_id);
        let news = if !whole || words.text.is_empty() { text } else { "" };
        words.text.push_str(news);
        if self.config.voice == VoiceMode::Synthesis {
            self.speech.text(Some(item_id), news);
            if whole {
                self.speech.text_end();
            }
        }
    }

    fn function_call(&mut self, now: Instant, call_id: String, name: String, arguments: String) {
        let until = now + self.config.tool_timeout;
        if self.awaits(&call_id) {
            return;
        }
        self.calls.push(Call { id: call_id.clone(), until });
        match self.config.tools.judge(&name, &arguments) {
            Verdict::Ask => self.event(Event::Action { call_id, name, arguments, builtin: false }),
            Verdict::Act(action) => {
                self.event(Event::Action { call_id: call_id.clone(), name, arguments, builtin: true });
                if action.waits_for_speech() && self.deferred.is_none() {
                    self.deferred = Some((call_id, action));
                } else if action.waits_for_speech() {
                    self.tool_result(&call_id, tools::failure("another one is under way"));
                } else {
                    self.outputs.push_back(Output::Act { call_id, action });
                }
            }
            Verdict::Refuse(why) => {
                let message = format!("function call '{}' refused: {why}", name.escape_debug());
                self.event(Event::Error { component: Component::Tool, code: "refused".into(), message });
                self.tool_result(&call_id, tools::failure(why));
            }
        }
    }

    fn response_done(&mut self, response_id: String, outcome: Outcome) {
        if self.far_active.as_ref() == Some(&response_id) {
            self.far_active = None;
        }
        let Some(response) = self.response.take_if(|response| response.id == response_id) else {
            return self.put_past(response_id);
        };
        self.put_past(response_id.clone());
        match &outcome {
            Outcome::Cancelled => self.speech.text_lost(),
            _ => self.speech.text_end(),
        }
        match &outcome {
            Outcome::Failed { code, message } => self.far_end_failed(code, message),
            Outcome::Incomplete(reason) => {
                let message = format!("the response was cut short: {reason}");
                self.event(Event::Error { component: Component::FarEnd, code: reason.clone(), message });
            }
            Outcome::Completed | Outcome::Cancelled => {}
        }
        let texts: Vec<&str> = self
            .words
            .iter()
            .filter(|words| response.items.contains(&words.item_id) && !words.text.is_empty())
            .map(|words| words.text.as_str())
            .collect();
        let text = texts.join(" ");
        self.event(Event::Response { response_id, text, interrupted: outcome == Outcome::Cancelled });
    }

    /// A response shows no sign of life any more.
    pub(super) fn response_stalled(&mut self) {
        self.far_active = None;
        self.far_since = None;
        if let Some(response) = self.response.take() {
            self.command(FarCommand::Cancel { response_id: response.id.clone(), tell: true });
            self.put_past(response.id);
            self.speech.text_lost();
            self.far_end_failed("timeout", "the far end's response stopped in the middle");
        }
    }

    fn refused(&mut self, now: Instant, response_running: bool, response: bool, code: &str, message: &str) {
        if !response {
            return self.event(Event::Error {
                component: Component::FarEnd,
                code: code.to_owned(),
                message: message.to_owned(),
            });
        }
        self.refusals += 1;
        let unwanted = matches!(self.request, Request::Sent { cancel: true, .. });
        self.request = Request::None;
        if unwanted {
            return;
        }
        if response_running && self.refusals <= MAX_REFUSALS {
            self.request = Request::Wanted { instructions: None, not_before: Some(now + RESPOND_AGAIN) };
        } else {
            self.refusals = 0;
            self.far_end_failed(code, message);
        }
    }
}
