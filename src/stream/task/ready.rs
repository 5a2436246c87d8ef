//! Whether the server is ready for the caller, as the option `ready` has it, and what follows.

use std::time::{Duration, Instant};

use super::Task;
use crate::event::Ready as ReadyEvent;
use crate::stream::state::{Ready, StreamMode};
use crate::transport::ErrorCode;

impl Task {
    /// Whether captured audio is for the server.
    pub(super) fn gate_passes(&self) -> bool {
        self.gate.is_open() || self.handle.spec.options.ready.is_none()
    }

    /// The server serves us: a connection, or the session of a conversation, whose first messages have come by then.
    pub(super) fn server_is_up(&mut self, now: Instant) {
        let options = &self.handle.spec.options;
        if self.gate.is_open() {
            return;
        }
        if options.ready == Some(Ready::FirstMessage) && options.mode == StreamMode::Ws {
            self.gate.wait(Some(now + Duration::from_millis(options.ready_timeout_ms.into())));
        } else {
            self.open_gate();
        }
    }

    /// A message has come.
    pub(super) fn message_came(&mut self) {
        if self.gate.waits() {
            self.open_gate();
        }
    }

    /// The connection is gone; the next one may bring the message.
    pub(super) fn server_is_gone(&mut self) {
        self.gate.wait(None);
    }

    /// No message has come in time.
    pub(super) fn gate_due(&mut self, now: Instant) {
        if !self.gate.is_late(now) {
            return;
        }
        let message = format!("the server sent no message within {} ms", self.handle.spec.options.ready_timeout_ms);
        self.fail(ErrorCode::Timeout, message);
        self.sink.detach(&self.handle);
        self.stop(None, "not ready", now);
    }

    fn open_gate(&mut self) {
        self.gate.open();
        self.handle.set_ready();
        if self.handle.spec.options.ready.is_none() {
            return;
        }
        // What is in the ring was said before.
        self.capture.collect();
        self.drop_captured();
        let after_ms = self.handle.started.elapsed().as_millis() as u64;
        tracing::info!(target: "WS_STREAM", notice = true, call = %self.handle.call(), op = "ready", outcome = "ok",
            stream = %self.handle.name(), after_ms);
        self.emit(ReadyEvent { after_ms });
    }

    /// Drops what was captured, and what was heard in it.
    pub(super) fn drop_captured(&mut self) {
        self.capture.discard();
        while self.capture.next_speech().is_some() {}
    }
}
