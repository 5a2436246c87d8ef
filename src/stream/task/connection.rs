//! The connections of a stream: made when the peer asks for one, lost, left behind with what waits for them; and what the circuit
//! breaker learns of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::state::StreamState;
use super::dial::{Ending, part_with};
use super::{LOGGED_TEXT, Phase, Task};
use crate::event::{Reconnecting, ServiceIds};
use crate::peer::{Connect, Input, Retrying, Session};
use crate::transport::{ABNORMAL_CLOSE, ConnectError, Connection, Incoming, NotNow};

/// Characters of a reason that the log shows.
const LOGGED: usize = 200;

impl Task {
    /// Begins to connect, as the peer has asked.
    pub(super) fn connect(&mut self, Connect { target, caller_waits }: Connect, now: Instant) {
        // What the last connection did not take is accounted for by the peer.
        self.connection = None;
        self.outbox.clear();
        if let Some(target) = target {
            match self.dial.to(&target) {
                Ok(dial) => self.dial = Arc::new(dial),
                Err(message) => {
                    return self.peer.handle(
                        now,
                        Input::Refused { status: None, permanent: true, after: Duration::ZERO, message: &message },
                    );
                }
            }
        }
        // Before the next is asked for: it may be the probe.
        self.attempt = None;
        match self.breakers.admit(now, self.breaker, &self.dial.endpoint, caller_waits) {
            Ok(attempt) => {
                self.attempt = Some(attempt);
                self.connecting = Some(self.dial.connect());
                self.dialled = Some(now);
            }
            Err(NotNow { wait, busy }) => {
                self.handle.series.connects.count(if busy { "busy" } else { "breaker_open" });
                let origin = self.dial.endpoint.origin();
                let (error, after) = match busy {
                    true => (ConnectError::Busy { origin, wait }, wait),
                    // One that waits may be let through before.
                    false => (ConnectError::CircuitOpen { origin, wait }, Duration::ZERO),
                };
                self.not_made(&error);
                self.peer.handle(now, Input::NotAttempted { after, message: &error.to_string() });
            }
        }
    }

    /// The connection is up.
    pub(super) fn connected(&mut self, connection: Connection, now: Instant) {
        self.connecting = None;
        self.ids = ServiceIds { request_id: connection.request_id().map(str::to_owned), ..ServiceIds::default() };
        self.connection = Some(connection);
        self.handle.series.connects.count("ok");
        if let Some(dialled) = self.dialled.take() {
            self.handle.series.connect.record(now.saturating_duration_since(dialled));
        }
        tracing::info!(target: "WS_STREAM", notice = true, call = %self.handle.call(), op = "connect", outcome = "ok",
            stream = %self.handle.name(), url = %self.handle.spec.endpoint,
            ms = self.handle.started.elapsed().as_millis() as u64, request_id = self.ids.request_id);
        // First, so that a handler of the event finds the stream streaming.
        if matches!(self.phase, Phase::Open) {
            self.set_state(StreamState::Streaming);
        }
        // A clock set to before 1970 is as wrong as one set to 1970.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.tell(Input::Opened { unix_seconds: since_epoch.as_secs() }, now);
    }

    /// The connection could not be made.
    pub(super) fn not_connected(&mut self, error: &ConnectError, now: Instant) {
        self.connecting = None;
        self.handle.series.connects.count(error.code().as_str());
        let mut after = Duration::ZERO;
        if !error.blames_server()
            && let (Some(attempt), Some(pause)) = (self.attempt.take(), error.pause())
        {
            after = attempt.asked_to_wait(now, pause);
        }
        self.not_made(error);
        self.ids = ServiceIds { request_id: error.request_id().map(str::to_owned), ..ServiceIds::default() };
        let status = match error {
            ConnectError::Refused { status, .. } => Some(*status),
            _ => None,
        };
        self.tell(Input::Refused { status, permanent: error.is_permanent(), after, message: &error.to_string() }, now);
    }

    fn not_made(&mut self, error: &ConnectError) {
        self.ending = Ending { code: ABNORMAL_CLOSE, reason: error.to_string(), error: Some(error.code()) };
    }

    /// A message has arrived, or the connection has ended.
    pub(super) fn received(&mut self, incoming: Incoming, now: Instant) {
        self.peer.set_unsent(self.outbox.stats().waiting);
        match incoming {
            Incoming::Text(text) => {
                self.handle.counters.received.fetch_add(1, Ordering::Relaxed);
                self.log_text(text.as_str());
                self.message_came();
                self.tell(Input::Text(text.as_str()), now);
            }
            Incoming::Binary(bytes) => {
                self.handle.counters.received.fetch_add(1, Ordering::Relaxed);
                self.message_came();
                self.tell(Input::Binary(&bytes), now);
            }
            Incoming::Rejected(rejected) => self.fault(&rejected.to_string(), now),
            Incoming::Ahead(ahead) => {
                self.handle.counters.floods.fetch_add(1, Ordering::Relaxed);
                self.fault(&ahead.to_string(), now);
            }
            Incoming::Closed(closure) => {
                self.ended(Ending { code: closure.code, reason: closure.reason.to_string(), error: None }, now);
            }
            Incoming::Failed(error) => {
                let code = error.close.unwrap_or(ABNORMAL_CLOSE);
                self.ended(Ending { code, reason: error.to_string(), error: Some(error.code) }, now);
            }
        }
    }

