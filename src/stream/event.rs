//! What happens to a stream that somebody outside wants to know: plain data, turned into FreeSWITCH events by `control`.
//!
//! Made on the stream's worker, carried to the event thread by value. Texts may come from the far end: they are data, never a
//! format and never expanded.

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

/// What failed: the numbers of the `error` event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ErrorCode {
    /// Reading from or writing to the socket.
    Io = 1,
    /// A header of the upgrade could not be sent or understood.
    InvalidHeader = 2,
    /// The server masked a frame.
    ServerMasked = 3,
    /// Something asked for that this module or the server cannot do.
    NotSupported = 4,
    /// No pong in time.
    PingTimeout = 5,
    /// Name lookup, connection or upgrade was refused.
    ConnectFailed = 6,
    /// TLS could not be set up: certificate files.
    TlsInitFailed = 7,
    /// The TLS handshake failed: certificate or version.
    SslHandshakeFailed = 8,
    /// TLS failed after the handshake.
    SslError = 9,
    /// Not connected in time.
    Timeout = 10,
    /// The far end broke the protocol.
    Protocol = 11,
}

impl ErrorCode {
    /// All of them, by number.
    pub const ALL: [Self; 11] = [
        Self::Io,
        Self::InvalidHeader,
        Self::ServerMasked,
        Self::NotSupported,
        Self::PingTimeout,
        Self::ConnectFailed,
        Self::TlsInitFailed,
        Self::SslHandshakeFailed,
        Self::SslError,
        Self::Timeout,
        Self::Protocol,
    ];

    /// The number in the event.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code of a number from 1 to 11.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The name in the documentation and in the event's headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Io => "IO",
            Self::InvalidHeader => "INVALID_HEADER",
            Self::ServerMasked => "SERVER_MASKED",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::PingTimeout => "PING_TIMEOUT",
            Self::ConnectFailed => "CONNECT_FAILED",
            Self::TlsInitFailed => "TLS_INIT_FAILED",
            Self::SslHandshakeFailed => "SSL_HANDSHAKE_FAILED",
            Self::SslError => "SSL_ERROR",
            Self::Timeout => "TIMEOUT",
            Self::Protocol => "PROTOCOL",
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_are_one_to_eleven_and_come_back() {
        for (at, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), at + 1);
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
        assert_eq!(ErrorCode::from_number(12), None);
    }
}
