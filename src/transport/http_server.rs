//! The HTTP/1.1 server of the module's own pages: GET only, one request per connection.
//!
//! Runs on the thread that awaits [`HttpListener::serve`], with one task per connection. At most [`MOST`] connections exist at
//! once; further clients wait in the system's queue. A client has [`ASKING`] to send its request and [`ANSWERING`] to read the
//! reply, so that one that does neither holds its place no longer.
//!
//! On a loopback address, requests must name a loopback host. Otherwise a web site could have its own name resolve to 127.0.0.1 and
//! read the pages in the browser of somebody on this machine (DNS rebinding).

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::hyper_io::HyperIo;
use super::io::Socket;
use crate::options::values;

/// Connections at once.
const MOST: usize = 16;
/// Time for the request, from the begin of the connection.
const ASKING: Duration = Duration::from_secs(2);
/// Time for the reply.
const ANSWERING: Duration = Duration::from_secs(10);
/// Memory for the request; a longer one is refused with 431.
const BUFFER: usize = 16 * 1024;
/// Headers of a request; more are refused with 431.
const MOST_HEADERS: usize = 64;
/// How long the listener rests after the system could not give it a connection (too many open files, for example).
const REST: Duration = Duration::from_millis(200);

/// Headers of every reply: nothing is kept, guessed, framed or given to another origin.
const SECURITY: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];
/// What a reply may load or run unless it says otherwise: nothing.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An address to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenAddress(SocketAddr);

impl ListenAddress {
    /// Reads an IP address with a port, or a port, which is one of 127.0.0.1 then. Names are not looked up.
    pub fn read(text: &str) -> Option<Self> {
        match values::number(text) {
            Some(port) => Some(Self((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?).into())),
            None => text.parse().ok().map(Self),
        }
    }

    /// Whether only this machine reaches it.
    pub fn is_loopback(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Makes the page of a path.
type Answer = dyn Fn(&str) -> Option<Reply> + Send + Sync;

/// A socket that listens.
#[derive(Debug)]
pub struct HttpListener {
    listener: std::net::TcpListener,
    address: ListenAddress,
}

/// The reply to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The form of the body.
    pub content_type: &'static str,
    /// What a browser may load and run, in place of nothing.
    pub content_security_policy: Option<String>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// A refusal in words.
    fn refusal(status: StatusCode, why: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            content_security_policy: None,
            body: format!("{why}\n"),
        }
    }
}

impl HttpListener {
    /// Listens on `address`; port 0 takes any free one. An error names what the system refused, such as a port in use.
    pub fn bind(address: ListenAddress) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address.0)?;
        listener.set_nonblocking(true)?;
        let address = ListenAddress(listener.local_addr()?);
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> ListenAddress {
        self.address
    }

    /// Answers requests until it is dropped: `answer` is given the path and returns `None` for a page that does not exist. It
    /// runs on this thread and must not wait.
    ///
    /// Returns only with an error: the runtime has no I/O.
    pub async fn serve(self, answer: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> io::Result<Infallible> {
        let loopback = self.address.is_loopback();
        let listener = TcpListener::from_std(self.listener)?;
        let places = Arc::new(Semaphore::new(MOST));
        let answer: Arc<Answer> = Arc::new(answer);
        loop {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(REST).await;
                continue;
            };
            let answer = answer.clone();
            tokio::spawn(async move {
                converse(stream, loopback, answer).await;
                drop(place);
            });
        }
    }
}

/// One connection, from its request to its reply.
async fn converse(stream: TcpStream, loopback: bool, answer: Arc<Answer>) {
    let asked = Notify::new();
    let service = service_fn(|request| {
        asked.notify_one();
        let reply = reply(&request, loopback, answer.as_ref());
        std::future::ready(Ok::<_, Infallible>(written(reply)))
    });
    let mut builder = Builder::new();
    // Our own limits bound the reading of headers as well.
    builder.keep_alive(false).max_buf_size(BUFFER).max_headers(MOST_HEADERS).header_read_timeout(None);
    let connection = builder.serve_connection(HyperIo(Socket::Plain(stream)), service);
    let limit = async {
        if timeout(ASKING, asked.notified()).await.is_ok() {
            tokio::time::sleep(ANSWERING).await;
        }
    };
    tokio::select! {
        // A client that sent no HTTP, or has gone, knows by itself.
        _ = connection => {}
        () = limit => {}
    }
}

