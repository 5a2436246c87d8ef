//! The gate of `ready=…`: what the caller says is for the server from the moment on at which that is there, and not before.
//!
//! Owned by the stream's task. Until the gate opens, captured audio is dropped as it comes, and not counted as lost. What the server
//! sends is played, and what is to be said to it first is sent, whatever the gate. Once open it stays open: a lost connection is
//! another matter. A stream without the option is ready with its first session.

use std::time::Instant;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Gate {
    open: bool,
    /// The server is connected, and its first message must come until then.
    until: Option<Instant>,
}

impl Gate {
    /// Whether the server has been there.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the first message is waited for.
    pub(super) const fn waits(&self) -> bool {
        self.until.is_some()
    }

    /// The first message is waited for until then; with `None` not any more.
    pub(super) const fn wait(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    /// The server is there.
    pub(super) const fn open(&mut self) {
        (self.open, self.until) = (true, None);
    }

    /// Whether the first message is late; said once.
    pub(super) fn is_late(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    /// When it will be.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.until
    }
}
