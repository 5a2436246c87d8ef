//! What the peer wants done: messages, audio for the caller, actions on the call, events for the operator.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::action::{CallAction, Grant, HandOver};
use super::super::state::StreamState;
use super::{CLOSE, Phase, Task};
use crate::conversation::options::TransferMode;
use crate::dsp::g711::Law;
use crate::event::{Connect, Json, Overflow, Play, Queue, Speech, Transcript};
use crate::peer::{Action, AiEvent, End, Event, Input, Message, MonoAudio, Output, State};
use crate::protocol::{Fault, Request};
use crate::transport::Payload;
use crate::units::SampleRate;

/// Characters of an error's text that the log shows.
const LOGGED: usize = 200;

impl Task {
    /// Does what the peer wants.
    pub(super) fn perform(&mut self, now: Instant) {
        while let Some(output) = self.peer.poll() {
            match output {
                Output::SendAudio { message, duration } => self.send_audio(message, duration, now),
                Output::Send(message) => {
                    if let Err(full) = self.outbox.push(payload(message)) {
                        self.fault(&full.to_string(), now);
                    }
                }
                Output::Play(play) => {
                    if play.clear {
                        self.drop_announcement();
                    }
                    self.playback.play(now, play);
                }
                Output::Speak { audio, .. } => self.speak(now, audio),
                Output::Clear => {
                    self.drop_announcement();
                    self.playback.clear(now);
                }
                Output::Announce(text) => self.announce(&text, now),
                Output::Flush { id } => self.flush(id, now),
                Output::Hold(hold) => self.handle.media.playout.set_held(hold),
                Output::Mark(id) => self.playback.mark(id),
                Output::Synthesize { sentence, text, first } => {
                    if let Some(synthesis) = &mut self.synthesis {
                        synthesis.request(sentence, &text, first);
                    }
                }
                Output::Recite { sentence, recording } => self.recite(sentence, recording, now),
                Output::Thinking(thinks) => self.backgrounds.think(now, thinks),
                Output::AbortSynthesis { sentence } => {
                    self.recordings.abort(sentence);
                    if let Some(synthesis) = &mut self.synthesis {
                        synthesis.abort(sentence);
                    }
                }
                Output::Fetch(fetch) => self.fetches.begin(fetch, &self.dial.how),
                Output::AbortFetch { id } => self.fetches.abort(id),
                Output::Connect(connect) => self.connect(connect, now),
                Output::Disconnect => self.part(),
                Output::Close { code, reason } => {
                    if let Some(connection) = &mut self.connection {
                        connection.close(code, reason);
                    }
                    self.phase = Phase::Closing { until: now + CLOSE };
                    self.set_state(StreamState::Closing);
                }
                Output::Session(session) => self.session(session, now),
                Output::Request(request) => self.requested(request, now),
                Output::Act { call_id, action } => self.act(call_id, action),
                Output::Retry(retrying) => self.retry(retrying),
                Output::Event(event) => self.note(event, now),
                Output::NoRoom(length) => self.unplayed(length, now),
                Output::Used(usage) => {
                    for (kind, tokens) in usage.kinds().into_iter().filter(|(_, tokens)| *tokens > 0) {
                        self.handle.series.ai_tokens.add(kind, tokens);
                    }
                    self.handle.series.ai_transcribed_ms.fetch_add(usage.transcription_ms, Ordering::Relaxed);
                }
                Output::RateLimits(limits) => {
                    for limit in limits {
                        tracing::debug!(target: "OPENAI", call = %self.handle.call(), op = "rate_limit", outcome = "ok",
                            stream = %self.handle.name(), name = limit.name, limit = limit.limit,
                            remaining = limit.remaining, reset_s = limit.reset_seconds);
                    }
                }
                Output::Fault(Fault { reason }) => self.fault(&reason, now),
                Output::End(end) => self.end(end, now),
            }
        }
    }

