//! The only sockets of the module: addresses, TLS, WebSocket connections and the queue in front of them, HTTP requests, and the
//! breakers that keep them from a server that fails.
//!
//! Everything runs on the stream's worker and is driven by the stream's task: [`connect`] once, then
//! [`Connection::poll_drive`] whenever the socket or the [`Outbox`] has something. Nothing here starts a task or
//! a thread, apart from two short uses of the runtime's blocking pool while connecting: resolving a name and
//! reading certificates.

mod breaker;
mod breakers;
mod dial;
mod endpoint;
mod error;
mod headers;
mod http;
mod inflow;
mod io;
mod options;
mod outbox;
mod tls;
mod websocket;

pub use self::http::{HttpClient, HttpError, HttpResponse, Post};
pub use breaker::{Breaker, BreakerState, Trip};
pub use breakers::{Attempt, BreakerKind, BreakerReport, Breakers};
pub use dial::connect;
pub use endpoint::{BadUrl, Endpoint, Host};
pub use error::{ConnectError, ErrorCode, Phase, TlsSetupError, TransportError};
pub use headers::{BadHeader, Headers, read_headers};
pub use options::{ConnectOptions, Heartbeat};
pub use outbox::{Outbox, OutboxFull, OutboxLimits, OutboxStats, Payload};
pub use tls::{TlsOptions, TlsProfiles, Trust};
pub use websocket::{ABNORMAL_CLOSE, Ahead, Closure, Connection, Incoming, NO_CLOSE_CODE, Rejected, Side};
