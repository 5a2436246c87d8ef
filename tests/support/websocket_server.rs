//! A scriptable server: a WebSocket server on 127.0.0.1 that records what each connection sends and misbehaves to order.
//!
//! One named thread runs all of a server's connections; the test's thread reads the records and may send, close or
//! vanish at any time. Everything received is kept until the server is dropped, which closes its sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::tap::{Side, Tap};
use super::{signal, wait_for};

/// How long the `wait_…` methods wait before they panic: only a hang comes near it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the server does; the default accepts, records, and says nothing.
#[derive(Clone, Default)]
pub struct Script {
    /// What happens before the connection is open.
    pub handshake: Handshake,
    /// Done in order, once the connection is open.
    pub actions: Vec<Action>,
    /// Binary messages are sent back as they come.
    pub echo: Echo,
    /// The socket is never read after the handshake: the peer's send buffer fills up.
    pub never_read: bool,
}

impl Script {
    /// A server that accepts and then does `actions`.
    pub fn of(actions: impl Into<Vec<Action>>) -> Self {
        Self { actions: actions.into(), ..Self::default() }
    }

    /// A server that sends the audio back.
    pub fn echo(echo: Echo) -> Self {
        Self { echo, ..Self::default() }
    }

    /// The same with a handshake.
    pub fn with_handshake(mut self, handshake: Handshake) -> Self {
        self.handshake = handshake;
        self
    }
}

/// How received audio is sent back.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Echo {
    /// It is not.
    #[default]
    Off,
    /// As binary messages.
    Binary,
    /// As `streamAudio` messages with raw samples of this rate and these channels.
    StreamAudio {
        /// Samples a second.
        rate: u32,
        /// Interleaved channels.
        channels: u16,
    },
}

