//! What the service says: the stream of the model's speech, the words of both sides, delegated tasks, the end.

use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::json;

use super::super::super::engine::{Event, FailureClass, Loss, Refuses};
use super::super::super::expiry::Expiry;
use super::super::super::json::KindOnly;
use super::super::super::loss::long_excerpt;
use super::super::super::openai::{ApiError, Operation, api_error};
use super::super::super::raw;
use super::super::pace::Pace;
use super::super::profile::{DELEGATE, Delegate};
use super::super::wire::{BackendEvent, Delegation, ErrorBody, Item, ServerEvent, Session, UsageBody};
use super::{Live, Owed, Phase};
use crate::peer::{MonoAudio, Usage};
use crate::protocol::codec::BASE64;
use crate::protocol::excerpt;
use crate::units::{Encoding, Law};

/// The events with audio.
const AUDIO: &str = "session.output_audio.delta";
/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;
/// What the model learns of a task that nobody takes.
const NOBODY: &str =
    "Nobody can carry this out in this conversation. Answer by yourself, or say that it is not possible.";
/// Longest session that is believed, seconds.
const LONGEST: f64 = 86_400.0 * 7.0;

impl Live {
    pub(super) fn text(&mut self, now: Instant, text: &str) {
        if let Some(told) = self.config.raw_events.and_then(|which| raw::told(which, |kind| kind == AUDIO, text)) {
            self.event(Event::Raw(told));
        }
        match serde_json::from_str::<ServerEvent<'_>>(text) {
            Ok(event) => self.said(now, &event),
            Err(error) => match serde_json::from_str::<KindOnly<'_>>(text) {
                Ok(KindOnly { kind }) => {
                    self.fault(format!("{}: unusable fields ({error})", excerpt(kind.as_str())));
                }
                Err(error) => self.fault(format!("the text is no JSON object ({error}): {}", excerpt(text))),
            },
        }
    }

    fn said(&mut self, now: Instant, event: &ServerEvent<'_>) {
        let kind = event.kind.as_str();
        match kind {
            "session.started" => self.started(now, &event.session.0),
            "session.closed" => {
                self.billed(event.usage.0.seconds.0);
                self.closed(event.reason.as_str());
            }
            "error" => self.failed(&event.error.0, event.client_event_id.as_str()),
            "" => self.fault("an event without a type"),
            kind if self.phase != Phase::Ready && IN_SESSION.contains(&kind) => {
                self.fault(format!("{kind}: before the session has started"));
            }
            _ if self.phase != Phase::Ready => {}
            AUDIO => self.audio(now, event.delta.as_str()),
            "session.output_transcript.delta" => self.words(now, event.delta.as_str()),
            "session.input_transcript.delta" => {
                self.heard(now, event.delta.as_str(), (event.start_ms.whole(), event.end_ms.whole()));
            }
            "session.updated" => self.change_confirmed(),
            "session.usage.updated" => self.billed(event.usage.0.seconds.0),
            "session.delegation.created" => self.delegated(now, &event.delegation.0),
            "response.event" => self.backend(now, event.delegation_id.as_str(), &event.event.0),
            // Confirmations, what is new, and what is of no interest.
            _ => {}
        }
    }

    fn started(&mut self, now: Instant, session: &Session<'_>) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return self.fault("session.started: the session has started already");
        }
        self.phase = Phase::Ready;
        self.pace = Some(Pace::new(now, self.config.profile.format.wire()));
        if let (Some(expires_at), Some((opened, unix_seconds))) = (session.expires_at.whole(), self.opened_at)
            && let Some(left) = expires_at.checked_sub(unix_seconds)
        {
            self.expiry = Expiry::of(opened, Duration::from_secs(left));
        }
        if let Some(session_id) = session.id.id() {
            self.event(Event::Named { session_id });
        }
        self.event(Event::Ready);
        self.send_change(now);
    }

    /// The service has ended the session.
    fn closed(&mut self, reason: &str) {
        let message = match reason {
            // By OpenAI's API, since we do not do both.
            "close_requested" if self.phase == Phase::Ready => {
                let events = self.caller.over();
                self.tell(events);
                self.phase = Phase::Ended;
                let message = "the session was closed by the service's API".to_owned();
                self.event(Event::Ended { message });
                return self.outputs.push_back(super::Output::Close);
            }
            "content" => "a safety filter of the service has ended the session",
            "expired" => "the session has lasted as long as it may",
            _ => "the service has ended the session",
        };
        let code = if reason.is_empty() { "session_closed".to_owned() } else { excerpt(reason) };
        self.end(Loss { fatal: reason == "content", code, message: message.to_owned() });
    }

    fn failed(&mut self, error: &ErrorBody<'_>, event_id: &str) {
        let named = error.client_event_id.as_str();
        let event_id = if named.is_empty() { event_id } else { named };
        match api_error(error.kind.as_str(), error.code.as_str(), error.message.as_str(), event_id) {
            ApiError::Session(loss) => self.end(loss),
            // A session that was refused does not begin.
            ApiError::Request(failure) if self.phase != Phase::Ready => {
                let fatal = failure.class != FailureClass::Transient;
                self.end(Loss { fatal, code: failure.code, message: failure.message });
            }
            ApiError::Request(failure) => match Operation::of(event_id) {
                Some((Operation::Change, _)) => self.change_refused(&failure.code, &failure.message),
                _ => {
                    self.asked &= !matches!(failure.refuses, Refuses::Response(_));
                    self.event(Event::Failed(failure));
                }
            },
        }
    }

    /// The next part of the stream.
    fn audio(&mut self, now: Instant, base64: &str) {
        let bytes = match BASE64.decode(base64) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(format!("{AUDIO}: delta is not base64: {error}")),
        };
        let heard = self.gate.push(&bytes);
        if !heard.is_empty() {
            self.spoken();
            let answer = self.answer(now);
            answer.sound(now);
            let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
            if !answer.muted {
                let audio = self.decoded(heard);
                self.event(Event::Audio { response_id, item_id, content_index: 0, audio });
            }
        }
        self.falls_silent();
    }

    fn decoded(&self, bytes: Vec<u8>) -> MonoAudio {
        let format = self.config.profile.format.wire();
        match format.encoding {
            Encoding::G711(Law::Mu) => MonoAudio::Mulaw(bytes),
            Encoding::G711(Law::A) => MonoAudio::Alaw(bytes),
            Encoding::S16Le | Encoding::S16Be => {
                let samples = bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
                MonoAudio::Pcm { samples, rate: format.rate }
            }
        }
    }

    /// The answer is over if the model has been silent for long enough, or because the caller has spoken.
    fn falls_silent(&mut self) {
        if !self.gate.is_open()
            && let Some(ends) = self.answer.as_ref().and_then(|answer| answer.ends(self.gate.quiet()))
        {
            self.answer_over(ends);
        }
    }

    /// The model has said something.
    fn spoken(&mut self) {
        if self.owed == Owed::Speech {
            self.owed = if self.asked { Owed::Nothing } else { Owed::Spoken };
        }
    }

    /// What the model's speech says; it may come before the speech.
    fn words(&mut self, now: Instant, text: &str) {
        if text.is_empty() {
            return;
        }
        self.tasks.said(false, text);
        self.spoken();
        let answer = self.answer(now);
        answer.words(now, text);
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        if !answer.muted {
            self.event(Event::Transcript { response_id, item_id, text: text.to_owned(), whole: false });
        }
    }

    /// What the caller says.
    fn heard(&mut self, now: Instant, text: &str, span: (Option<u64>, Option<u64>)) {
        if text.trim().is_empty() {
            return;
        }
        self.tasks.said(true, text);
        let (events, unanswered) = self.caller.heard(now, text, span);
        self.tell(events);
        if !unanswered {
            return;
        }
        if self.owed == Owed::Spoken {
            self.owed = Owed::Nothing;
        }
        if let Some(answer) = &mut self.answer {
            answer.superseded = true;
            answer.spoken_over(now);
        }
        self.falls_silent();
    }

    /// The session has been billed so far.
    fn billed(&mut self, seconds: Option<f64>) {
        let Some(seconds) = seconds.filter(|seconds| (0.0..=LONGEST).contains(seconds)) else { return };
        let ms = (seconds * 1_000.0) as u64;
        let new = ms.saturating_sub(self.billed_ms);
        if new > 0 {
            self.billed_ms = ms;
            self.event(Event::Used(Usage { session_ms: new, ..Usage::default() }));
        }
    }

    /// The model hands a task on.
    fn delegated(&mut self, now: Instant, delegation: &Delegation<'_>) {
        let Some(id) = delegation.id.id() else { return self.fault("session.delegation.created: no id") };
        if delegation.target.as_str() != "client" {
            return;
        }
        if self.config.profile.delegate != Delegate::Operator {
            self.comment(None, Some(&id), NOBODY);
            let message = "the model wants to hand on a task, and nobody takes it: set openai_backend_model, or \
                 give it the function delegate";
            return self.fail(FailureClass::Permanent, Refuses::Nothing, "delegation", message);
        }
        let Some(talk) = self.tasks.delegated(&id) else { return };
        let talk: Vec<_> = talk
            .into_iter()
            .map(|(by_caller, text)| json!({"role": if by_caller { "user" } else { "assistant" }, "text": text}))
            .collect();
        let arguments = json!({"conversation": talk}).to_string();
        self.called(now, id, DELEGATE.to_owned(), arguments);
    }

    /// Something of the second model, for this task.
    fn backend(&mut self, now: Instant, task: &str, event: &BackendEvent<'_>) {
        match event.kind.as_str() {
            "response.created" => self.tasks.begun(task),
            "response.output_item.done" => self.made(now, task, &event.item.0),
            "response.completed" | "response.incomplete" | "response.failed" => {
                let usage = used(&event.response.0.usage.0);
                if usage != Usage::default() {
                    self.event(Event::Used(usage));
                }
                let response = &event.response.0;
                match event.kind.as_str() {
                    "response.failed" => {
                        let error = &response.error.0;
                        self.work_failed(error.code.as_str(), error.message.as_str());
                    }
                    "response.incomplete" => {
                        let reason = response.incomplete_details.0.reason.as_str();
                        self.work_failed(reason, "the response of the second model was cut short");
                    }
                    _ => {}
                }
                if self.tasks.over(task) {
                    self.send(&super::ClientEvent::Respond);
                } else if self.owed == Owed::Work && self.tasks.is_idle() {
                    self.owed = Owed::Speech;
                }
            }
            _ => {}
        }
    }

    /// The second model has failed, and the conversation goes on.
    fn work_failed(&mut self, code: &str, message: &str) {
        let code = if code.is_empty() { "response_failed" } else { code };
        let message = if message.is_empty() { "the second model has failed" } else { message };
        self.fail(FailureClass::Permanent, Refuses::Nothing, &excerpt(code), long_excerpt(message));
    }

    fn made(&mut self, now: Instant, task: &str, item: &Item<'_>) {
        if item.kind.as_str() != "function_call" || !matches!(item.status.as_str(), "" | "completed") {
            return;
        }
        let (Some(call_id), Some(name)) = (item.call_id.id(), item.name.id()) else {
            return self.fault("response.output_item.done: a call without call_id or name");
        };
        if !self.tasks.called(task, &call_id) {
            return;
        }
        let arguments = item.arguments.as_str();
        // What is too long to be meant is handed on empty, so that the agent refuses it and the model learns of it.
        let arguments = if arguments.len() > MAX_ARGUMENTS { String::new() } else { arguments.to_owned() };
        self.called(now, call_id, name, arguments);
    }

    /// A function is called: within what the model says, or apart from it.
    fn called(&mut self, now: Instant, call_id: String, name: String, arguments: String) {
        let apart = self.answer.as_ref().is_none_or(|answer| answer.muted);
        if apart {
            let muted = self.answer.take();
            let response_id = self.answer(now).response_id.clone();
            self.event(Event::ToolCall { response_id, call_id, name, arguments });
            self.answer_over(super::Ends::Whole);
            self.answer = muted;
        } else if let Some(answer) = &self.answer {
            let response_id = answer.response_id.clone();
            self.event(Event::ToolCall { response_id, call_id, name, arguments });
        }
    }
}

/// What a response of the second model has used: it reads and writes text.
fn used(body: &UsageBody) -> Usage {
    let count = |number: super::super::super::json::Number| number.whole().unwrap_or_default();
    let (input_tokens, output_tokens) = (count(body.input_tokens), count(body.output_tokens));
    let cached_tokens = count(body.input_tokens_details.0.cached_tokens).min(input_tokens);
    Usage {
        input_tokens,
        input_text_tokens: input_tokens,
        cached_tokens,
        cached_text_tokens: cached_tokens,
        output_tokens,
        output_text_tokens: output_tokens,
        ..Usage::default()
    }
}

/// Events that there are in a session only.
const IN_SESSION: [&str; 4] =
    [AUDIO, "session.output_transcript.delta", "session.input_transcript.delta", "session.delegation.created"];
