//! HTTP/1.1 requests over the same sockets, TLS and time limits as the WebSockets.
//!
//! A request is a future and so is every piece of its answer; both drive the connection themselves, on the worker of the task
//! that awaits them: no task of their own, and dropping one drops the connection, so that nothing more is sent or received for
//! it. A connection whose answer was read to its end is kept for the next request to the same server, for [`IDLE`] at most and
//! no more than [`MOST_IDLE`] of all, since a TLS handshake costs as much as the first audio. Redirects are not followed: the
//! key in the headers is for the server that was named.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use parking_lot::Mutex;

use super::allowed::ServerGate;
use super::dial::open_socket;
use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::headers::Headers;
use super::hyper_io::HyperIo;
use super::options::ConnectOptions;
use super::request_id::request_id;
use super::tls::{TlsOptions, TlsProfiles};

/// How long an unused connection is kept: shorter than servers and firewalls usually do.
const IDLE: Duration = Duration::from_secs(30);
/// Unused connections kept, all servers together.
const MOST_IDLE: usize = 32;
/// Memory for what a connection has received and nobody has read, and for the headers of an answer.
const BUFFER: usize = 32 * 1024;

/// Makes requests. Cheap to clone; all clones share their unused connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    profiles: TlsProfiles,
    servers: ServerGate,
    idle: Arc<Mutex<Vec<Idle>>>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Where to.
    pub endpoint: Endpoint,
    /// Besides those that HTTP itself needs. Never printed.
    pub headers: Headers,
    /// The form of what is sent, by POST, and its bytes; `None`: a GET.
    pub body: Option<(&'static str, Bytes)>,
    /// Used for `https` only.
    pub tls: TlsOptions,
    /// For name, TCP and TLS.
    pub connect_timeout: Duration,
}

/// No answer, or only some of one.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection; its phase timeouts are in it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to {authority} broke: {reason}")]
    Broken {
        /// Host and port.
        authority: String,
        /// What was wrong.
        reason: String,
    },
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(String),
}

/// An answer: its head, and the rest as it comes. Dropping it drops the connection, unless it was read to its end.
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    link: Option<Link>,
    home: HttpClient,
    key: PoolKey,
}

/// What a connection may be used for again.
#[derive(Clone, PartialEq, Eq, Debug)]
struct PoolKey {
    authority: String,
    tls: Option<TlsOptions>,
}

#[derive(Debug)]
struct Idle {
    key: PoolKey,
    since: Instant,
    link: Link,
}