/// What happens before the connection is open.
#[derive(Clone, Default)]
pub enum Handshake {
    /// Anyone is let in.
    #[default]
    Accept,
    /// The upgrade is let in only with this header value, else answered 403.
    RequireHeader(&'static str, String),
    /// The upgrade is let in only with these basic-auth credentials (user, password), else answered 401.
    RequireBasic(&'static str, &'static str),
    /// The subprotocol must be among those offered, and is selected; else answered 400.
    Subprotocol(&'static str),
    /// The upgrade is answered with this HTTP status.
    Refuse(u16),
    /// The first so many upgrades are answered with 429 and this `Retry-After`, s; the others are let in.
    BusyFor(u64, u64),
    /// The TCP connection is accepted and then nothing is ever said: no TLS, no HTTP.
    Never,
    /// Anyone is let in, after this long.
    Late(Duration),
    /// Anyone is let in, once the test opens the gate.
    Gate(Gate),
    /// The connection is closed as soon as it is accepted.
    Slam,
    /// The upgrade is answered with these bytes, which are no HTTP.
    Garbage,
}

/// What a server's handshakes wait at until the test opens it, for good.
#[derive(Clone)]
pub struct Gate {
    /// So many connections do not wait.
    free: u64,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// A closed gate, at which all but the first `free` connections wait.
    pub fn after(free: u64) -> Self {
        Self { free, open: Arc::new(watch::Sender::new(false)) }
    }

    /// Lets in those that wait, and those that come.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        // The sender lives as long as this.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

/// One step of a script, or an order of the test's.
#[derive(Clone)]
pub enum Action {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// Nothing, for this long.
    Wait(Duration),
    /// Nothing, until so many bytes of binary messages have come in.
    AfterBytes(u64),
    /// Audio.
    Play(Play),
    /// Text messages as fast as the socket takes them, for this long.
    Flood(String, Duration),
    /// These bytes, past the WebSocket framing.
    Raw(Vec<u8>),
    /// These bytes, past the WebSocket framing, again and again as fast as the socket takes them, for this long.
    Pour(Vec<u8>, Duration),
    /// A ping.
    Ping,
    /// A close frame; then the server waits for the answer and closes.
    Close(u16, String),
    /// The TCP connection is reset: RST, no close frame.
    Reset,
    /// The TCP connection is closed: FIN, no close frame.
    Drop,
    /// From here on the server does not read or write, and the socket stays open; until a `Reset` or `Drop` is ordered, with what
    /// came meanwhile unread.
    Freeze,
    /// The same for this long, then the TCP connection is reset with what came meanwhile unread.
    FreezeThenReset(Duration),
}

/// Audio to send and the form it is sent in.
#[derive(Clone)]
pub struct Play {
    /// S16LE, interleaved; made once, however many connections play it.
    pub bytes: Arc<Vec<u8>>,
    /// Samples a second of each channel.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// Binary messages or `streamAudio`.
    pub form: Form,
    /// Bytes of audio in one message, before base64; need not divide anything.
    pub chunk_bytes: usize,
    /// Messages leave at the pace of the audio; otherwise all at once.
    pub paced: bool,
}

/// How audio is wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Binary messages of S16LE.
    Binary,
    /// `{"type":"streamAudio","data":{…}}`.
    StreamAudio,
    /// The contents of `data` alone.
    Bare,
}

impl Play {
    /// Mono samples as `streamAudio` messages of 100 ms, all at once.
    pub fn mono(samples: Vec<i16>, rate: u32) -> Self {
        Self {
            bytes: Arc::new(signal::to_bytes(&samples)),
            rate,
            channels: 1,
            form: Form::StreamAudio,
            chunk_bytes: rate as usize / 5,
            paced: false,
        }
    }

    /// The same in this form.
    pub fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// The same with two channels in the samples.
    pub fn stereo(mut self) -> Self {
        self.channels = 2;
        self
    }

    /// The same in messages of `bytes` bytes of audio.
    pub fn chunks(mut self, bytes: usize) -> Self {
        self.chunk_bytes = bytes;
        self
    }

    /// The same, sent at the pace of the audio.
    pub fn paced(mut self) -> Self {
        self.paced = true;
        self
    }
}

/// A `streamAudio` message with raw samples.
pub fn stream_audio(bytes: &[u8], rate: u32, channels: u16) -> String {
    format!(r#"{{"type":"streamAudio","data":{}}}"#, bare_audio(bytes, rate, channels))
}

fn bare_audio(bytes: &[u8], rate: u32, channels: u16) -> String {
    let channels = if channels == 1 { String::new() } else { format!(r#","channels":{channels}"#) };
    let audio = STANDARD.encode(bytes);
    format!(r#"{{"audioDataType":"raw","sampleRate":{rate}{channels},"audioData":"{audio}"}}"#)
}

/// One message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A close frame: code (1005 when it had none) and reason.
    Close(u16, String),
    /// The connection ended without a close frame; why.
    Gone(String),
}

/// A message and when it came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// What.
    pub message: Received,
}

/// One connection the server has accepted.
pub struct Connection {
    /// The request line's path and query.
    pub uri: String,
    /// The request's headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// When the upgrade was done.
    pub opened_at: Instant,
    arrivals: Mutex<Vec<Arrival>>,
    bytes: AtomicU64,
    orders: mpsc::UnboundedSender<Action>,
}

impl Connection {
    /// Everything received so far, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().clone()
    }

    /// Those from this one on.
    pub fn arrivals_from(&self, first: usize) -> Vec<Arrival> {
        self.arrivals.lock().iter().skip(first).cloned().collect()
    }

    /// The text messages received so far.
    pub fn texts(&self) -> Vec<String> {
        let texts = |arrival: &Arrival| match &arrival.message {
            Received::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.arrivals.lock().iter().filter_map(texts).collect()
    }

    /// The binary messages received so far.
    pub fn binaries(&self) -> Vec<Vec<u8>> {
        let binaries = |arrival: &Arrival| match &arrival.message {
            Received::Binary(bytes) => Some(bytes.clone()),
            _ => None,
        };
        self.arrivals.lock().iter().filter_map(binaries).collect()
    }

    /// The audio received so far, S16, interleaved as it came.
    pub fn audio(&self) -> Vec<i16> {
        signal::from_bytes(&self.binaries().concat())
    }

    /// Bytes of binary messages received so far.
    pub fn audio_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How the connection ended, once it has.
    pub fn ended(&self) -> Option<Received> {
        let end = |arrival: &Arrival| matches!(arrival.message, Received::Close(..) | Received::Gone(_));
        self.arrivals.lock().iter().find(|arrival| end(arrival)).map(|arrival| arrival.message.clone())
    }

    /// A header of the upgrade request.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Does this after what the script and earlier orders have left to do.
    pub fn order(&self, action: Action) {
        // A connection that is gone has nobody to carry out an order: the test looks at what was received.
        let _ = self.orders.send(action);
    }

    /// Whether this text message was received. The newest are looked at first.
    pub fn received(&self, text: &str) -> bool {
        let is = |arrival: &Arrival| matches!(&arrival.message, Received::Text(received) if received == text);
        self.arrivals.lock().iter().rev().any(is)
    }

    /// Waits until at least `bytes` bytes of audio have come in.
    #[track_caller]
    pub fn wait_bytes(&self, bytes: u64) {
        wait_for(&format!("{bytes} bytes of audio"), PATIENCE, || (self.audio_bytes() >= bytes).then_some(()));
    }

    /// Waits for the next text message for which `wanted` holds.
    #[track_caller]
    pub fn wait_text(&self, wanted: impl Fn(&str) -> bool) -> String {
        wait_for("a text message", PATIENCE, || self.texts().into_iter().find(|text| wanted(text)))
    }

    /// Waits for the end of the connection and gives how it ended.
    #[track_caller]
    pub fn wait_end(&self) -> Received {
        wait_for("the end of the connection", PATIENCE, || self.ended())
    }

    fn record(&self, message: Received) {
        if let Received::Binary(bytes) = &message {
            self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        self.arrivals.lock().push(Arrival { at: Instant::now(), message });
    }
}

#[derive(Default)]
struct State {
    /// TCP connections, whatever became of them.
    accepted: AtomicU64,
    /// Requests to upgrade, whatever became of them.
    upgrades: AtomicU64,
    /// Connections whose requests have come to a closed gate.
    at_gate: AtomicU64,
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// A running server; dropped, it ends.
pub struct WebSocketServer {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WebSocketServer {
    /// A plain server on a free port of 127.0.0.1.
    pub fn start(script: Script) -> Self {
        Self::launch(script, None)
    }

    /// The same with TLS.
    pub fn start_tls(script: Script, tls: Arc<ServerConfig>) -> Self {
        Self::launch(script, Some(tls))
    }

    fn launch(script: Script, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket can");
        let address = listener.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let state = Arc::new(State::default());
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("test-server".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async move {
                    tokio::select! {
                        () = serve(listener, script, tls, shared) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        Self { address, scheme, state, stop: Some(stop), thread: Some(thread) }
    }

    /// `ws://127.0.0.1:<port>` or `wss://…`, and the path `/call`.
    pub fn url(&self) -> String {
        self.url_for("127.0.0.1")
    }

    /// The same under another name of this machine.
    pub fn url_for(&self, host: &str) -> String {
        format!("{}://{host}:{}/call", self.scheme, self.address.port())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// TCP connections accepted so far, with or without a handshake.
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Connections that have sent their request so far, and had to wait at the gate.
    pub fn at_gate(&self) -> u64 {
        self.state.at_gate.load(Ordering::Relaxed)
    }

    /// The WebSocket connections so far, in the order they were opened.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.state.connections.lock().clone()
    }

    /// Waits for the connection with this index, counted from 0.
    #[track_caller]
    pub fn connection(&self, index: usize) -> Arc<Connection> {
        wait_for("a WebSocket connection", PATIENCE, || self.state.connections.lock().get(index).cloned())
    }
}

impl Drop for WebSocketServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, script: Script, tls: Option<Arc<ServerConfig>>, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).expect("the runtime takes sockets");
    let script = Arc::new(script);
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let before = state.accepted.fetch_add(1, Ordering::Relaxed);
        let _ = tcp.set_nodelay(true);
        let (script, tls, state) = (Arc::clone(&script), tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match &script.handshake {
                Handshake::Never => return hold(tcp).await,
                Handshake::Slam => return,
                Handshake::Late(time) => tokio::time::sleep(*time).await,
                Handshake::Gate(gate) if before >= gate.free => {
                    // The request has begun to come; it is read later.
                    let _ = tcp.peek(&mut [0]).await;
                    state.at_gate.fetch_add(1, Ordering::Relaxed);
                    gate.pass().await;
                }
                Handshake::Garbage => {
                    let mut tcp = tcp;
                    let _ = tcp.write_all(b"\x00\x01this is no HTTP\r\n\r\n").await;
                    return hold(tcp).await;
                }
                _ => {}
            }
            match tls {
                None => converse(tcp, script, state, |tcp| tcp).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(tcp).await {
                        converse(stream, script, state, |stream| stream.into_inner().0).await;
                    }
                }
            }
        });
    }
}

async fn hold(tcp: TcpStream) {
    let _tcp = tcp;
    std::future::pending::<()>().await;
}

/// The opening of a connection and its life.
async fn converse<S>(stream: S, script: Arc<Script>, state: Arc<State>, into_tcp: impl FnOnce(S) -> TcpStream)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = None;
    let before = state.upgrades.fetch_add(1, Ordering::Relaxed);
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let check = |seen: &Request, response: Response| {
        request = Some((
            seen.uri().to_string(),
            seen.headers()
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
        ));
        admit(&script.handshake, seen, response, before)
    };
    let (stream, side) = Tap::new(stream);
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else { return };
    let Some((uri, headers)) = request else { return };
    let (orders, ordered) = mpsc::unbounded_channel();
    let connection = Arc::new(Connection {
        uri,
        headers,
        opened_at: Instant::now(),
        arrivals: Mutex::default(),
        bytes: AtomicU64::new(0),
        orders: orders.clone(),
    });
    state.connections.lock().push(Arc::clone(&connection));
    live(socket, side, &script, &connection, (orders, ordered), into_tcp).await;
}

#[expect(clippy::result_large_err, reason = "tungstenite's signature")]
fn admit(
    handshake: &Handshake,
    request: &Request,
    mut response: Response,
    before: u64,
) -> Result<Response, ErrorResponse> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refuse = |status: u16| {
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        Err(refusal)
    };
    match handshake {
        Handshake::RequireHeader(name, value) if header(name) != value => refuse(403),
        Handshake::RequireBasic(user, password)
            if header("authorization") != format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))) =>
        {
            refuse(401)
        }
        Handshake::Refuse(status) => refuse(*status),
        Handshake::BusyFor(upgrades, seconds) if before < *upgrades => {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
            refusal.headers_mut().insert(http::header::RETRY_AFTER, (*seconds).into());
            Err(refusal)
        }
        Handshake::Subprotocol(wanted) => {
            if !header("sec-websocket-protocol").split(',').any(|offered| offered.trim() == *wanted) {
                return refuse(400);
            }
            response.headers_mut().insert("sec-websocket-protocol", http::HeaderValue::from_static(wanted));
            Ok(response)
        }
        _ => Ok(response),
    }
}

