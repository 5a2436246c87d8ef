//! What happens to a stream that somebody outside wants to know: plain data, turned into FreeSWITCH events by `control`.
//!
//! Made on the stream's worker, carried to the event thread by value. Texts may come from the far end: they are data, never a
//! format and never expanded.

use crate::transport::ErrorCode;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamEvent {
    /// The far end accepted the connection.
    Connected,
    /// The connection ended, from whichever side.
    Disconnected {
        /// WebSocket close code; 1006 where there was none.
        code: u16,
        /// The closing side's words.
        reason: String,
    },
    /// Something failed; whether the stream goes on is told by the `Disconnected` that follows, or does not.
    Error {
        /// What failed.
        code: ErrorCode,
        /// In words an operator can act on.
        message: String,
    },
    /// The far end sent a text that is no command of the protocol; verbatim.
    Json(String),
    /// The far end sent audio in a text message; the message without the audio.
    Play(String),
    /// Audio was lost because a queue was full.
    Overflow(Overflow),
}

impl StreamEvent {
    /// Whether this ends a stream's story, so that it must reach its readers even when the call is gone.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Disconnected { .. } | Self::Error { .. })
    }
}

/// Audio lost to a full queue, summed up since the last such event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow {
    /// Which queue.
    pub queue: Queue,
    /// How bad.
    pub severity: Severity,
    /// How often audio was dropped since the last such event.
    pub drops: u64,
    /// How much audio that was, ms.
    pub dropped_ms: u64,
    /// How much since the stream started, ms.
    pub total_dropped_ms: u64,
}

/// A queue that can overflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Queue {
    /// Playback waiting to be heard, bounded by `inject_buffer_ms`.
    Inject,
    /// Captured audio waiting for the socket, bounded by `max_queue_ms`.
    Send,
}

impl Queue {
    /// The word in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Send => "send",
        }
    }
}

/// How bad an alarm is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// It began.
    Warning,
    /// It lasts.
    Error,
}

impl Severity {
    /// The word in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