fn reply<B>(request: &Request<B>, loopback: bool, answer: &Answer) -> Reply {
    if loopback && !names_loopback(request) {
        let why = "the host of the request is not this machine's: use localhost or the address";
        return Reply::refusal(StatusCode::FORBIDDEN, why);
    }
    if request.method() != Method::GET {
        return Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed");
    }
    answer(request.uri().path()).unwrap_or_else(|| Reply::refusal(StatusCode::NOT_FOUND, "there is no such page"))
}

/// Whether the host of the request is localhost or a loopback address. HTTP/1.0 needs no host, and no browser speaks it.
fn names_loopback<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        (None, _) if request.version() == Version::HTTP_10 => return request.uri().authority().is_none(),
        _ => None,
    };
    // A target with an authority overrides the header, so both must fit.
    named.is_some_and(|host| is_loopback(&host)) && request.uri().authority().is_none_or(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn written(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = reply.content_security_policy.and_then(|policy| HeaderValue::try_from(policy).ok());
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.unwrap_or(HeaderValue::from_static(NOTHING)));
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status(method: &str, target: &str, hosts: &[&str], version: Version, loopback: bool) -> u16 {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        let page = |path: &str| (path == "/x").then(|| Reply::refusal(StatusCode::OK, "x"));
        reply(&request.body(()).unwrap(), loopback, &page).status.as_u16()
    }

    #[test]
    fn a_port_alone_is_one_of_the_loopback_address() {
        for (text, at) in [
            ("8090", Some("127.0.0.1:8090")),
            ("[::1]:8090", Some("[::1]:8090")),
            ("0.0.0.0:8090", Some("0.0.0.0:8090")),
            ("", None),
            ("65536", None),
            ("localhost:8090", None),
        ] {
            assert_eq!(ListenAddress::read(text).map(|at| at.to_string()).as_deref(), at, "{text}");
        }
    }

    #[test]
    fn on_a_loopback_address_only_loopback_hosts_are_served() {
        for host in
            ["localhost", "LOCALHOST:9", "127.0.0.1:8090", "127.1.2.3", "[::1]", "[::1]:80", "[::ffff:127.0.0.1]"]
        {
            assert_eq!(status("GET", "/x", &[host], Version::HTTP_11, true), 200, "{host}");
        }
        let strangers =
            ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example", "", "a b", "[::2]"];
        for host in strangers {
            assert_eq!(status("GET", "/x", &[host], Version::HTTP_11, true), 403, "{host}");
        }
        assert_eq!(status("GET", "/x", &["evil.example"], Version::HTTP_11, false), 200);
        assert_eq!(status("GET", "/x", &[], Version::HTTP_11, true), 403);
        assert_eq!(status("GET", "/x", &[], Version::HTTP_10, true), 200, "health checks of load balancers");
        assert_eq!(status("GET", "/x", &["evil.example"], Version::HTTP_10, true), 403);
        assert_eq!(status("GET", "/x", &["localhost", "localhost"], Version::HTTP_11, true), 403);
        assert_eq!(status("GET", "http://evil.example/x", &["localhost"], Version::HTTP_11, true), 403);
        assert_eq!(status("GET", "http://localhost/x", &["localhost"], Version::HTTP_11, true), 200);
    }

    #[test]
    fn only_pages_that_exist_are_got_and_nothing_else_is_done() {
        for (method, target, expected) in
            [("GET", "/x?y=1", 200), ("GET", "/y", 404), ("POST", "/x", 405), ("HEAD", "/x", 405)]
        {
            assert_eq!(status(method, target, &["localhost"], Version::HTTP_11, true), expected, "{method} {target}");
        }
    }
}
