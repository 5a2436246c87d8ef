//! The messages of the service, as events in the agent's words.
//!
//! They are read leniently: an unknown type is ignored, a field of another type than it should have is taken as absent.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::super::engine::{Event, Failure, Outcome, Refuses};
use super::super::super::json::short_id;
use super::super::super::raw::shown;
use super::super::failure;
use super::{Deepgram, MOST_CALLS, Phase, SPEECH};
use crate::peer::MonoAudio;
use crate::protocol::excerpt;
use crate::units::{Encoding, Law};

/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;
/// Longest words of one message: an hour's.
const MAX_WORDS: usize = 64 << 10;
/// Longest time that is believed of the service's voice.
const LONGEST_WAIT: f64 = 600.0;

impl Deepgram {
    pub(super) fn text(&mut self, now: Instant, text: &str) {
        if let Some(told) = self.config.raw_events.and_then(|_| shown(text)) {
            self.event(Event::Raw(told));
        }
        let message: Value = match serde_json::from_str(text) {
            Ok(message @ Value::Object(_)) => message,
            Ok(_) => return self.fault(format!("the text is no JSON object: {}", excerpt(text))),
            Err(error) => return self.fault(format!("the text is no JSON ({error}): {}", excerpt(text))),
        };
        let field = |name: &str| message[name].as_str().unwrap_or_default();
        match field("type") {
            "" => self.fault("a message without a type"),
            "Welcome" => self.welcome(field("request_id")),
            "Error" => self.error(field("code"), field("description")),
            "SettingsApplied" => self.applied(now),
            _ if self.phase != Phase::Ready => {}
            "Warning" => self.warning(now, field("code"), field("description")),
            "UserStartedSpeaking" => {
                self.interrupted();
                self.note_what_waits();
                self.hears = Some(now + SPEECH);
            }
            "EndOfTurn" => self.stopped(),
            "ConversationText" => match field("role") {
                "user" => self.caller_said(field("content")),
                "assistant" => self.agent_says(field("content")),
                _ => self.fault("ConversationText: neither of the user nor of the assistant"),
            },
            "AgentStartedSpeaking" => {
                self.muted = false;
                self.answer();
                self.speech_took(&message["tts_latency"]);
            }
            "LatencyReport" => self.speech_took(&message["tts_latency"]),
            "AgentAudioDone" => {
                self.saying = None;
                self.answered(Outcome::Completed);
            }
            "FunctionCallRequest" => self.functions(&message["functions"]),
            "FunctionCallCancelled" => self.functions_cancelled(&message["functions"]),
            "InjectionRefused" => self.injection_refused(field("message")),
            confirmed @ ("PromptUpdated" | "ThinkUpdated" | "SpeakUpdated" | "ListenUpdated") => {
                self.confirmed(confirmed);
            }
            // What is said in other messages too, or of no interest.
            _ => {}
        }
    }

    fn welcome(&mut self, request_id: &str) {
        if !matches!(self.phase, Phase::Greeting(_)) {
            return;
        }
        if !request_id.is_empty() {
            self.event(Event::Named { session_id: short_id(request_id).to_owned() });
        }
        self.event(Event::Opening);
    }