    /// The stream ends, as the peer says.
    fn end(&mut self, end: End, now: Instant) {
        self.abandon_attempt();
        match end {
            End::WithConnection => {
                let ending = std::mem::take(&mut self.ending);
                if let Some(code) = ending.error {
                    self.tell_breaker(false, now);
                    self.fail(code, ending.reason.clone());
                }
                let ours = self.limited || ending.reason.is_empty();
                let reason = if ours { self.reason } else { &ending.reason };
                self.gone(ending.code, reason, now);
            }
            End::ByItself(error) => {
                self.attempt = None;
                if !error.is_empty() {
                    self.error = error;
                }
                self.phase = Phase::PlayingOut { until: now + CLOSE, played_ms: self.playback.status().played_ms };
            }
        }
    }

    /// `lasts` is the duration of the captured audio in the message.
    fn send_audio(&mut self, message: Message, lasts: Duration, now: Instant) {
        let before = self.outbox.stats().dropped;
        self.outbox.push_audio(payload(message), lasts);
        let lost = self.outbox.stats().dropped.saturating_sub(before);
        self.dropped(lost, now);
    }

    /// What a server wants done to the call is done where the stream's options let it.
    fn requested(&mut self, request: Request, now: Instant) {
        let (grant, action) = match request {
            Request::Answer => (Grant::Answer, CallAction::Answer),
            Request::Hangup => (Grant::Hangup, CallAction::HangUp),
            Request::Transfer { destination } => (Grant::Transfer, CallAction::Transfer { destination }),
            Request::SendDtmf { digits } => (Grant::Dtmf, CallAction::SendDtmf { digits }),
        };
        if !self.handle.spec.options.allow.contains(&grant) {
            self.peer.handle(now, Input::Denied(format!("not allowed to {action}")));
            return self.fault(&format!("the server wants to {action}; allow={grant} would let it"), now);
        }
        tracing::info!(target: "LIFECYCLE", call = %self.handle.call(), op = "server_request", outcome = "granted",
            stream = %self.handle.name(), action = self.loggable(&action.to_string()));
        self.sink.act(&self.handle, action, String::new());
    }

    /// Queues what the agent says, as far as there is room.
    fn speak(&mut self, now: Instant, audio: MonoAudio) {
        let (mut samples, rate) = linear(audio);
        let options = &self.handle.spec.options;
        let most = Duration::from_millis(u64::from(options.ai.playback_ms));
        let waiting = Duration::from_millis(self.playback.status().buffered_ms);
        let room = if options.playback { most.saturating_sub(waiting) } else { Duration::ZERO };
        let fits = rate.samples_in_ms(room.as_millis().min(u128::from(u32::MAX)) as u32).min(samples.len());
        let lost = rate.duration_of((samples.len() - fits) as u64);
        samples.truncate(fits);
        if !lost.is_zero() && options.playback {
            self.unplayed(lost, now);
        }
        self.playback.speak(now, &samples, rate);
        if !lost.is_zero() {
            self.peer.handle(now, Input::NotPlayed(lost));
        }
    }

