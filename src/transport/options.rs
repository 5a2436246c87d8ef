//! How a connection is made, and its limits afterwards.

use std::time::Duration;

use super::allowed::ServerGate;
use super::headers::Headers;
use super::tls::TlsOptions;

/// How to connect, and the limits of the connection afterwards.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// For everything from the name to the WebSocket's handshake.
    pub timeout: Duration,
    /// Sent with the handshake.
    pub headers: Headers,
    /// Offered with the handshake; a server that does not choose it is refused.
    pub subprotocol: Option<String>,
    /// Offered where `subprotocol` is none; a server that does not choose it is connected to once more, without.
    pub preferred_subprotocol: Option<String>,
    /// Which servers may be connected to.
    pub servers: ServerGate,
    /// Used for `wss` only.
    pub tls: TlsOptions,
    /// Our own pings; `None`: none are sent (those of the server are answered always).
    pub heartbeat: Option<Heartbeat>,
    /// Longest message handed on, in bytes; longer ones are refused one by one and the connection goes on. Above
    /// four times as much (at least 1 MiB, at most 64 MiB) the connection is closed with 1009.
    pub max_message: usize,
    /// Frames that the server may send in a second, on average; 8 KiB of a longer one count as one, and the frames of two seconds
    /// may come at once. The socket is read no faster. See [`Incoming::Ahead`](super::Incoming::Ahead).
    pub max_messages_per_s: u32,
}

impl Default for ConnectOptions {
    /// 10 s, no headers, any server, TLS verified, no heartbeat, messages up to 2 MiB, 1,000 a second.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            headers: Headers::default(),
            subprotocol: None,
            preferred_subprotocol: None,
            servers: ServerGate::default(),
            tls: TlsOptions::default(),
            heartbeat: None,
            max_message: 2 << 20,
            max_messages_per_s: 1_000,
        }
    }
}

/// When to ping, and when silence means that the server is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Between two pings.
    pub interval: Duration,
    /// So long after a ping without anything having arrived a second one is sent; if nothing arrives after that either, the
    /// connection has failed (`PING_TIMEOUT`). Any byte counts as life: a pong may be stuck behind a long message.
    pub timeout: Duration,
}

impl Heartbeat {
    /// How long something may take to arrive after the second ping: with the defaults of a stream, a server that stops right
    /// after a pong is noticed within 30 s.
    pub(super) fn second(&self) -> Duration {
        self.timeout * 2 / 5
    }

    /// From the first ping to the failure.
    pub(super) fn patience(&self) -> Duration {
        self.timeout + self.second()
    }
}
