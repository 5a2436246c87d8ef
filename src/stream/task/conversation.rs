//! What the stream's task does for a conversation, beyond what it does for a server: connections that come and go, playback
//! that is accounted for, actions on the call.

use std::time::{Duration, Instant};

use super::super::action::CallAction;
use super::super::ai::Effect;
use super::super::conversation::Reached;
use super::super::state::{StreamMode, StreamState};
use super::{CLOSE, NORMAL_CLOSE, Phase, Task};
use crate::agent::{self, Action, State};
use crate::event::{Overflow, Queue, Speech};
use crate::protocol::{Audio, Play};
use crate::transport::{ABNORMAL_CLOSE, BreakerKind, ConnectError, Connection, Incoming, Outbox, Payload};
use crate::tts::SpeechEvent;
use crate::units::{PcmFormat, SampleRate};

/// Characters of an error's text that the log shows.
const LOGGED: usize = 200;

impl Task {
    /// The stream's first act.
    pub(super) fn begin(&mut self, now: Instant) {
        match self.protocol.conversation() {
            Some(conversation) => {
                conversation.start(now);
                self.perform(now, false);
            }
            None => {
                if let Err(left_alone) = self.reach(BreakerKind::WebSocket, false, now) {
                    self.not_connected(&left_alone, now);
                }
            }
        }
    }

