//! Making a connection: name, TCP, TLS and WebSocket handshake, within one time limit.
//!
//! Runs in the stream's task and can be cancelled at any point by dropping the future. All addresses of a name are
//! tried, a quarter of a second apart, and the first to answer wins (RFC 8305); one unreachable address costs no more
//! than that. Resolving runs where it may block and, once begun, outlives a cancelled attempt by at most the
//! resolver's own time limit. Nothing is sent twice: redirects are not followed.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::header::{self, HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{ClientHandshake, Response, generate_key};
use tokio_tungstenite::tungstenite::handshake::{HandshakeError, MidHandshake};
use tokio_tungstenite::tungstenite::protocol::WebSocket;

use super::endpoint::{Endpoint, Host};
use super::error::{ConnectError, Phase};
use super::io::{Socket, Tap, tls_error};
use super::options::ConnectOptions;
use super::pace::Pause;
use super::request_id::request_id;
use super::tls::{self, TlsProfiles};
use super::websocket::{self, Connection};

/// Kernel memory for unsent bytes of one connection. Enough for stereo at 48 kHz over a third of a second of round
/// trip; little enough that a server that stops reading is noticed within seconds, where dropping can begin.
const SEND_BUFFER: u32 = 64 * 1024;
/// Between the starts of two attempts at different addresses, as RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long what was sent may stay without an acknowledgement: keepalive does not run while there is such. Linux alone would try
/// for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Connects to `endpoint`.
///
/// `requested` becomes true when the WebSocket is about to be asked for: from then on the server may take it for open, though the
/// future is dropped.
///
/// Errors name the host, never user name, password or header values; [`ConnectError::code`] is the code of the
/// `error` event.
pub async fn connect(
    endpoint: &Endpoint,
    options: &ConnectOptions,
    profiles: &TlsProfiles,
    requested: &AtomicBool,
) -> Result<Connection, ConnectError> {
    let deadline = Instant::now() + options.timeout;
    let offer = options.subprotocol.as_deref().or(options.preferred_subprotocol.as_deref());
    match (Attempt { endpoint, options, offer, deadline }).run(profiles, requested).await {
        Err(ConnectError::NoSubprotocol { .. }) if options.subprotocol.is_none() => {
            requested.store(false, Ordering::Relaxed);
            Attempt { endpoint, options, offer: None, deadline }.run(profiles, requested).await
        }
        result => result,
    }
}

/// The connection for an HTTP request to `endpoint`: `timeout`, `servers` and `tls` of the options count, nothing else.
pub(super) async fn open_socket(
    endpoint: &Endpoint,
    options: &ConnectOptions,
    profiles: &TlsProfiles,
) -> Result<Socket, ConnectError> {
    Attempt { endpoint, options, offer: None, deadline: Instant::now() + options.timeout }.socket(profiles).await
}

/// One attempt to connect.
struct Attempt<'a> {
    endpoint: &'a Endpoint,
    options: &'a ConnectOptions,
    /// The subprotocol in the request.
    offer: Option<&'a str>,
    deadline: Instant,
}

