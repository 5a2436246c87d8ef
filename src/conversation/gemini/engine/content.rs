//! What the service says: the model's speech and words, the caller's words, functions, interruptions.
//!
//! In one message an interruption comes first and the end of the turn last, whatever the order of its fields.

use std::time::Instant;

use base64::Engine as _;

use super::super::super::engine::{Event, Outcome};
use super::super::super::json::short_id;
use super::super::failure;
use super::super::generation::Fate;
use super::super::profile::Turns;
use super::super::wire::{self, Blob, Cancellation, ServerContent, ToolCall, VoiceActivity};
use super::Gemini;
use crate::peer::MonoAudio;
use crate::protocol::codec::BASE64;
use crate::units::SampleRate;

/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;

impl Gemini {
    pub(super) fn content(&mut self, now: Instant, content: &ServerContent<'_>) {
        if content.interrupted == Some(true) {
            self.interrupted(now);
        }
        if let Some(said) = &content.input_transcription {
            let piece = self.caller.heard(said.0.text.as_str());
            if self.caller.is_speaking() {
                self.handle = None;
            }
            self.caller_words(piece, false);
            if said.0.finished == Some(true) {
                let whole = self.caller.whole_if_committed();
                self.caller_words(whole, true);
            }
        }
        if let Some(said) = &content.output_transcription {
            self.words(said.0.text.as_str());
        }
        let parts = content.model_turn.iter().flat_map(|turn| turn.parts.iter().flatten());
        for part in parts.filter(|part| part.thought != Some(true)) {
            if let Some(blob) = &part.inline_data {
                self.speech(&blob.0);
            }
        }
        if content.generation_complete == Some(true)
            && let Some(current) = &mut self.model.current
        {
            current.whole = true;
        }
        // Models that think in between say more after a turn that is no end.
        let over = match content.interaction_status.as_str() {
            "IN_PROGRESS" => false,
            "IDLE" => content.turn_complete == Some(true) || self.model.current.is_some(),
            _ => content.turn_complete == Some(true),
        };
        if over {
            self.turn_over(content.turn_complete_reason.as_str());
        }
    }

    /// The model begins to say something, if it is not saying it already.
    fn begin(&mut self) {
        if !self.model.begins() {
            return;
        }
        // The service says so when it has saved what follows.
        self.handle = None;
        let of_caller = self.model.asked.is_none() && !self.model.continues;
        let (request, words) = self.model.begin();
        if of_caller && matches!(self.config.profile.turns, Turns::Service(_)) {
            self.commit_caller();
        }
        let Some(current) = &self.model.current else { return };
        let (response_id, item_id) = (current.response_id.clone(), current.item_id.clone());
        self.event(Event::ResponseStarted { response_id: response_id.clone(), request });
        if !words.is_empty() {
            self.event(Event::Transcript { response_id, item_id, text: words, whole: false });
        }
    }

    /// The caller's turn is part of the conversation.
    pub(super) fn commit_caller(&mut self) {
        let (item_id, before) = self.caller.commit();
        self.caller_words(before, true);
        self.event(Event::Committed { item_id, previous: None });
    }

    /// What the caller has said.
    pub(super) fn caller_words(&mut self, words: Option<(String, String)>, whole: bool) {
        if let Some((item_id, text)) = words {
            self.event(Event::CallerTranscript { item_id, text, whole });
        }
    }

    /// What the model's speech says; it may come before the speech.
    fn words(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.model.begins() {
            return self.model.early(text);
        }
        let Some(current) = &self.model.current else { return };
        let (response_id, item_id) = (current.response_id.clone(), current.item_id.clone());
        self.event(Event::Transcript { response_id, item_id, text: text.to_owned(), whole: false });
    }