    /// Does one thing that the conversation wants.
    pub(super) fn effect(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Connect => {
                // What the last connection did not take is accounted for by the conversation.
                self.connection = None;
                self.outbox.clear();
                let caller_waits = self.protocol.conversation().is_some_and(|conversation| conversation.has_begun());
                if let Err(left_alone) = self.reach(BreakerKind::Ai, caller_waits, now)
                    && let Some(conversation) = self.protocol.conversation()
                {
                    conversation.left_alone(now, &left_alone.to_string());
                }
            }
            Effect::Disconnect => self.part(),
            Effect::Send(text) => self.send(Payload::Text(text), None, now),
            Effect::SendAudio { message, duration } => self.send(Payload::Text(message), Some(duration), now),
            Effect::Play { samples, rate } => self.speak(now, samples, rate),
            Effect::Flush => self.flush(now),
            Effect::Act { call_id, action } => self.do_with_call(call_id, action),
            Effect::Event(event) => {
                self.log(&event);
                self.emit(event);
            }
            Effect::Speech(speaking) => self.emit(Speech { speaking }),
            Effect::RateLimits(limits) => {
                for limit in limits {
                    tracing::debug!(target: "OPENAI", call = %self.handle.call(), op = "rate_limit", outcome = "ok",
                        stream = %self.handle.name(), name = limit.name, limit = limit.limit, remaining = limit.remaining,
                        reset_s = limit.reset_seconds);
                }
            }
            Effect::Fault(fault) => self.fault(&fault.reason, now),
            Effect::Over(error) => {
                self.connecting = None;
                self.attempt = None;
                if !error.is_empty() {
                    self.error = error;
                }
                self.phase = Phase::PlayingOut { until: now + CLOSE };
            }
        }
    }

    /// Sends what waits and closes, whatever comes next meanwhile.
    fn part(&mut self) {
        self.connecting = None;
        self.attempt = None;
        let outbox = self.outbox.hand_over();
        if let Some(connection) = self.connection.take() {
            self.parting = Some(Box::pin(farewell(connection, outbox)));
        }
    }

    /// Tells the breaker what has become of an attempt. A refused key, account or configuration does not count against the
    /// server: others may use it with theirs. Nor does the end of a session that there was.
    pub(super) fn judge(&mut self, now: Instant) {
        match self.protocol.conversation().and_then(|conversation| conversation.take_reached()) {
            Some(Reached::Session) => self.tell_breaker(true, now),
            Some(Reached::Lost { fatal: false }) => self.tell_breaker(false, now),
            Some(Reached::Lost { fatal: true }) => self.attempt = None,
            None => {}
        }
    }

    /// The connection asked for could not be made.
    pub(super) fn refused(&mut self, error: &ConnectError, now: Instant) {
        let status = match error {
            ConnectError::Refused { status, .. } => Some(*status),
            _ => None,
        };
        let message = refusal(error);
        tracing::warn!(target: "OPENAI", call = %self.handle.call(), op = "connect", outcome = "failed",
            stream = %self.handle.name(), url = %self.handle.spec.endpoint, reason = %message);
        if let Some(conversation) = self.protocol.conversation() {
            conversation.refused(now, status, &message);
            self.perform(now, false);
        }
    }

    /// The connection has ended by itself.
    pub(super) fn lost(&mut self, incoming: &Incoming, now: Instant) {
        self.connection = None;
        let (code, reason) = match incoming {
            Incoming::Closed(closure) => (closure.code, closure.reason.to_string()),
            Incoming::Failed(error) => (ABNORMAL_CLOSE, error.to_string()),
            // Messages are no end.
            _ => return,
        };
        let shown: String = self.loggable(&reason).chars().take(LOGGED).collect();
        tracing::warn!(target: "OPENAI", call = %self.handle.call(), op = "connection", outcome = "lost",
            stream = %self.handle.name(), code, reason = shown);
        if let Some(conversation) = self.protocol.conversation() {
            conversation.closed(now, code, &reason);
            self.perform(now, false);
        }
    }

    /// Queues what the agent says, as far as there is room.
    fn speak(&mut self, now: Instant, mut samples: Vec<i16>, rate: SampleRate) {
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
        let audio = Audio::Pcm { samples, format: PcmFormat { rate, channels: 1 } };
        self.playback.play(now, Play { audio, clear: false });
        if let Some(conversation) = self.protocol.conversation()
            && !lost.is_zero()
        {
            conversation.not_played(now, lost);
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

    /// Drops what waits to be heard; how much was heard is told once the media thread has done so.
    fn flush(&mut self, now: Instant) {
        let waits = !self.playback.is_silent();
        if waits {
            self.playback.clear();
        }
        let played = self.handle.media.playout.played_time();
        if let Some(conversation) = self.protocol.conversation()
            && !waits
            && conversation.flushes() == 1
        {
            conversation.flushed(now, played);
        }
    }

    /// The media thread has performed every clear asked for.
    pub(super) fn flushed(&mut self, played_ms: u64, now: Instant) {
        if let Some(conversation) = self.protocol.conversation() {
            conversation.flushed(now, Duration::from_millis(played_ms));
            self.perform(now, false);
        }
    }

    /// Tells the conversation where playback stands.
    pub(super) fn tell_playback(&mut self, now: Instant) {
        let Some(conversation) = self.protocol.conversation() else { return };
        // In this order: what is idle now has been heard by the count that is read after it.
        let idle = self.playback.is_silent();
        conversation.playback(now, self.handle.media.playout.played_time(), idle);
        self.perform(now, false);
    }

    /// The caller begins or stops to speak, by our own ears. What was said before has been sent.
    pub(super) fn tell_speech(&mut self, now: Instant) {
        while let Some(speaking) = self.capture.next_speech() {
            if let Some(conversation) = self.protocol.conversation() {
                conversation.local_speech(now, speaking);
                self.perform(now, false);
            }
        }
    }

    /// Something has come of a sentence that was to be spoken.
    pub(super) fn spoken(&mut self, event: SpeechEvent, now: Instant) {
        let (call, stream) = (self.handle.call(), self.handle.name());
        match &event {
            SpeechEvent::Done { id, report } => tracing::info!(target: "TTS", call = %call, op = "synthesize",
                outcome = "ok", stream = %stream, sentence = id, provider = report.provider, cached = report.cached,
                first_audio_ms = report.first_audio.as_millis() as u64, spoken_ms = report.spoken.as_millis() as u64),
            SpeechEvent::Retried { id, error } => tracing::warn!(target: "TTS", call = %call, op = "synthesize",
                outcome = "retried", stream = %stream, sentence = id, reason = %error),
            SpeechEvent::Switched { id, from, to } => tracing::warn!(target: "TTS", call = %call, op = "fallback",
                outcome = "switched", stream = %stream, sentence = id, from, to),
            // The conversation makes an event of it, which is logged.
            SpeechEvent::Audio { .. } | SpeechEvent::Failed { .. } => {}
        }
        if let Some(conversation) = self.protocol.conversation() {
            conversation.spoken(now, event);
            self.perform(now, false);
        }
    }

    /// What the model wants done with the call. The policy has checked it against the profile.
    fn do_with_call(&mut self, call_id: String, action: Action) {
        let action = match action {
            Action::HangUp { .. } => CallAction::HangUp,
            Action::Transfer { destination } => CallAction::Transfer { destination },
            Action::SendDtmf { digits } => CallAction::SendDtmf { digits },
            Action::SetVariable { name, value } => CallAction::SetVariable { name, value },
        };
        tracing::info!(target: "AI_ENGINE", call = %self.handle.call(), op = "call_action", outcome = "granted",
            stream = %self.handle.name(), action = self.loggable(&action.to_string()));
        self.sink.act(&self.handle, action, call_id);
    }

    fn log(&mut self, event: &agent::Event) {
        let (call, stream) = (self.handle.call().clone(), self.handle.name().clone());
        match event {
            agent::Event::State { state, last, code, message } => {
                let shown: String = message.chars().take(LOGGED).collect();
                match state {
                    State::Failed => {
                        tracing::error!(target: "AI_ENGINE", call = %call, op = "state", outcome = "failed",
                        stream = %stream, state = state.as_str(), code, reason = shown)
                    }
                    State::Reconnecting => tracing::warn!(target: "AI_ENGINE", call = %call, op = "state",
                        outcome = "lost", stream = %stream, state = state.as_str(), code, reason = shown),
                    _ => tracing::info!(target: "AI_ENGINE", call = %call, op = "state", outcome = "ok",
                        stream = %stream, state = state.as_str()),
                }
                if *last {
                    // Before the event, on which somebody may start the next stream of this name.
                    let failed = *state == State::Failed;
                    self.set_state(if failed { StreamState::Error } else { StreamState::Disconnected });
                }
            }
            agent::Event::BargeIn { cause, heard_ms, received_ms, .. } => {
                tracing::info!(target: "AI_ENGINE", call = %call, op = "barge_in", outcome = "ok", stream = %stream,
                    cause = cause.as_str(), heard_ms, received_ms);
            }
            agent::Event::Action { call_id, name, builtin, .. } => {
                tracing::info!(target: "AI_ENGINE", call = %call, op = "function_call", outcome = "ok", stream = %stream,
                    name, call_id, builtin);
            }
            agent::Event::Error { code, message, .. } => {
                let shown: String = message.chars().take(LOGGED).collect();
                tracing::warn!(target: "AI_ENGINE", call = %call, op = "turn", outcome = "failed", stream = %stream, code,
                    reason = shown);
            }
            agent::Event::SpeechFailed { code, message, latency, .. } => {
                let shown: String = message.chars().take(LOGGED).collect();
                tracing::error!(target: "TTS", call = %call, op = "synthesize", outcome = "failed", stream = %stream, code,
                    reason = shown, latency_ms = latency.as_millis() as u64);
            }
            agent::Event::Transcript { .. } | agent::Event::Response { .. } | agent::Event::Idle { .. } => {}
        }
    }

    /// Lets others see how the conversation stands.
    pub(super) fn publish_conversation(&mut self) {
        if self.handle.spec.options.mode != StreamMode::Ai {
            return;
        }
        if let Some(conversation) = self.protocol.conversation() {
            let mut shared = self.handle.ai.lock();
            shared.status = conversation.status();
            if shared.awaited != conversation.awaited() {
                shared.awaited = conversation.awaited().to_vec();
            }
        }
    }
}

/// Sends what waits, closes, and waits for the far end's close, which the connection bounds to two seconds.
async fn farewell(mut connection: Connection, mut outbox: Outbox) {
    connection.close(NORMAL_CLOSE, "");
    loop {
        let driven = std::future::poll_fn(|cx| connection.poll_drive(cx, &mut outbox)).await;
        if matches!(driven, Incoming::Closed(_) | Incoming::Failed(_)) {
            return;
        }
    }
}

/// Why there is no connection, and which options to look at: those of a conversation are not those of a server.
fn refusal(error: &ConnectError) -> String {
    match error {
        ConnectError::Refused { authority, status: status @ (401 | 403), .. } => {
            format!(
                "{authority} refused the key: HTTP {status}; check openai_api_key, openai_auth and what the key may use"
            )
        }
        ConnectError::Refused { status: 404, .. } => format!("{error}; check openai_base_url and openai_model"),
        _ => error.to_string(),
    }
}
