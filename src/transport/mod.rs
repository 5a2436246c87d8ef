//! The only sockets of the module: addresses, TLS, WebSocket connections and the queue in front of them, HTTP requests, the
//! breakers that keep them from a server that fails, and the HTTP server of the module's own pages.
//!
//! Everything runs on the stream's worker and is driven by the stream's task: [`connect`] once, then
//! [`Connection::poll_drive`] whenever the socket or the [`Outbox`] has something. Nothing here starts a
//! thread; tasks are started by the HTTP server, one for each of its connections, and for look-ups of names, which all connections
//! share. Two things may block while connecting, and are done where that is allowed: resolving a name and reading certificates.

mod allowed;
mod breaker;
mod breaker_report;
mod breakers;
mod dial;
mod endpoint;
mod error;
mod headers;
mod http;
mod http_server;
mod hyper_io;
mod inflow;
mod io;
mod names;
mod options;
mod outbox;
mod pace;
mod request_id;
mod tls;
mod websocket;

pub use self::allowed::{AllowedServers, NotAllowed, ServerGate};
pub use self::http::{HttpClient, HttpError, HttpRequest, HttpResponse};
pub use breaker::{Breaker, BreakerState, Trip};
pub use breaker_report::{BreakerChange, BreakerKind, BreakerReport, BreakerWatch, Cause};
pub use breakers::{Attempt, Breakers, NotNow};
pub use dial::connect;
pub use endpoint::{BadUrl, Endpoint, Host};
pub use error::{ConnectError, ErrorCode, Phase, TlsSetupError, TransportError};
pub use headers::{BadHeader, Headers, read_headers};
pub use http_server::{HttpListener, ListenAddress, Reply};
pub use options::{ConnectOptions, Heartbeat};
pub use outbox::{Outbox, OutboxFull, OutboxLimits, OutboxStats, Payload};
pub use pace::Pause;
pub use tls::{TlsOptions, TlsProfiles, Trust};
pub use websocket::{ABNORMAL_CLOSE, Ahead, Closure, Connection, Incoming, NO_CLOSE_CODE, Rejected, Side};