    fn speech(&mut self, blob: &Blob<'_>) {
        let bytes = match BASE64.decode(blob.data.as_str()) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(format!("serverContent.modelTurn: data is not base64: {error}")),
        };
        let kind = blob.mime_type.as_str();
        let rate = kind.split(';').find_map(|part| part.trim().strip_prefix("rate="));
        let rate = match rate.map(str::parse::<u32>) {
            None if kind.is_empty() || kind.starts_with("audio/pcm") => Some(SampleRate::HZ_24000),
            Some(Ok(hz)) if kind.starts_with("audio/pcm") => SampleRate::from_hz(hz),
            _ => None,
        };
        let Some(rate) = rate else {
            let kind = crate::protocol::excerpt(kind);
            return self.fault(format!("serverContent.modelTurn: audio of the type '{kind}' cannot be played"));
        };
        if bytes.is_empty() {
            return;
        }
        self.begin();
        let Some(current) = &mut self.model.current else { return };
        let samples = current.half.push(&bytes);
        if !samples.is_empty() {
            let (response_id, item_id) = (current.response_id.clone(), current.item_id.clone());
            let audio = MonoAudio::Pcm { samples, rate };
            self.event(Event::Audio { response_id, item_id, content_index: 0, audio });
        }
    }

    /// The service has given up what the model says, for the caller's speech or for something that we said.
    fn interrupted(&mut self, now: Instant) {
        let whole = self.caller.whole_if_committed();
        self.caller_words(whole, true);
        let ours = std::mem::take(&mut self.model.disturbed);
        let in_progress = self.model.current.is_some();
        let wanted = self.model.interrupted(now);
        // Where the module finds the turns, the agent has decided already.
        let by_caller = matches!(self.config.profile.turns, Turns::Service(_)) && !ours;
        if by_caller && (wanted || !in_progress) {
            self.event(Event::Interrupted);
        }
        if in_progress {
            return;
        }
        if ours {
            self.model.spent = true;
        } else if self.model.asked.is_some() {
            // It was about to begin what was asked for.
            self.begin();
            self.done(Outcome::Cancelled);
            self.model.spent = true;
        }
    }

    /// The model's turn is over, for this reason if there is one.
    pub(super) fn turn_over(&mut self, reason: &str) {
        let fate = self.model.current.as_ref().map(|current| current.fate);
        match fate {
            Some(Fate::Wanted) => {
                let whole = self.caller.whole_if_committed();
                self.caller_words(whole, true);
                self.done(failure::outcome(reason));
            }
            Some(Fate::Interrupted { .. }) => self.done(Outcome::Cancelled),
            Some(Fate::GivenUp) => self.model.current = None,
            None if std::mem::take(&mut self.model.spent) => {}
            // It has nothing to say to what it was asked for.
            None if self.model.asked.is_some() || self.model.has_early() => {
                self.begin();
                self.done(failure::outcome(reason));
            }
            None => self.model.owes_answer = false,
        }
        self.tell();
    }

    fn done(&mut self, outcome: Outcome) {
        if let Some(current) = self.model.current.take() {
            self.event(Event::ResponseDone { response_id: current.response_id, outcome });
        }
    }

    /// The model calls functions. It waits for the results, so that its answer is over.
    pub(super) fn tool_call(&mut self, call: &ToolCall<'_>) {
        self.begin();
        let Some(current) = &self.model.current else { return };
        let (response_id, wanted) = (current.response_id.clone(), current.fate == Fate::Wanted);
        self.handle = None;
        for call in call.function_calls.iter().flatten() {
            let name = short_id(call.name.as_str()).to_owned();
            self.calls_made += 1;
            let call_id = call.id.id().unwrap_or_else(|| format!("call_{}", self.calls_made));
            if name.is_empty() || !self.calls.called(&response_id, &call_id, &name) {
                self.fault("toolCall: a call without a name, or one that is open already");
                continue;
            }
            let arguments = call.args.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string);
            // What is too long to be meant is handed on empty, so that the agent refuses it and the model learns of it.
            let arguments = if arguments.len() > MAX_ARGUMENTS { String::new() } else { arguments };
            self.event(Event::ToolCall { response_id: response_id.clone(), call_id, name, arguments });
        }
        if wanted {
            let whole = self.caller.whole_if_committed();
            self.caller_words(whole, true);
            self.done(Outcome::Completed);
            (self.model.spent, self.model.continues) = (true, true);
        } else {
            // Nobody hears of it, and the model waits.
            self.calls.give_up(&response_id);
            self.results();
        }
    }

    /// The service does not want the results of calls any more, since the caller has spoken.
    pub(super) fn tool_call_cancellation(&mut self, cancellation: &Cancellation<'_>) {
        for id in cancellation.ids.iter().flatten() {
            let call_id = short_id(id.as_str()).to_owned();
            if self.calls.taken_back(&call_id) {
                self.event(Event::ToolCancelled { call_id });
            }
        }
    }

    /// The service hears the caller begin or stop. Most models do not say so.
    pub(super) fn heard(&mut self, activity: &VoiceActivity<'_>) {
        if !matches!(self.config.profile.turns, Turns::Service(_)) {
            return;
        }
        let offset = wire::duration(activity.audio_offset.as_str());
        match activity.voice_activity_type.as_str() {
            "ACTIVITY_START" => {
                self.event(Event::SpeechStarted { start_ms: offset.map(|offset| offset.as_millis() as u64) });
            }
            "ACTIVITY_END" => self.event(Event::SpeechStopped),
            _ => {}
        }
    }
}