/// How the writing half ended.
enum Ending {
    /// The peer's close is to be awaited.
    AwaitClose,
    Reset,
    Drop,
    Freeze,
    FreezeThenReset(Duration),
}

async fn live<S>(
    socket: WebSocketStream<Tap<S>>,
    side: Side,
    script: &Script,
    connection: &Connection,
    (orders, mut ordered): (mpsc::UnboundedSender<Action>, mpsc::UnboundedReceiver<Action>),
    into_tcp: impl FnOnce(S) -> TcpStream,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut source) = socket.split();
    let writer = async {
        for action in &script.actions {
            if let Some(ending) = act(action.clone(), &mut sink, &side, connection).await {
                return ending;
            }
        }
        while let Some(action) = ordered.recv().await {
            if let Some(ending) = act(action, &mut sink, &side, connection).await {
                return ending;
            }
        }
        std::future::pending().await
    };
    let reader = async {
        if script.never_read {
            return std::future::pending().await;
        }
        while let Some(message) = source.next().await {
            match message {
                Ok(Message::Text(text)) => connection.record(Received::Text(text.to_string())),
                Ok(Message::Binary(bytes)) => {
                    let bytes = bytes.to_vec();
                    match script.echo {
                        Echo::Off => {}
                        Echo::Binary => drop(orders.send(Action::Binary(bytes.clone()))),
                        Echo::StreamAudio { rate, channels } => {
                            drop(orders.send(Action::Text(stream_audio(&bytes, rate, channels))));
                        }
                    }
                    connection.record(Received::Binary(bytes));
                }
                Ok(Message::Close(frame)) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    connection.record(Received::Close(code, reason));
                }
                Ok(_) => {}
                Err(error) => {
                    if connection.ended().is_none() {
                        connection.record(Received::Gone(error.to_string()));
                    }
                    return;
                }
            }
        }
        if connection.ended().is_none() {
            connection.record(Received::Gone("end of stream".to_owned()));
        }
    };
    tokio::pin!(reader);
    let ending = tokio::select! {
        () = &mut reader => return,
        ending = writer => ending,
    };
    match ending {
        Ending::AwaitClose => {
            let _ = tokio::time::timeout(Duration::from_secs(5), reader).await;
        }
        Ending::Freeze | Ending::Reset | Ending::Drop | Ending::FreezeThenReset(_) => {
            let ending = match ending {
                Ending::Freeze => thawed(&mut ordered).await,
                Ending::FreezeThenReset(time) => {
                    tokio::time::sleep(time).await;
                    Ending::Reset
                }
                ending => ending,
            };
            let Ok(socket) = source.reunite(sink) else { return };
            let tcp = into_tcp(socket.into_inner().into_inner());
            if !matches!(ending, Ending::Drop) {
                let _ = tcp.set_zero_linger();
            }
        }
    }
}

