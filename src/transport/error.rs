//! What can go wrong on the way to the server, and the number under which an operator meets it.
//!
//! Pure; any thread. The numbers are those of the `error` event's body, unchanged since the C++ module.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::allowed::NotAllowed;
use super::pace::Pause;

/// The code of an `error` event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum ErrorCode {
    /// The connection broke.
    Io = 1,
    /// The server's handshake is not that of a WebSocket server.
    InvalidHeader = 2,
    /// The server masked a frame, which servers must not.
    ServerMasked = 3,
    /// Something was asked for that this module does not do.
    NotSupported = 4,
    /// The server no longer answers pings.
    PingTimeout = 5,
    /// The connection could not be made or was refused.
    ConnectFailed = 6,
    /// The TLS options are unusable.
    TlsInitFailed = 7,
    /// The TLS handshake failed: certificates, versions.
    SslHandshakeFailed = 8,
    /// TLS failed on a connection that was up.
    SslError = 9,
    /// The server did not answer in time.
    Timeout = 10,
    /// The server broke the WebSocket protocol.
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

    /// The number in the event's body.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The name in the documentation.
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

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A connection that was up has failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// For the `error` event.
    pub code: ErrorCode,
    /// For the operator.
    pub message: String,
    /// The close code that says why, if the module closed the connection for it.
    pub close: Option<u16>,
}

impl TransportError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), close: None }
    }
}

/// The TLS options of a stream cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// A file could not be read.
    #[error("cannot read {what} {}: {error}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// A file has nothing usable in it.
    #[error("{} holds no {what} in PEM form", path.display())]
    Empty {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A client certificate without its key, or the reverse.
    #[error("a client certificate needs both tls_cert and tls_key")]
    HalfIdentity,
    /// The TLS library refused the options.
    #[error("unusable TLS options: {0}")]
    Refused(String),
}

/// How far a connection attempt had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Asking the name service.
    Resolve,
    /// Waiting for the server's TCP.
    Connect,
    /// Reading certificates.
    TlsSetup,
    /// In the TLS handshake.
    TlsHandshake,
    /// Waiting for the answer to the upgrade request.
    Upgrade,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving its name",
            Self::Connect => "connecting to it",
            Self::TlsSetup => "reading the certificates",
            Self::TlsHandshake => "in the TLS handshake",
            Self::Upgrade => "waiting for its answer to the WebSocket handshake",
        })
    }
}

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host name is unknown, or the name service did not answer.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the host took the connection; the last failure.
    #[error("cannot connect to {authority}: {source}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS options are unusable; another attempt fails too until they change.
    #[error(transparent)]
    TlsSetup(#[from] TlsSetupError),
    /// The TLS handshake failed.
    #[error("TLS handshake with {authority} failed: {reason}")]
    TlsHandshake {
        /// Host and port.
        authority: String,
        /// What was wrong and what to do.
        reason: String,
    },
    /// TLS failed after its handshake.
    #[error("TLS connection to {authority} failed: {reason}")]
    Tls {
        /// Host and port.
        authority: String,
        /// What was wrong.
        reason: String,
    },
    /// The connection broke before the WebSocket was up.
    #[error("connection to {authority} broke: {source}")]
    Io {
        /// Host and port.
        authority: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server took the connection and closed it without an answer.
    #[error("{0} closed the connection without answering the WebSocket handshake")]
    NoAnswer(String),
    /// An HTTP answer other than 101.
    #[error("{authority} refused the WebSocket: HTTP {status}{hint}")]
    Refused {
        /// Host and port.
        authority: String,
        /// The HTTP status.
        status: u16,
        /// The server asks for a pause.
        pause: Option<Pause>,
        /// What it calls the request, if it says so.
        request_id: Option<String>,
        /// Its usual words and what to do.
        hint: String,
    },
    /// The answer is not that of a WebSocket server.
    #[error("{authority} answered with a bad WebSocket handshake: {reason}")]
    BadHandshake {
        /// Host and port.
        authority: String,
        /// What was wrong.
        reason: String,
    },
    /// The server does not speak the subprotocol that was asked for.
    #[error("{authority} answered with a bad WebSocket handshake: it did not choose the subprotocol {offered}")]
    NoSubprotocol {
        /// Host and port.
        authority: String,
        /// What was asked for.
        offered: String,
    },
    /// The answer broke the protocol in another way.
    #[error("{authority} broke the WebSocket protocol: {reason}")]
    Protocol {
        /// Host and port.
        authority: String,
        /// What was wrong.
        reason: String,
    },
    /// The server has failed so often that nobody is sent there for a while.
    #[error(
        "{origin} has failed too often: its circuit breaker is open, and lets nobody through for {} s more",
        wait.as_millis().div_ceil(1_000)
    )]
    CircuitOpen {
        /// Scheme, host and port.
        origin: String,
        /// How long.
        wait: Duration,
    },
    /// The operator's list of servers does not have it; another attempt fails too until the list or the server's address changes.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The server has said that it is too busy, and how long it wants to be left alone.
    #[error("{origin} has said that it is too busy: it is not asked again for {} s", wait.as_millis().div_ceil(1_000))]
    Busy {
        /// Scheme, host and port.
        origin: String,
        /// How long.
        wait: Duration,
    },
    /// Nothing came in time.
    #[error("no connection to {authority} within {} ms: gave up {phase}", after.as_millis())]
    Timeout {
        /// Host and port.
        authority: String,
        /// The limit.
        after: Duration,
        /// How far it had come.
        phase: Phase,
    },
}

