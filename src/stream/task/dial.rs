//! How a stream connects, and how a connection has ended.
//!
//! On the stream's worker; owned by its task.

use std::pin::Pin;
use std::sync::Arc;

use crate::peer::Target;
use crate::transport::{ConnectError, ConnectOptions, Connection, Endpoint, ErrorCode, Headers, TlsProfiles, connect};

/// The close code of a connection that ends as it should.
pub(super) const NORMAL_CLOSE: u16 = 1_000;

pub(super) type Parting = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

/// What a connection is made with.
pub(super) struct Dial {
    pub(super) endpoint: Endpoint,
    pub(super) how: ConnectOptions,
    pub(super) tls: TlsProfiles,
}

impl Dial {
    /// The same to another place, with the headers for that. Errors say why nobody can connect there.
    pub(super) fn to(&self, target: &Target) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&target.url).map_err(|error| error.to_string())?;
        let mut headers = Headers::default();
        for (name, value) in &target.headers {
            headers.insert(name, value).map_err(|error| error.to_string())?;
        }
        Ok(Self { endpoint, how: ConnectOptions { headers, ..self.how.clone() }, tls: self.tls.clone() })
    }

    pub(super) fn connect(self: &Arc<Self>) -> Connecting {
        let dial = self.clone();
        Box::pin(async move { connect(&dial.endpoint, &dial.how, &dial.tls).await })
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