impl Attempt<'_> {
    async fn run(&self, profiles: &TlsProfiles, requested: &AtomicBool) -> Result<Connection, ConnectError> {
        let socket = self.socket(profiles).await?;
        requested.store(true, Ordering::Relaxed);
        let (websocket, response) = self.within(Phase::Upgrade, self.upgrade(socket)).await??;
        let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let subprotocol = chosen.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Connection::new(websocket, self.options, subprotocol).with_request_id(request_id(response.headers())))
    }

    async fn socket(&self, profiles: &TlsProfiles) -> Result<Socket, ConnectError> {
        let Self { endpoint, options, .. } = *self;
        let servers = options.servers.now();
        servers.check(endpoint.host())?;
        let addresses = self.within(Phase::Resolve, self.resolve()).await??;
        let addresses = servers.keep(endpoint.host(), addresses)?;
        let stream = self.within(Phase::Connect, self.reach(addresses)).await??;
        if !endpoint.is_tls() {
            return Ok(Socket::Plain(stream));
        }
        let config = self.within(Phase::TlsSetup, profiles.get(&options.tls)).await??;
        self.within(Phase::TlsHandshake, self.encrypt(stream, TlsConnector::from(config))).await?
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.endpoint.host(), self.endpoint.port())
    }

    async fn within<T>(&self, phase: Phase, step: impl Future<Output = T>) -> Result<T, ConnectError> {
        timeout_at(self.deadline, step).await.map_err(|_| ConnectError::Timeout {
            authority: self.authority(),
            after: self.options.timeout,
            phase,
        })
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let port = self.endpoint.port();
        let name = match self.endpoint.host() {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => name,
        };
        let failed = |source| ConnectError::Resolve { host: name.clone(), source };
        let mut found = self.options.servers.names().look_up(name).await.map_err(failed)?;
        found.iter_mut().for_each(|address| address.set_port(port));
        if found.is_empty() {
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
        }
        Ok(interleave(found))
    }

    /// The first of `addresses` to answer.
    async fn reach(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
        let mut addresses = addresses.into_iter();
        let mut attempts = FuturesUnordered::new();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        loop {
            match addresses.next() {
                Some(address) => attempts.push(open(address)),
                None if attempts.is_empty() => {
                    return Err(ConnectError::Connect { authority: self.authority(), source: last });
                }
                None => {}
            }
            let more = addresses.len() > 0;
            tokio::select! {
                Some(opened) = attempts.next() => match opened {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                },
                () = tokio::time::sleep(STAGGER), if more => {}
            }
        }
    }

    async fn encrypt(&self, stream: TcpStream, connector: TlsConnector) -> Result<Socket, ConnectError> {
        let failed = |reason: String| ConnectError::TlsHandshake { authority: self.authority(), reason };
        let name = match self.endpoint.host() {
            Host::Address(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|error| failed(format!("the host name cannot be asked for with TLS: {error}")))?,
        };
        let stream = connector.connect(name, stream).await.map_err(|error| match tls_error(&error) {
            Some(error) => failed(tls::explain(error)),
            None => failed(error.to_string()),
        })?;
        Ok(Socket::Tls(Box::new(stream)))
    }

    async fn upgrade(&self, socket: Socket) -> Result<(WebSocket<Tap>, Response), ConnectError> {
        let request = self.request()?;
        let config = websocket::config(self.options.max_message);
        let start = ClientHandshake::start(Tap::new(socket, self.options.max_messages_per_s), request, Some(config));
        let mut handshake: Option<MidHandshake<ClientHandshake<Tap>>> = Some(start.map_err(|e| self.upgrade_error(e))?);
        poll_fn(|cx| {
            let Some(mut step) = handshake.take() else { return Poll::Pending };
            step.get_mut().get_mut().set_waker(cx.waker());
            match step.handshake() {
                Ok(done) => Poll::Ready(Ok(done)),
                Err(HandshakeError::Interrupted(next)) => {
                    handshake = Some(next);
                    Poll::Pending
                }
                Err(HandshakeError::Failure(error)) => Poll::Ready(Err(self.upgrade_error(error))),
            }
        })
        .await
    }

    fn request(&self) -> Result<http::Request<()>, ConnectError> {
        let bad = |error: http::Error| ConnectError::Protocol {
            authority: self.authority(),
            reason: format!("the request cannot be written: {error}"),
        };
        let mut request =
            http::Request::get(self.endpoint.request_url()).version(http::Version::HTTP_11).body(()).map_err(bad)?;
        let headers = request.headers_mut();
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("mod_audio_stream/", env!("CARGO_PKG_VERSION"))),
        );
        let mut put = |name: HeaderName, value: &str| {
            HeaderValue::from_str(value).map(|value| headers.insert(name, value)).map_err(|error| bad(error.into()))
        };
        if let Some(basic) = self.endpoint.authorization() {
            put(header::AUTHORIZATION, basic.expose())?;
        }
        if let Some(subprotocol) = self.offer {
            put(header::SEC_WEBSOCKET_PROTOCOL, subprotocol)?;
        }
        put(header::HOST, &self.endpoint.authority())?;
        put(header::CONNECTION, "Upgrade")?;
        put(header::UPGRADE, "websocket")?;
        put(header::SEC_WEBSOCKET_VERSION, "13")?;
        put(header::SEC_WEBSOCKET_KEY, &generate_key())?;
        for (name, value) in self.options.headers.map() {
            headers.insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    fn upgrade_error(&self, error: WsError) -> ConnectError {
        let authority = self.authority();
        match error {
            WsError::Http(response) => refused(authority, &response),
            WsError::Io(source) => match tls_error(&source) {
                // With TLS 1.3 a server judges our certificate after the handshake.
                Some(error @ rustls::Error::AlertReceived(_)) => {
                    ConnectError::TlsHandshake { authority, reason: tls::explain(error) }
                }
                Some(error) => ConnectError::Tls { authority, reason: error.to_string() },
                None if source.kind() == io::ErrorKind::UnexpectedEof => ConnectError::NoAnswer(authority),
                None => ConnectError::Io { authority, source },
            },
            WsError::Protocol(ProtocolError::HandshakeIncomplete) | WsError::ConnectionClosed => {
                ConnectError::NoAnswer(authority)
            }
            WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol)) => {
                ConnectError::NoSubprotocol { authority, offered: self.offer.unwrap_or_default().to_owned() }
            }
            WsError::Protocol(error) => ConnectError::BadHandshake { authority, reason: error.to_string() },
            WsError::HttpFormat(error) => ConnectError::BadHandshake { authority, reason: error.to_string() },
            WsError::Utf8(_) => {
                ConnectError::BadHandshake { authority, reason: "a header of the handshake is not text".into() }
            }
            error => ConnectError::Protocol { authority, reason: error.to_string() },
        }
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    let options = SockRef::from(&socket);
    options.set_tcp_keepalive(&keepalive)?;
    options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.connect(address).await
}

