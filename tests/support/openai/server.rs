//! The WebSocket server around the sessions: a thread for all connections, a record for each.
//!
//! The test's thread reads the records and gives orders at any time. Everything is kept until the server is dropped, which
//! closes its sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{self as upgrade, ErrorResponse, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::session::{Far, Opening, Order, Out, Record, Request, Service};
use crate::support::wait_for;

/// How long the `wait_…` methods wait before they panic.
const PATIENCE: Duration = Duration::from_secs(15);

/// One connection that was let in.
pub struct Connection {
    /// How it was asked for.
    pub opening: Opening,
    record: Arc<Mutex<Record>>,
    ended: Mutex<Option<(Instant, String)>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Connection {
    /// Everything seen and said so far.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock()
    }

    /// Has the service do something.
    pub fn order(&self, order: Order) {
        // A connection that is gone has nobody to obey; the test looks at what was received.
        let _ = self.orders.send(order);
    }

    /// When the connection ended and how, once it has: `1000 reason` of the client's close frame, or what went wrong.
    pub fn ended(&self) -> Option<(Instant, String)> {
        self.ended.lock().clone()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait_end(&self) -> (Instant, String) {
        wait_for("the end of the session", PATIENCE, || self.ended())
    }

    /// Waits for the `count`-th event of a type from the client, and gives it.
    #[track_caller]
    pub fn wait_told(&self, kind: &str, count: usize) -> Value {
        wait_for(&format!("{kind} number {count}"), PATIENCE, || self.record().told(kind).get(count - 1).cloned())
    }

    /// Waits until the `count`-th event of a type was said to the client, and gives when and what.
    #[track_caller]
    pub fn wait_said(&self, kind: &str, count: usize) -> (Instant, Value) {
        wait_for(&format!("{kind} number {count}"), PATIENCE, || self.record().said(kind).get(count - 1).cloned())
    }
}

#[derive(Default)]
struct State {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Upgrades refused: when, and with what.
    refused: Mutex<Vec<(Instant, u16)>>,
    /// TCP connections so far.
    accepted: AtomicUsize,
    opened: AtomicUsize,
    /// Upgrades asked for; each answer has the number in its `x-request-id`.
    requests: AtomicUsize,
    gone: AtomicBool,
}

/// A running server; dropped, it ends.
pub struct RealtimeServer {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    reachable: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RealtimeServer {
    /// A plain server on a free port of 127.0.0.1.
    pub fn start(service: impl Service + 'static) -> Self {
        Self::launch(Arc::new(service), None)
    }

    /// The same with TLS.
    pub fn start_tls(service: impl Service + 'static, tls: Arc<ServerConfig>) -> Self {
        Self::launch(Arc::new(service), Some(tls))
    }

    fn launch(script: Arc<dyn Service>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket can");
        let address = listener.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let state = Arc::new(State::default());
        let (stop, stopped) = oneshot::channel();
        let (reachable, gone) = watch::channel(true);
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("realtime".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async move {
                    tokio::select! {
                        () = serve(listener, script, tls, shared, gone) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        Self { address, scheme, state, reachable, stop: Some(stop), thread: Some(thread) }
    }

    /// `ws://127.0.0.1:<port>`, to which a client adds the API's path.
    pub fn base_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.address.port())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The connections so far that were let in, in the order they were opened.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.state.connections.lock().clone()
    }

    /// Upgrades refused so far: when, and with which status.
    pub fn refused(&self) -> Vec<(Instant, u16)> {
        self.state.refused.lock().clone()
    }

    /// TCP connections so far, whatever became of them.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Waits for the connection with this index, from 0.
    #[track_caller]
    pub fn connection(&self, index: usize) -> Arc<Connection> {
        wait_for("a session", PATIENCE, || self.state.connections.lock().get(index).cloned())
    }

    /// `false`: all connections are reset, and new ones refused, until `true`.
    pub fn set_reachable(&self, reachable: bool) {
        self.state.gone.store(!reachable, Ordering::SeqCst);
        self.reachable.send_replace(reachable);
    }
}

impl Drop for RealtimeServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    script: Arc<dyn Service>,
    tls: Option<Arc<ServerConfig>>,
    state: Arc<State>,
    reachable: watch::Receiver<bool>,
) {
    let listener = TcpListener::from_std(listener).expect("the runtime takes sockets");
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        state.accepted.fetch_add(1, Ordering::Relaxed);
        if state.gone.load(Ordering::SeqCst) {
            let _ = tcp.set_zero_linger();
            continue;
        }
        let _ = tcp.set_nodelay(true);
        let (script, tls, state, reachable) = (Arc::clone(&script), tls.clone(), Arc::clone(&state), reachable.clone());
        tokio::spawn(async move {
            match tls {
                None if is_request(&*script, &tcp).await => drop(answer(tcp, &*script).await),
                None => converse(tcp, script, state, reachable, |tcp| tcp).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(tcp).await {
                        converse(stream, script, state, reachable, |stream| stream.into_inner().0).await;
                    }
                }
            }
        });
    }
}

