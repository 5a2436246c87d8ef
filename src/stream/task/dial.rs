//! How a stream connects, and how a connection has ended.
//!
//! On the stream's worker; owned by its task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use crate::peer::Target;
use crate::transport::{
    ConnectError, ConnectOptions, Connection, Endpoint, ErrorCode, Headers, Incoming, Outbox, OutboxLimits,
    TlsProfiles, connect,
};

/// The close code of a connection that ends as it should.
pub(super) const NORMAL_CLOSE: u16 = 1_000;

/// How long a server that was asked for a connection may take to open it, when the stream has ended meanwhile.
const LATE: Duration = Duration::from_secs(2);

pub(super) type Parting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An attempt to connect. Dropped, it leaves a server that has been asked for a WebSocket without an answer; see
/// [`abandon`](Self::abandon).
pub(super) struct Connecting {
    attempt: Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>,
    /// The request for the WebSocket has been begun: the server may take the connection for open before we do.
    requested: Arc<AtomicBool>,
}

impl Connecting {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Connection, ConnectError>> {
        self.attempt.as_mut().poll(cx)
    }

    /// Nobody wants the connection any more. If the server may have opened it, a task of its own waits for that, up to 2 s, and
    /// closes it: the end of a stream costs the server a close frame, not a broken connection.
    pub(super) fn abandon(self) {
        if self.requested.load(Ordering::Relaxed) {
            tokio::spawn(async {
                if let Ok(Ok(connection)) = timeout(LATE, self.attempt).await {
                    part_with(connection, Outbox::new(OutboxLimits::default())).await;
                }
            });
        }
    }
}

/// Sends what waits, closes, and waits for the server's close, which the connection bounds to two seconds.
pub(super) async fn part_with(mut connection: Connection, mut outbox: Outbox) {
    connection.close(NORMAL_CLOSE, "");
    loop {
        let driven = poll_fn(|cx| connection.poll_drive(cx, &mut outbox)).await;
        if matches!(driven, Incoming::Closed(_) | Incoming::Failed(_)) {
            return;
        }
    }
}

/// What a connection is made with.
pub(super) struct Dial {
    pub(super) endpoint: Endpoint,
    pub(super) how: ConnectOptions,
    pub(super) tls: TlsProfiles,
}

impl Dial {
    /// The same to another place, with the headers for that. Errors say why nobody can connect there.
    pub(super) fn to(&self, target: &Target) -> Result<Self, String> {
        let mut endpoint = Endpoint::parse(&target.url).map_err(|error| error.to_string())?;
        if let Some(secret) = &target.secret {
            endpoint = endpoint.with_secret(secret.clone()).map_err(|error| error.to_string())?;
        }
        let mut headers = Headers::default();
        for (name, value) in &target.headers {
            headers.insert(name, value).map_err(|error| error.to_string())?;
        }
        Ok(Self { endpoint, how: ConnectOptions { headers, ..self.how.clone() }, tls: self.tls.clone() })
    }

    pub(super) fn connect(self: &Arc<Self>) -> Connecting {
        let (dial, requested) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let told = requested.clone();
        let attempt = Box::pin(async move { connect(&dial.endpoint, &dial.how, &dial.tls, &told).await });
        Connecting { attempt, requested }
    }
}

/// How a connection, or the attempt at one, has ended.
pub(super) struct Ending {
    pub(super) code: u16,
    pub(super) reason: String,
    /// What failed, if something did.
    pub(super) error: Option<ErrorCode>,
}

impl Default for Ending {
    /// There was none.
    fn default() -> Self {
        Self { code: NORMAL_CLOSE, reason: String::new(), error: None }
    }
}