/// Alternates between the families, beginning with the one the resolver prefers.
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let prefers_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut order = Vec::new();
    loop {
        let before = order.len();
        order.extend(preferred.next());
        order.extend(other.next());
        if order.len() == before || order.len() >= MAX_ADDRESSES {
            return order;
        }
    }
}

fn refused(authority: String, response: &http::Response<Option<Vec<u8>>>) -> ConnectError {
    let status = response.status();
    let words = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    let advice = match status.as_u16() {
        401 | 403 => "; check user name, password and headers".to_owned(),
        301 | 302 | 303 | 307 | 308 => {
            // Without what may be credentials: a redirect often repeats the query.
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let place = location.map(|url| url.split(['?', '#']).next().unwrap_or(url)).unwrap_or("elsewhere");
            let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
            format!("; redirects are not followed, it points to {}", place.chars().take(200).collect::<String>())
        }
        _ => String::new(),
    };
    let pause = Pause::read(status.as_u16(), response.headers(), SystemTime::now());
    let request_id = request_id(response.headers());
    ConnectError::Refused { authority, status: status.as_u16(), pause, request_id, hint: format!("{words}{advice}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_alternate_between_the_families_and_are_bounded() {
        let v4 = |n| SocketAddr::from(([192, 0, 2, n], 80));
        let v6 = |n| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 80));
        assert_eq!(interleave(vec![v6(1), v6(2), v4(1), v6(3), v4(2)]), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(interleave(vec![v4(1)]), [v4(1)]);
        assert_eq!(interleave((0..100).map(v4).collect()).len(), MAX_ADDRESSES);
    }
}