/// Whether it is a request over HTTP that the service answers, and not one for a WebSocket.
async fn is_request(service: &dyn Service, tcp: &TcpStream) -> bool {
    let mut head = [0; 512];
    let length = tcp.peek(&mut head).await.unwrap_or_default();
    let line = String::from_utf8_lossy(&head[..length]);
    line.lines().next().is_some_and(|line| service.is_request(line))
}

/// Answers it.
async fn answer(mut tcp: TcpStream, service: &dyn Service) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, uri) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: Vec<_> = head.lines().skip(1).filter_map(header).collect();
    let mut request = Request { method, uri, headers: &headers, body: &[] };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    tcp.read_exact(&mut body).await?;
    request.body = &body;
    let (status, body) = service.answer(&request);
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    tcp.write_all(text.as_bytes()).await?;
    tcp.shutdown().await
}

async fn converse<S>(
    stream: S,
    script: Arc<dyn Service>,
    state: Arc<State>,
    reachable: watch::Receiver<bool>,
    into_tcp: impl FnOnce(S) -> TcpStream,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = None;
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let check = |seen: &upgrade::Request, mut response: Response| {
        let request_id = format!("req_{}", state.requests.fetch_add(1, Ordering::Relaxed));
        let request_id: http::HeaderValue = request_id.parse().expect("a header");
        let uri = seen.uri().to_string();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<_> = seen.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        if let Err(status) = script.admit(&uri, &headers) {
            state.refused.lock().push((Instant::now(), status));
            let body = r#"{"error":{"type":"invalid_request_error","message":"The test refuses this."}}"#;
            let mut refusal = ErrorResponse::new(Some(body.to_owned()));
            *refusal.status_mut() = http::StatusCode::from_u16(status).expect("a status");
            refusal.headers_mut().insert("x-request-id", request_id);
            return Err(refusal);
        }
        request = Some((uri, headers));
        response.headers_mut().insert("x-request-id", request_id);
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else { return };
    let Some((uri, headers)) = request else { return };
    let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let connection = state.opened.fetch_add(1, Ordering::Relaxed);
    let opening = Opening { now: Instant::now(), unix_seconds, connection, uri, headers };
    let record = Arc::new(Mutex::new(Record::default()));
    let session = script.open(&opening, Arc::clone(&record));
    let (orders, ordered) = mpsc::unbounded_channel();
    let connection = Arc::new(Connection { opening, record, ended: Mutex::default(), orders });
    state.connections.lock().push(Arc::clone(&connection));
    let how = live(socket, session, ordered, reachable, into_tcp).await;
    *connection.ended.lock() = Some((Instant::now(), how));
}

/// A connection's life; how it ended.
async fn live<S>(
    socket: WebSocketStream<S>,
    mut session: Box<dyn Far>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    mut reachable: watch::Receiver<bool>,
    into_tcp: impl FnOnce(S) -> TcpStream,
) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut source) = socket.split();
    let mut how = None;
    let mut closing = None;
    let mut open = true;
    while how.is_none() {
        let mut reset = false;
        while let Some(out) = session.poll() {
            // The peer may be gone; the reader tells how.
            match out {
                Out::Text(text) => drop(sink.feed(Message::text(text)).await),
                Out::Binary(bytes) => drop(sink.feed(Message::binary(bytes)).await),
                Out::Close(code, reason) => {
                    let frame = CloseFrame { code: code.into(), reason: reason.into() };
                    let _ = sink.send(Message::Close(Some(frame))).await;
                    closing = Some(tokio::time::Instant::now() + Duration::from_secs(5));
                }
                Out::Drop => reset = true,
                Out::Freeze => std::future::pending().await,
                Out::Stall(time) => {
                    let _ = sink.flush().await;
                    tokio::time::sleep(time).await;
                }
            }
        }
        let _ = sink.flush().await;
        if reset {
            how = Some("reset".to_owned());
            break;
        }
        let due = session.deadline().map(tokio::time::Instant::from_std);
        let due = [due, closing].into_iter().flatten().min();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            gone = reachable.wait_for(|reachable| !reachable) => {
                drop(gone);
                how = Some("gone".to_owned());
                break;
            }
            message = source.next() => match message {
                Some(Ok(Message::Text(text))) => session.take(Instant::now(), &text),
                Some(Ok(Message::Binary(bytes))) => session.take_binary(Instant::now(), &bytes),
                Some(Ok(Message::Close(frame))) => {
                    how = Some(frame.map_or("1005".to_owned(), |frame| {
                        format!("{} {}", u16::from(frame.code), frame.reason)
                    }));
                    open = false;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => { how = Some(error.to_string()); open = false; }
                None => { how = Some("end of stream".to_owned()); open = false; }
            },
            order = ordered.recv() => if let Some(order) = order { session.order(Instant::now(), order) },
            () = timer => {
                if closing.is_some_and(|at| at <= tokio::time::Instant::now()) {
                    how = Some("no answer to the close".to_owned());
                }
                session.tick(Instant::now());
            }
        }
    }
    if open {
        // Reset: what the client has sent and nobody read is lost.
        if let Ok(socket) = source.reunite(sink) {
            let _ = into_tcp(socket.into_inner()).set_zero_linger();
        }
    } else {
        // The task that reads on sends the answer to a close frame.
        let _ = tokio::time::timeout(Duration::from_secs(1), source.next()).await;
    }
    how.unwrap_or_default()
}