    /// The agent said more than may wait.
    fn unplayed(&mut self, lost: Duration, now: Instant) {
        let Some(overflow) = self.unplayed.note(lost, now) else { return };
        tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "buffer_overflow", outcome = "dropped",
            stream = %self.handle.name(), dropped_ms = overflow.dropped_ms, total_dropped_ms = overflow.total_dropped_ms,
            advice = "raise ai_playback_ms");
        self.emit(Overflow { queue: Queue::Inject, ..overflow });
    }

    /// Drops what waits to be heard; how much was heard is reported once the media thread has dropped it.
    fn flush(&mut self, id: u64, now: Instant) {
        let waits = !self.playback.is_silent();
        if waits {
            self.playback.clear(now);
        }
        let pending = self.flushing.replace(id).is_some();
        if !waits && !pending {
            self.flushed(self.handle.media.playout.played_time(), now);
        }
    }

    /// The media thread has performed every flush asked for; by then the caller had been given `played`.
    pub(super) fn flushed(&mut self, played: Duration, now: Instant) {
        if let Some(id) = self.flushing.take() {
            self.peer.handle(now, Input::Flushed { id, played });
        }
    }

    /// What the model wants done with the call. The policy has checked it against the profile.
    fn act(&mut self, call_id: String, action: Action) {
        let action = match action {
            Action::HangUp { .. } => CallAction::HangUp,
            Action::Transfer { name, number, summary } => {
                let announced = self.handle.spec.options.ai.transfer_mode == TransferMode::Announced;
                let hand_over = HandOver { name, number, summary, announced };
                if announced {
                    self.handle.hand_over.ask(&call_id, &hand_over);
                }
                CallAction::HandOver(hand_over)
            }
            Action::SendDtmf { digits } => CallAction::SendDtmf { digits },
            Action::SetVariable { name, value } => CallAction::SetVariable { name, value },
        };
        tracing::info!(target: "AI_ENGINE", call = %self.handle.call(), op = "call_action", outcome = "granted",
            stream = %self.handle.name(), action = self.loggable(&action.to_string()));
        self.sink.act(&self.handle, action, call_id);
    }

    /// An event for the operator and the log.
    pub(super) fn note(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.emit(Connect {}),
            Event::Json(text) => self.emit(Json(text.into())),
            Event::Play(text) => self.emit(Play(text.into())),
            Event::Transcript(transcript) => self.emit(Transcript::from(*transcript)),
            Event::Speech(speaking) => self.emit(Speech { speaking }),
            Event::Ai(event) => {
                self.log(&event);
                self.count(&event, now);
                self.emit(event);
            }
        }
    }

    /// Counts what the metrics say of conversations. An answer begins with the end of the caller's turn, which is the change from
    /// LISTENING to PROCESSING, and is heard from the change to SPEAKING on.
    fn count(&mut self, event: &AiEvent, now: Instant) {
        match event {
            AiEvent::State { state, .. } => {
                match (self.talk, state) {
                    (State::Listening, State::Processing) => self.turn_ended = Some(now),
                    (_, State::Processing) => {}
                    (_, State::Speaking) => {
                        if let Some(ended) = self.turn_ended.take() {
                            self.handle.series.first_audio.record(now.saturating_duration_since(ended));
                        }
                    }
                    (_, State::Failed) => self.handle.series.ai_failures.count("conversation"),
                    _ => self.turn_ended = None,
                }
                self.talk = *state;
            }
            AiEvent::Turn(report) => {
                let figures = &report.figures;
                let series = &self.handle.series;
                for (histogram, time) in [(&series.answer, figures.answer), (&series.model, figures.model)] {
                    if let Some(time) = time {
                        histogram.record(time);
                    }
                }
            }
            AiEvent::Error { .. } | AiEvent::TranscriptFailed { .. } => self.handle.series.ai_failures.count("turn"),
            _ => {}
        }
    }

    fn log(&mut self, event: &AiEvent) {
        let (call, stream) = (self.handle.call().clone(), self.handle.name().clone());
        match event {
            AiEvent::State { state, last, code, message } => {
                let shown: String = self.loggable(message).chars().take(LOGGED).collect();
                match state {
                    State::Failed => {
                        tracing::error!(target: "AI_ENGINE", call = %call, op = "state", outcome = "failed",
                        stream = %stream, state = state.as_str(), code, reason = shown)
                    }
                    State::Reconnecting => tracing::warn!(target: "AI_ENGINE", call = %call, op = "state",
                        outcome = "lost", stream = %stream, state = state.as_str(), code, reason = shown),
                    _ => tracing::info!(target: "AI_ENGINE", notice = true, call = %call, op = "state", outcome = "ok",
                        stream = %stream, state = state.as_str()),
                }
                if *last {
                    // Before the event, on which somebody may start the next stream of this name.
                    let failed = *state == State::Failed;
                    self.set_state(if failed { StreamState::Error } else { StreamState::Disconnected });
                }
            }
            AiEvent::BargeIn { cause, heard_ms, received_ms, .. } => {
                tracing::info!(target: "AI_ENGINE", call = %call, op = "barge_in", outcome = "ok", stream = %stream,
                    cause = cause.as_str(), heard_ms, received_ms);
            }
            AiEvent::FalseInterruption { cause, paused, .. } => {
                tracing::info!(target: "AI_ENGINE", call = %call, op = "barge_in", outcome = "false", stream = %stream,
                    cause = cause.as_str(), paused_ms = paused.as_millis() as u64);
            }
            AiEvent::Action { call_id, name, builtin, .. } => {
                tracing::info!(target: "AI_ENGINE", call = %call, op = "function_call", outcome = "ok", stream = %stream,
                    name, call_id, builtin);
            }
            AiEvent::Error { code, message, .. } | AiEvent::TranscriptFailed { code, message, .. } => {
                let shown: String = self.loggable(message).chars().take(LOGGED).collect();
                let response_id = match event {
                    AiEvent::Error { response_id, .. } => response_id.as_deref(),
                    _ => None,
                };
                tracing::warn!(target: "AI_ENGINE", call = %call, op = "turn", outcome = "failed", stream = %stream, code,
                    reason = shown, response_id, session_id = self.ids.session_id, request_id = self.ids.request_id);
            }
            AiEvent::Response { response_id, interrupted, .. } => {
                tracing::info!(target: "AI_ENGINE", call = %call, op = "response",
                    outcome = if *interrupted { "interrupted" } else { "ok" }, stream = %stream, response_id);
            }
            AiEvent::SpeechFailed { text, code, message, latency } => {
                let shown: String = self.loggable(message).chars().take(LOGGED).collect();
                let sentence: String = self.loggable(text).chars().take(LOGGED).collect();
                tracing::error!(target: "TTS", call = %call, op = "synthesize", outcome = "failed", stream = %stream, code,
                    reason = shown, sentence, latency_ms = latency.as_millis() as u64);
            }
            AiEvent::Turn(report) => {
                let figures = &report.figures;
                let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
                tracing::info!(target: "AI_ENGINE", call = %call, op = "turn",
                    outcome = if figures.interrupted { "interrupted" } else { "ok" }, stream = %stream,
                    answer_ms = ms(figures.answer), model_ms = ms(figures.model), speech_ms = ms(figures.speech),
                    silence_ms = ms(figures.silence), heard_ms = ms(Some(figures.heard)));
            }
            AiEvent::Summary { reason, talk, usage } => {
                tracing::info!(target: "AI_ENGINE", notice = true, call = %call, op = "summary", outcome = reason,
                    stream = %stream, turns = talk.turns, interruptions = talk.interruptions, actions = talk.actions,
                    answer_ms = talk.answer_ms, input_tokens = usage.input_tokens, output_tokens = usage.output_tokens);
            }
            AiEvent::Transcript { .. } | AiEvent::Idle { .. } | AiEvent::Raw(_) => {}
        }
    }
}

fn payload(message: Message) -> Payload {
    match message {
        Message::Text(text) => Payload::Text(text),
        Message::Binary(bytes) => Payload::Binary(bytes),
    }
}

fn linear(audio: MonoAudio) -> (Vec<i16>, SampleRate) {
    let (law, bytes) = match audio {
        MonoAudio::Pcm { samples, rate } => return (samples, rate),
        MonoAudio::Mulaw(bytes) => (Law::Mu, bytes),
        MonoAudio::Alaw(bytes) => (Law::A, bytes),
    };
    let mut samples = Vec::with_capacity(bytes.len());
    law.decode(&bytes, &mut samples);
    (samples, SampleRate::HZ_8000)
}