    fn applied(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Configuring(_)) {
            self.phase = Phase::Ready;
            self.keep_alive = Some(now + super::KEEP_ALIVE);
            self.event(Event::Ready);
            self.session_has_changes(now);
        }
    }

    fn error(&mut self, code: &str, description: &str) {
        let loss = failure::error(code, description, self.phase == Phase::Ready);
        let loss = self.change_refused(loss);
        self.end(loss);
    }

    fn warning(&mut self, now: Instant, code: &str, description: &str) {
        if code == failure::ENDS_SOON {
            return self.ends_soon(now);
        }
        if failure::is_refusal(code) {
            return self.injection_refused(description);
        }
        let warning = failure::warning(code, description);
        if warning.refuses == Refuses::Commit && self.commit.take().is_none() {
            return self.failed(Failure { refuses: Refuses::Nothing, ..warning });
        }
        self.failed(warning);
    }

    /// A refusal may come twice, as a message and as a warning.
    fn injection_refused(&mut self, message: &str) {
        if let Some(request) = self.saying.take() {
            self.refuse(request, if message.is_empty() { "somebody speaks" } else { message });
        }
    }

    /// The caller has stopped.
    fn stopped(&mut self) {
        if self.hears.take().is_some() {
            self.event(Event::SpeechStopped);
        }
    }

    /// A turn of the caller is over, and these are its words. The service answers it.
    fn caller_said(&mut self, words: &str) {
        self.muted = false;
        if self.told.is_echo(words) {
            return;
        }
        let text = words[..words.floor_char_boundary(MAX_WORDS)].to_owned();
        self.stopped();
        self.commit = None;
        (self.cut, self.owed, self.result) = (None, true, false);
        self.number += 1;
        let item_id = format!("caller_{}", self.number);
        self.event(Event::Committed { item_id: item_id.clone(), previous: None });
        self.event(Event::CallerTranscript { item_id, text, whole: true });
    }

    /// Words of an answer, which is said next.
    fn agent_says(&mut self, words: &str) {
        self.muted = false;
        let answer = self.answer();
        let space = if answer.text.is_empty() { "" } else { " " };
        let room = MAX_WORDS.saturating_sub(answer.text.len());
        let text = format!("{space}{}", &words[..words.floor_char_boundary(room)]);
        answer.text.push_str(&text);
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        self.event(Event::Transcript { response_id, item_id, text, whole: false });
    }

    /// Speech of an answer.
    pub(super) fn audio(&mut self, bytes: &[u8]) {
        if self.phase != Phase::Ready {
            return self.fault("audio came before the settings were applied");
        }
        if self.muted || bytes.is_empty() {
            return;
        }
        let answer = self.answer();
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        let format = self.config.profile.audio;
        let audio = match format.encoding {
            Encoding::G711(Law::Mu) => MonoAudio::Mulaw(bytes.to_vec()),
            Encoding::G711(Law::A) => MonoAudio::Alaw(bytes.to_vec()),
            Encoding::S16Le | Encoding::S16Be => MonoAudio::Pcm { samples: self.half.push(bytes), rate: format.rate },
        };
        if !audio.duration().is_zero() {
            self.event(Event::Audio { response_id, item_id, content_index: 0, audio });
        }
    }

    fn speech_took(&mut self, seconds: &Value) {
        if let Some(seconds) = seconds.as_f64().filter(|seconds| (0.0..=LONGEST_WAIT).contains(seconds)) {
            self.event(Event::SpeechTook(Duration::from_secs_f64(seconds)));
        }
    }

    /// The model calls functions: ours, which end the answer until their results, or the service's own.
    fn functions(&mut self, functions: &Value) {
        let Some(functions) = functions.as_array() else {
            return self.fault("FunctionCallRequest: no functions");
        };
        let mut ours = false;
        for function in functions.iter().take(MOST_CALLS) {
            let field = |name: &str| function[name].as_str().unwrap_or_default();
            let (id, name, arguments) = (short_id(field("id")), short_id(field("name")), field("arguments"));
            if id.is_empty() || name.is_empty() || arguments.len() > MAX_ARGUMENTS {
                self.fault("FunctionCallRequest: a function without id or name, or with endless arguments");
                continue;
            }
            let (call_id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
            let response_id = self.answer().response_id.clone();
            // Without the field it would wait for nobody.
            if function["client_side"] == false {
                let server = "deepgram".to_owned();
                self.event(Event::CalledElsewhere { response_id, call_id, server, name, arguments });
                continue;
            }
            ours = true;
            if self.calls.len() == MOST_CALLS {
                self.calls.pop_front();
            }
            self.calls.push_back((call_id.clone(), name.clone()));
            self.event(Event::ToolCall { response_id, call_id, name, arguments });
        }
        if ours {
            self.answered(Outcome::Completed);
        }
    }

    fn functions_cancelled(&mut self, functions: &Value) {
        for function in functions.as_array().into_iter().flatten() {
            let id = short_id(function["id"].as_str().unwrap_or_default());
            if let Some(at) = self.calls.iter().position(|(known, _)| known == id) {
                self.calls.remove(at);
                self.event(Event::ToolCancelled { call_id: id.to_owned() });
            }
        }
    }
}