/// The end that is ordered of a connection that is frozen.
async fn thawed(ordered: &mut mpsc::UnboundedReceiver<Action>) -> Ending {
    while let Some(action) = ordered.recv().await {
        match action {
            Action::Reset => return Ending::Reset,
            Action::Drop => return Ending::Drop,
            _ => {}
        }
    }
    std::future::pending().await
}

type Sink<S> = futures_util::stream::SplitSink<WebSocketStream<Tap<S>>, Message>;

/// Carries out one action; an ending when it is the last.
async fn act<S>(action: Action, sink: &mut Sink<S>, side: &Side, connection: &Connection) -> Option<Ending>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut send = async |message: Message| {
        // The peer may be gone; the reader records how.
        let _ = sink.send(message).await;
    };
    match action {
        Action::Text(text) => send(Message::text(text)).await,
        Action::Binary(bytes) => send(Message::binary(bytes)).await,
        Action::Ping => send(Message::Ping(b"server".to_vec().into())).await,
        Action::Wait(time) => tokio::time::sleep(time).await,
        Action::AfterBytes(bytes) => {
            while connection.audio_bytes() < bytes {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Action::Play(play) => {
            let byte_rate = f64::from(play.rate) * f64::from(play.channels) * 2.0;
            let start = tokio::time::Instant::now();
            for (index, chunk) in play.bytes.chunks(play.chunk_bytes).enumerate() {
                if play.paced {
                    let due = (index * play.chunk_bytes) as f64 / byte_rate;
                    tokio::time::sleep_until(start + Duration::from_secs_f64(due)).await;
                }
                send(match play.form {
                    Form::Binary => Message::binary(chunk.to_vec()),
                    Form::StreamAudio => Message::text(stream_audio(chunk, play.rate, play.channels)),
                    Form::Bare => Message::text(bare_audio(chunk, play.rate, play.channels)),
                })
                .await;
            }
        }
        Action::Flood(text, time) => {
            let end = Instant::now() + time;
            while Instant::now() < end {
                send(Message::text(text.clone())).await;
                tokio::task::yield_now().await;
            }
        }
        Action::Raw(bytes) => {
            side.lock().extend(bytes);
            let _ = sink.flush().await;
        }
        Action::Pour(bytes, time) => {
            let pour = async {
                loop {
                    side.lock().extend(&bytes);
                    if sink.flush().await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let _ = tokio::time::timeout(time, pour).await;
        }
        Action::Close(code, reason) => {
            send(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await;
            return Some(Ending::AwaitClose);
        }
        Action::Reset => return Some(Ending::Reset),
        Action::Drop => return Some(Ending::Drop),
        Action::Freeze => return Some(Ending::Freeze),
        Action::FreezeThenReset(time) => return Some(Ending::FreezeThenReset(time)),
    }
    None
}