    fn ended(&mut self, ending: Ending, now: Instant) {
        self.connection = None;
        self.server_is_gone();
        let (code, reason) = (ending.code, ending.reason.clone());
        self.ending = ending;
        self.tell(Input::Closed { code, reason: &reason }, now);
    }

    /// The beginning of a received text, for those who debug their server; `suppress_log` keeps it out.
    fn log_text(&self, text: &str) {
        let wanted = tracing::enabled!(target: "WS_STREAM", tracing::Level::DEBUG);
        if wanted && !self.handle.spec.options.suppress_log && self.peer.is_readable(text) {
            let shown: String = text.chars().take(LOGGED_TEXT).collect();
            tracing::debug!(target: "WS_STREAM", call = %self.handle.call(), op = "receive", outcome = "ok",
                stream = %self.handle.name(), bytes = text.len(), text = shown);
        }
    }

    /// No connection is wanted any more, if one is being made.
    pub(super) fn abandon_attempt(&mut self) {
        if let Some(connecting) = self.connecting.take() {
            connecting.abandon();
        }
    }

    /// There is no connection, and another attempt comes after a wait: the operator is told, and what has not been sent of the
    /// captured audio is sent with the next one. A stream that ends makes no other attempt.
    pub(super) fn retry(&mut self, Retrying { attempt, wait, code, reason }: Retrying) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        let ending = std::mem::take(&mut self.ending);
        if ending.error.is_some() {
            self.tell_breaker(false, Instant::now());
        }
        // Nobody is left to let the audio go on that the server has held.
        self.handle.media.playout.set_held(false);
        let (unsent, lost) = (self.outbox.stats().waiting, self.outbox.texts_waiting());
        self.capture.take_back(unsent);
        self.outbox.clear();
        self.set_state(StreamState::Reconnecting);
        self.handle.counters.reconnects.fetch_add(1, Ordering::Relaxed);
        let delay_ms = wait.as_millis() as u64;
        let shown: String = self.loggable(&reason).chars().take(LOGGED).collect();
        tracing::warn!(target: "WS_STREAM", call = %self.handle.call(), op = "connection", outcome = "lost",
            stream = %self.handle.name(), url = %self.handle.spec.endpoint, code, reason = shown, attempt, delay_ms,
            unsent_ms = unsent.as_millis() as u64, lost_messages = lost);
        let attempts = self.handle.spec.options.reconnect_max;
        self.emit(Reconnecting {
            attempt,
            attempts,
            delay_ms,
            code,
            lost_messages: lost as u64,
            reason: reason.into(),
        });
    }

    /// Sends what waits and closes, whatever comes next meanwhile.
    pub(super) fn part(&mut self) {
        self.abandon_attempt();
        self.attempt = None;
        let outbox = self.outbox.hand_over();
        if let Some(connection) = self.connection.take() {
            self.parting = Some(Box::pin(part_with(connection, outbox)));
        }
    }

    /// Tells the breaker what has become of an attempt. A refused key, account or configuration does not count against the
    /// server: others may use it with theirs. The end of an open session does not count either.
    pub(super) fn session(&mut self, session: Session, now: Instant) {
        match session {
            Session::Up => {
                // A conversation whose service is asked over HTTP has no connection to be told of.
                if self.connection.is_none() && matches!(self.phase, Phase::Open) {
                    self.set_state(StreamState::Streaming);
                }
                self.tell_breaker(true, now);
                self.server_is_up(now);
            }
            Session::Named(session_id) => {
                tracing::info!(target: "OPENAI", call = %self.handle.call(), op = "session", outcome = "ok",
                    stream = %self.handle.name(), session_id, request_id = self.ids.request_id);
                self.ids.session_id = Some(session_id);
            }
            Session::Lost { fatal, connected, code, message } => {
                let (op, outcome) = if connected { ("connection", "lost") } else { ("connect", "failed") };
                let shown: String = self.loggable(&message).chars().take(LOGGED).collect();
                tracing::warn!(target: "OPENAI", call = %self.handle.call(), op, outcome,
                    stream = %self.handle.name(), url = %self.handle.spec.endpoint, code, reason = shown,
                    session_id = self.ids.session_id, request_id = self.ids.request_id);
                if fatal {
                    self.attempt = None;
                } else {
                    self.tell_breaker(false, now);
                }
            }
        }
    }

    /// The attempt has succeeded, as far as the server is concerned, or failed.
    pub(super) fn tell_breaker(&mut self, succeeded: bool, now: Instant) {
        let Some(attempt) = self.attempt.take() else { return };
        if succeeded {
            attempt.succeeded(now);
        } else {
            attempt.failed(now);
        }
    }
}