/// A connection and the handle that sends on it.
#[derive(Debug)]
struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` when it has ended.
    connection: Option<Box<Connection<HyperIo, Full<Bytes>>>>,
}

impl Link {
    /// Moves bytes; the error when that ended the connection.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match Pin::new(connection).poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(ended) => {
                self.connection = None;
                ended.map_err(|error| explain(&error))
            }
        }
    }

    fn usable(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }
}

impl HttpClient {
    /// A client with the TLS configurations of the streams, for the servers that the gate lets through.
    pub fn new(profiles: TlsProfiles, servers: ServerGate) -> Self {
        Self { profiles, servers, idle: Arc::default() }
    }

    /// Sends `request` and gives the answer as soon as its head is there, whatever its status.
    ///
    /// Its only time limit is that of the connecting. A request that finds a kept connection closed is sent once more on a
    /// new one; nothing else is sent twice.
    pub async fn send(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        self.servers.now().check(request.endpoint.host()).map_err(ConnectError::from)?;
        let tls = request.endpoint.is_tls().then(|| request.tls.clone());
        let key = PoolKey { authority: authority(&request.endpoint), tls };
        while let Some(mut link) = self.take(&key) {
            // What happened to it meanwhile is seen by driving it.
            let alive = poll_fn(|cx| Poll::Ready(link.drive(cx).is_ok() && link.usable())).await;
            if !alive {
                continue;
            }
            match self.exchange(link, request, &key).await {
                Err((_, true)) => break,
                other => return other.map_err(|(error, _)| error),
            }
        }
        let options = ConnectOptions {
            timeout: request.connect_timeout,
            servers: self.servers.clone(),
            tls: request.tls.clone(),
            ..ConnectOptions::default()
        };
        let socket = open_socket(&request.endpoint, &options, &self.profiles).await?;
        let broken =
            |error: hyper::Error| HttpError::Broken { authority: key.authority.clone(), reason: explain(&error) };
        let mut builder = Builder::new();
        builder.max_buf_size(BUFFER).max_headers(64);
        let (sender, connection) = builder.handshake(HyperIo(socket)).await.map_err(broken)?;
        let link = Link { sender, connection: Some(Box::new(connection)) };
        self.exchange(link, request, &key).await.map_err(|(error, _)| error)
    }

    /// One request; with an error goes whether the connection had been closed before it.
    async fn exchange(
        &self,
        mut link: Link,
        request: &HttpRequest,
        key: &PoolKey,
    ) -> Result<HttpResponse, (HttpError, bool)> {
        let request = written(request).map_err(|error| (HttpError::Request(error.to_string()), false))?;
        let mut sending = Box::pin(link.sender.send_request(request));
        let mut connection = link.connection.take();
        let mut ended = None;
        let answer = poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                let Some(driven) = &mut connection else { return Poll::Pending };
                match Pin::new(driven).poll(cx) {
                    Poll::Pending => {
                        // It may have brought the answer just now.
                        return sending.as_mut().poll(cx);
                    }
                    Poll::Ready(result) => {
                        ended = result.err().map(|error| explain(&error));
                        connection = None;
                    }
                }
            }
        })
        .await;
        drop(sending);
        link.connection = connection;
        match answer {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok(HttpResponse {
                    status: head.status.as_u16(),
                    headers: head.headers,
                    body,
                    link: Some(link),
                    home: self.clone(),
                    key: key.clone(),
                })
            }
            Err(error) => {
                let stale = error.is_canceled() || error.is_incomplete_message();
                let reason = ended.unwrap_or_else(|| explain(&error));
                Err((HttpError::Broken { authority: key.authority.clone(), reason }, stale))
            }
        }
    }

    fn take(&self, key: &PoolKey) -> Option<Link> {
        let mut idle = self.idle.lock();
        idle.retain(|kept| kept.since.elapsed() < IDLE);
        // The one used last is the likeliest to live.
        let at = idle.iter().rposition(|kept| kept.key == *key)?;
        Some(idle.remove(at).link)
    }

    fn keep(&self, key: PoolKey, link: Link) {
        let mut idle = self.idle.lock();
        idle.retain(|kept| kept.since.elapsed() < IDLE);
        if idle.len() >= MOST_IDLE {
            idle.remove(0);
        }
        idle.push(Idle { key, since: Instant::now(), link });
    }

    /// The TLS configurations and the list of servers that its connections use, for a WebSocket beside them.
    pub const fn parts(&self) -> (&TlsProfiles, &ServerGate) {
        (&self.profiles, &self.servers)
    }

    /// Connections kept for later.
    pub fn idle(&self) -> usize {
        self.idle.lock().len()
    }
}

impl HttpResponse {
    /// What the server calls the request.
    pub fn request_id(&self) -> Option<String> {
        request_id(&self.headers)
    }

    /// The next piece of the body, as it came; `None` at its end. Dropping the future loses nothing.
    ///
    /// An error where the connection broke before the end that the head promised.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let result = poll_fn(|cx| self.poll_chunk(cx)).await;
        if matches!(result, Ok(None)) {
            self.give_back().await;
        }
        result
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        let mut ended = None;
        let mut driven = false;
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Some(data))),
                    // Trailers say nothing of interest.
                    _ => driven = false,
                },
                Poll::Ready(Some(Err(error))) => {
                    self.link = None;
                    let reason = ended.unwrap_or_else(|| explain(&error));
                    return Poll::Ready(Err(HttpError::Broken { authority: self.key.authority.clone(), reason }));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                // What the connection had is here, and both know whom to wake.
                Poll::Pending if driven => return Poll::Pending,
                Poll::Pending => {
                    driven = true;
                    ended = self.link.as_mut().and_then(|link| link.drive(cx).err());
                }
            }
        }
    }

    /// Up to `most` bytes of the body, for a message about it; what breaks on the way ends it.
    pub async fn text(&mut self, most: usize) -> String {
        let mut text = BytesMut::new();
        while text.len() < most
            && let Ok(Some(chunk)) = self.chunk().await
        {
            text.extend_from_slice(&chunk[..chunk.len().min(most - text.len())]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    async fn give_back(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        let usable = poll_fn(|cx| Poll::Ready(link.drive(cx).is_ok() && link.usable())).await;
        if usable {
            self.home.keep(self.key.clone(), link);
        }
    }
}

fn authority(endpoint: &Endpoint) -> String {
    format!("{}:{}", endpoint.host(), endpoint.port())
}

fn written(request: &HttpRequest) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let target = request.endpoint.whole_target();
    let mut written = match &request.body {
        Some((content_type, body)) => http::Request::post(target)
            .header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
            .body(Full::new(body.clone()))?,
        None => http::Request::get(target).body(Full::default())?,
    };
    let headers = written.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(&request.endpoint.authority())?);
    headers
        .insert(header::USER_AGENT, HeaderValue::from_static(concat!("mod_audio_stream/", env!("CARGO_PKG_VERSION"))));
    if let Some(basic) = request.endpoint.authorization() {
        let mut basic = HeaderValue::from_str(basic.expose())?;
        basic.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, basic);
    }
    for (name, value) in request.headers.map() {
        headers.insert(name.clone(), value.clone());
    }
    Ok(written)
}

/// The error and what is behind it.
fn explain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
