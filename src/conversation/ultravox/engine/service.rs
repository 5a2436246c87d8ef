//! The messages of the service, as events in the agent's words.
//!
//! They are read leniently: an unknown type is ignored, a field of another type than it should have is taken as absent.

use std::time::Instant;

use super::super::super::engine::{Event, Outcome};
use super::super::super::growing::Growing;
use super::super::super::json::KindOnly;
use super::super::super::raw;
use super::super::answer::Words;
use super::super::wire::ServerMessage;
use super::{GRACE, OWED, REMEMBERED, Ultravox};
use crate::peer::MonoAudio;
use crate::protocol::excerpt;

/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;

impl Ultravox {
    pub(super) fn text(&mut self, now: Instant, text: &str) {
        if let Some(told) = self.config.raw_events.and_then(|which| raw::told(which, |_| false, text)) {
            self.event(Event::Raw(told));
        }
        match serde_json::from_str::<ServerMessage<'_>>(text) {
            Ok(message) => {
                self.begin();
                self.message(now, &message);
            }
            Err(error) => match serde_json::from_str::<KindOnly<'_>>(text) {
                Ok(KindOnly { kind }) => self.fault(format!("{}: {error}", excerpt(kind.as_str()))),
                Err(error) => self.fault(format!("the text is no JSON object ({error}): {}", excerpt(text))),
            },
        }
    }

    fn message(&mut self, now: Instant, message: &ServerMessage<'_>) {
        match message.kind.as_str() {
            "" => self.fault("a message without a type"),
            "state" => self.state(now, message.state.as_str()),
            "transcript" => match (message.role.as_str(), message.ordinal.whole()) {
                (_, None) => self.fault("transcript: no ordinal"),
                ("agent", Some(ordinal)) => self.agent_says(ordinal, message),
                // Texts that were sent come back as the caller's.
                ("user", _) if message.medium.as_str() == "text" => {}
                ("user", Some(ordinal)) => self.caller_says(now, ordinal, message),
                _ => self.fault("transcript: a role that is neither user nor agent"),
            },
            "playback_clear_buffer" => self.interrupted(),
            "client_tool_invocation" => self.tool_call(message),
            // What is new, and what is of no interest.
            _ => {}
        }
    }

    fn state(&mut self, now: Instant, state: &str) {
        self.speaking = state == "speaking";
        let whole = self.words.as_ref().filter(|words| words.are_whole()).map(|words| words.ordinal);
        let Some(answer) = &mut self.answer else {
            if self.speaking {
                self.words_begin();
            }
            return;
        };
        if self.speaking {
            answer.ends = None;
        } else if answer.given_up || (whole.is_some() && answer.ordinal == whole) {
            self.answer_over(Outcome::Completed);
        } else {
            answer.ends = Some(now + GRACE);
        }
    }

    /// The service speaks: an answer begins with words that have come before.
    fn words_begin(&mut self) {
        if self.unclaimed().is_some() {
            self.answer();
        }
    }

    pub(super) fn audio(&mut self, now: Instant, bytes: &[u8]) {
        self.begin();
        let audio = self.decoder.push(bytes.to_vec());
        // A stream may pause with silence: that begins no answer.
        let silent = matches!(&audio, MonoAudio::Pcm { samples, .. } if samples.iter().all(|sample| *sample == 0));
        if audio.duration().is_zero() || (silent && self.answer.is_none()) {
            return;
        }
        let speaking = self.speaking;
        let Some(answer) = self.answer() else { return };
        // Of an answer that has ended for the service.
        answer.ends = (!speaking).then_some(now + GRACE);
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        self.event(Event::Audio { response_id, item_id, content_index: 0, audio });
    }

    /// What the agent's speech says.
    fn agent_says(&mut self, ordinal: u64, message: &ServerMessage<'_>) {
        let known = self.words.as_ref().map(|words| words.ordinal).max(self.past);
        let current = self.words.as_ref().is_some_and(|words| words.ordinal == ordinal);
        if self.past.is_some_and(|past| ordinal <= past) || (!current && known.is_some_and(|known| ordinal < known)) {
            return;
        }
        if std::mem::take(&mut self.wordless) && self.answer.is_none() && !self.speaking {
            self.past = Some(ordinal);
            return;
        }
        if !current {
            self.words = Some(Words::new(ordinal));
            // Words of another message are of another answer.
            if self.answer.as_ref().and_then(|answer| answer.ordinal).is_some() {
                self.answer_over(Outcome::Completed);
            }
        }
        let Some(words) = &mut self.words else { return };
        let new = words.more(message.text.as_str(), message.delta.as_str(), message.is_final());
        match &mut self.answer {
            Some(answer) => {
                answer.ordinal = Some(ordinal);
                let (response_id, item_id, given_up) =
                    (answer.response_id.clone(), answer.item_id.clone(), answer.given_up);
                let ends = answer.ends.is_some() && message.is_final();
                if let Some((text, whole)) = new.filter(|_| !given_up) {
                    self.event(Event::Transcript { response_id, item_id, text, whole });
                }
                if ends {
                    self.answer_over(Outcome::Completed);
                }
            }
            None if self.speaking => self.words_begin(),
            // They wait for their audio.
            None => {}
        }
    }

    /// What the caller has said. At the end of their turn the service answers it.
    fn caller_says(&mut self, now: Instant, ordinal: u64, message: &ServerMessage<'_>) {
        if self.turn.as_ref().is_none_or(|(number, _)| *number != ordinal) {
            let item_id = format!("caller_{}", self.next());
            self.turn = Some((ordinal, Growing::new(item_id)));
        }
        let Some((_, turn)) = &mut self.turn else { return };
        let (text, delta) = (message.text.as_str().trim(), message.delta.as_str());
        let new = if text.is_empty() { turn.add(delta) } else { turn.more(text) };
        let item_id = turn.item_id().to_owned();
        if !message.is_final() {
            if let Some(text) = new {
                self.event(Event::CallerTranscript { item_id, text, whole: false });
            }
            return;
        }
        let text = if text.is_empty() { turn.text().trim() } else { text }.to_owned();
        self.turn = None;
        if text.is_empty() {
            return;
        }
        // Its answer may have begun: words come late.
        if self.answer.is_none() {
            self.owes = Some(now + OWED);
        }
        self.event(Event::Committed { item_id: item_id.clone(), previous: None });
        self.event(Event::CallerTranscript { item_id, text, whole: true });
    }

    /// What is still to be heard is not wanted any more.
    fn interrupted(&mut self) {
        let stopped = std::mem::take(&mut self.stopping);
        if !stopped || self.answer.as_ref().is_some_and(|answer| !answer.given_up) {
            self.event(Event::Interrupted);
        }
        self.answer_over(Outcome::Cancelled);
    }

    fn tool_call(&mut self, message: &ServerMessage<'_>) {
        let (Some(call_id), Some(name)) = (message.invocation_id.id(), message.tool_name.id()) else {
            return self.fault("client_tool_invocation: no toolName or no invocationId");
        };
        if self.called.contains(&call_id) {
            return;
        }
        if self.called.len() == REMEMBERED {
            self.called.pop_front();
        }
        self.called.push_back(call_id.clone());
        // What is too long to be meant is handed on empty, so that it is refused.
        let arguments = message.arguments(MAX_ARGUMENTS).unwrap_or_default();
        let given_up = self.answer.as_ref().is_some_and(|answer| answer.given_up);
        if given_up {
            self.answer_over(Outcome::Cancelled);
        }
        // Between two answers it is one without words.
        let alone = self.answer.is_none();
        let Some(response_id) = self.answer().map(|answer| answer.response_id.clone()) else { return };
        self.event(Event::ToolCall { response_id, call_id, name, arguments });
        if alone {
            self.answer_over(Outcome::Completed);
        }
    }
}