impl ConnectError {
    /// The code of the `error` event.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Refused { .. }
            | Self::NoAnswer(_)
            | Self::NotAllowed(_)
            | Self::CircuitOpen { .. }
            | Self::Busy { .. } => ErrorCode::ConnectFailed,
            Self::TlsSetup(_) => ErrorCode::TlsInitFailed,
            Self::TlsHandshake { .. } => ErrorCode::SslHandshakeFailed,
            Self::Tls { .. } => ErrorCode::SslError,
            Self::Io { .. } => ErrorCode::Io,
            Self::BadHandshake { .. } | Self::NoSubprotocol { .. } => ErrorCode::InvalidHeader,
            Self::Protocol { .. } => ErrorCode::Protocol,
            Self::Timeout { .. } => ErrorCode::Timeout,
        }
    }

    /// Whether it counts against the server, for everybody: not what depends on this stream's options (TLS, subprotocol, a time
    /// limit of less than a second) or account, nor what is missing on this machine (descriptors, memory, ports, a route, a
    /// resolver). A server that answers with a status below 500, or asks for a pause, works; except 408.
    pub fn blames_server(&self) -> bool {
        match self {
            Self::TlsSetup(_)
            | Self::TlsHandshake { .. }
            | Self::NoSubprotocol { .. }
            | Self::NotAllowed(_)
            | Self::CircuitOpen { .. }
            | Self::Busy { .. }
            | Self::Resolve { .. } => false,
            Self::Connect { source, .. } | Self::Io { source, .. } => !is_ours(source),
            Self::Timeout { after, phase, .. } => {
                *after >= FAIR_LIMIT && !matches!(phase, Phase::Resolve | Phase::TlsSetup)
            }
            Self::Refused { status, pause, .. } => pause.is_none() && (*status == 408 || *status >= 500),
            _ => true,
        }
    }

    /// How long the server wants to be left alone by all calls, if it says so.
    pub const fn pause(&self) -> Option<Pause> {
        match self {
            Self::Refused { pause, .. } => *pause,
            _ => None,
        }
    }

    /// What the server calls the request that it has refused, if it says so.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused { request_id, .. } => request_id.as_deref(),
            _ => None,
        }
    }

    /// Whether the next attempt would fail in the same way, whenever it is made: unusable options, or a server that answers and
    /// does not take this stream. 408 and 429 ask for another attempt.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::TlsSetup(_) | Self::NoSubprotocol { .. } | Self::NotAllowed(_) => true,
            Self::Refused { status, .. } => *status < 500 && !matches!(*status, 408 | 429),
            _ => false,
        }
    }
}

/// Less than this is not enough for one lost packet: Linux repeats a SYN after a second.
const FAIR_LIMIT: Duration = Duration::from_secs(1);

/// Whether this machine lacks something: descriptors, memory, ports, a permission, a route.
fn is_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkDown, NetworkUnreachable, OutOfMemory, PermissionDenied};
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS))
        || matches!(error.kind(), AddrNotAvailable | NetworkDown | NetworkUnreachable | OutOfMemory | PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_predecessor() {
        use ErrorCode::*;
        let codes = [
            Io,
            InvalidHeader,
            ServerMasked,
            NotSupported,
            PingTimeout,
            ConnectFailed,
            TlsInitFailed,
            SslHandshakeFailed,
            SslError,
            Timeout,
            Protocol,
        ];
        assert_eq!(codes.map(ErrorCode::as_u8), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_refused_or_limited_account_does_not_count_against_a_server() {
        let paused = |status, pause| ConnectError::Refused {
            authority: String::new(),
            status,
            pause,
            request_id: None,
            hint: String::new(),
        };
        let refused = |status| paused(status, None);
        for (status, blamed) in
            [(301, false), (401, false), (403, false), (404, false), (429, false), (408, true), (503, true)]
        {
            assert_eq!(refused(status).blames_server(), blamed, "{status}");
        }
        for (status, permanent) in [(301, true), (401, true), (404, true), (408, false), (429, false), (503, false)] {
            assert_eq!(refused(status).is_permanent(), permanent, "{status}");
        }
        assert!(ConnectError::TlsSetup(TlsSetupError::HalfIdentity).is_permanent());
        assert!(!ConnectError::NoAnswer(String::new()).is_permanent());
        assert!(!ConnectError::TlsSetup(TlsSetupError::HalfIdentity).blames_server());
        assert!(ConnectError::NoAnswer(String::new()).blames_server());
        let pause = Some(Pause::Stated(Duration::from_secs(1)));
        assert!(!paused(503, pause).blames_server() && paused(503, pause).pause() == pause);
    }

    #[test]
    fn what_this_machine_lacks_does_not_count_against_a_server() {
        let connect =
            |code| ConnectError::Connect { authority: String::new(), source: io::Error::from_raw_os_error(code) };
        for code in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EADDRNOTAVAIL,
            libc::EPERM,
            libc::ENETUNREACH,
        ] {
            assert!(!connect(code).blames_server(), "{}", connect(code));
        }
        for code in [libc::ECONNREFUSED, libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH] {
            assert!(connect(code).blames_server(), "{}", connect(code));
        }
        let source = io::Error::other("Temporary failure in name resolution");
        assert!(!ConnectError::Resolve { host: String::new(), source }.blames_server());
        let late =
            |ms, phase| ConnectError::Timeout { authority: String::new(), after: Duration::from_millis(ms), phase };
        for (error, blamed) in [
            (late(5_000, Phase::Connect), true),
            (late(1_000, Phase::Upgrade), true),
            (late(999, Phase::Upgrade), false),
            (late(5_000, Phase::Resolve), false),
            (late(5_000, Phase::TlsSetup), false),
        ] {
            assert_eq!(error.blames_server(), blamed, "{error}");
        }
    }
}
