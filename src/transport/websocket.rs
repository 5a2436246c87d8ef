//! One WebSocket connection, driven by polling: writes what waits in the outbox, reads what has come.
//!
//! Owned by the stream's task, on its worker. No task, no lock, no buffer of messages: what waits to be sent is in the
//! [`Outbox`], at most one message is in the hands of the socket, and a received message is handed on before the next
//! is read, so a server that floods is slowed by TCP. An idle plain connection takes 4 KiB of read buffer and little
//! else; after a large message the buffer is made anew.
//!
//! [`Connection::poll_drive`] may be dropped and called again at any time: all state is in the connection, and a
//! message leaves the outbox only in the step that hands it to the WebSocket layer.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::error::{ErrorCode, TransportError};
use super::io::{Tap, tls_error};
use super::options::{ConnectOptions, Heartbeat};
use super::outbox::Outbox;

/// The code reported for a close without a code (RFC 6455, 7.1.5).
pub const NO_CLOSE_CODE: u16 = 1005;
/// The code of a connection lost without a close (RFC 6455, 7.1.5).
pub const ABNORMAL_CLOSE: u16 = 1006;

/// How long the server may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const READ_BUFFER: usize = 4 * 1024;
/// Room for answers to pings while the socket takes nothing. A message always finds room: one is written at a time.
const CONTROL_ROOM: usize = 4 * 1024;
/// Control frames handled in one call before other tasks of the worker have their turn.
const CONTROL_BUDGET: u32 = 64;
/// From this size on a received message has grown the read buffer enough to make it anew.
const LARGE_MESSAGE: usize = 32 * 1024;

/// After so long ahead of its limit a server is reported.
const AHEAD: Duration = Duration::from_secs(1);
/// After so long it is disconnected.
const FLOOD: Duration = Duration::from_secs(10);

/// What came of driving a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A message that was not handed on; the connection goes on. To be counted, logged and told as an `error` event.
    Rejected(Rejected),
    /// The server has been sending faster than [`ConnectOptions::max_messages_per_s`] for a second. Nothing is lost, and the
    /// connection goes on; but if that lasts, it fails.
    Ahead(Ahead),
    /// The connection has ended in order; drop it.
    Closed(Closure),
    /// The connection has ended otherwise ([`ABNORMAL_CLOSE`]); drop it.
    Failed(TransportError),
}

/// Why a message was not handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    /// Longer than the limit.
    #[error("a message of {bytes} bytes is more than the limit of {limit} and was ignored")]
    Oversized {
        /// Its length.
        bytes: usize,
        /// [`ConnectOptions::max_message`].
        limit: usize,
    },
    /// A text message that is not text.
    #[error("a text message that is not valid UTF-8 was ignored")]
    NotUtf8,
}

/// A server that sends faster than it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the server sends more than max_messages_per_s={limit} messages a second; it is read more slowly, and disconnected if it \
     goes on for {} s", FLOOD.as_secs()
)]
pub struct Ahead {
    /// [`ConnectOptions::max_messages_per_s`].
    pub limit: u32,
}

/// How a connection was closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closure {
    /// The close code: the server's when it closed ([`NO_CLOSE_CODE`] when it gave none), else ours.
    pub code: u16,
    /// The reason that came with it.
    pub reason: String,
    /// Who began.
    pub by: Side,
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// This module.
    Us,
    /// The server.
    Peer,
}

/// A connection that is up.
pub struct Connection {
    websocket: WebSocket<Tap>,
    max_message: usize,
    max_messages_per_s: u32,
    /// The server is ahead of its limit, and that was reported.
    ahead: bool,
    subprotocol: Option<String>,
    request_id: Option<String>,
    state: State,
    /// Something handed to the WebSocket layer may not have reached the socket.
    unflushed: bool,
    /// Writing has failed; what the server said before is read before this is reported.
    write_error: Option<TransportError>,
    heartbeat: Option<Pulse>,
}

#[derive(Debug)]
enum State {
    Open,
    /// We close: the outbox, then the close frame, then the server's answer.
    Closing {
        ours: Closure,
        frame: Option<CloseFrame>,
        timer: Pin<Box<Sleep>>,
    },
    /// The server has closed; the answer is on its way.
    Answering {
        theirs: Closure,
        timer: Pin<Box<Sleep>>,
    },
    /// Nothing more will come.
    Ended,
}

/// The state of our own pings.
#[derive(Debug)]
struct Pulse {
    settings: Heartbeat,
    /// Ends at the next ping or at the time limit of the last, the earlier of the two.
    timer: Pin<Box<Sleep>>,
    next_ping: Instant,
    /// A ping after which nothing has arrived yet.
    expected: Option<Expected>,
    /// A ping is due that could not be written yet.
    due: bool,
}

/// What is expected after a ping.
#[derive(Clone, Copy, Debug)]
struct Expected {
    /// How many bytes had arrived before it.
    before: u64,
    /// Until when something must arrive.
    until: Instant,
    /// It is the second ping in a row: there is no third.
    again: bool,
}

/// The WebSocket layer's settings for messages up to `max_message` bytes.
pub(super) fn config(max_message: usize) -> WebSocketConfig {
    let hard = hard_limit(max_message);
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(CONTROL_ROOM)
        .max_message_size(Some(hard))
        .max_frame_size(Some(hard))
}

/// Above this a message cannot even be skipped: it would have to be received first.
fn hard_limit(max_message: usize) -> usize {
    max_message.saturating_mul(4).clamp(1 << 20, 64 << 20).max(max_message)
}

impl Connection {
    pub(super) fn new(websocket: WebSocket<Tap>, options: &ConnectOptions, subprotocol: Option<String>) -> Self {
        let heartbeat = options.heartbeat.map(|settings| {
            let next_ping = Instant::now() + settings.interval;
            Pulse { settings, timer: Box::pin(sleep_until(next_ping)), next_ping, expected: None, due: false }
        });
        Self {
            websocket,
            max_message: options.max_message,
            max_messages_per_s: options.max_messages_per_s,
            ahead: false,
            subprotocol,
            request_id: None,
            state: State::Open,
            unflushed: false,
            write_error: None,
            heartbeat,
        }
    }

    /// The same, with what the server calls the handshake.
    pub(super) fn with_request_id(mut self, request_id: Option<String>) -> Self {
        self.request_id = request_id;
        self
    }

    /// What the server calls the handshake.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The subprotocol the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Begins to close: what waits in the outbox is still sent, then the close, then the server has until two
    /// seconds from now to answer; whatever happens, [`poll_drive`](Self::poll_drive) gives [`Incoming::Closed`] or
    /// [`Incoming::Failed`] by then. Messages that arrive meanwhile are handed on. Only the first call counts.
    ///
    /// `reason` is cut to the 123 bytes the protocol allows; a `code` that must not be sent becomes 1000.
    pub fn close(&mut self, code: u16, reason: &str) {
        if !matches!(self.state, State::Open) {
            return;
        }
        let code = if CloseCode::from(code).is_allowed() { code } else { 1000 };
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = &reason[..end];
        self.state = State::Closing {
            ours: Closure { code, reason: reason.to_owned(), by: Side::Us },
            frame: Some(CloseFrame { code: code.into(), reason: reason.into() }),
            timer: Box::pin(sleep_until(Instant::now() + CLOSE_TIMEOUT)),
        };
    }

    /// Sends from `outbox` what the socket takes, then gives the next thing that came.
    ///
    /// `Pending` when the socket takes and gives nothing: `cx` is woken when it does, or when a timer of
    /// the connection ends. Call again after putting something into the outbox. Never waits; costs a write call of
    /// the system for each message sent, a read call for each that came. After [`Incoming::Closed`] or
    /// [`Incoming::Failed`] it always stays `Pending`.
    pub fn poll_drive(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<Incoming> {
        match self.send(cx, outbox) {
            ControlFlow::Continue(()) => self.receive(cx),
            ControlFlow::Break(end) => end,
        }
    }

    /// [`poll_drive`](Self::poll_drive) without reading, while there is no room for what the server sends: TCP slows the server
    /// down. Nothing is lost, and a message that has begun to arrive waits for its rest.
    ///
    /// Meanwhile the server's pings, its close and its end are not noticed, nothing is expected in answer to our pings, and what
    /// waits in the socket does not count as sent too fast. `Pending`, unless the connection is being closed: then it is driven
    /// as usual, for its end has to be read.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<Incoming> {
        if !matches!(self.state, State::Open) {
            return self.poll_drive(cx, outbox);
        }
        self.websocket.get_mut().stand_by();
        if let Some(pulse) = &mut self.heartbeat {
            pulse.expected = None;
        }
        match self.send(cx, outbox) {
            ControlFlow::Continue(()) => Poll::Pending,
            ControlFlow::Break(end) => end,
        }
    }

    /// Timers, and writing. It breaks off where there is nothing to be read any more.
    fn send(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> ControlFlow<Poll<Incoming>> {
        self.websocket.get_mut().set_waker(cx.waker());
        if self.poll_timers(cx) {
            return ControlFlow::Break(Poll::Ready(self.end()));
        }
        if matches!(self.state, State::Ended) {
            return ControlFlow::Break(Poll::Pending);
        }
        if self.write_error.is_none()
            && let Err(error) = self.write(outbox)
        {
            self.write_error = Some(error);
        }
        ControlFlow::Continue(())
    }

    /// The next thing that came.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        for _ in 0..CONTROL_BUDGET {
            if let State::Answering { theirs, .. } = &self.state
                && (!self.unflushed || self.write_error.is_some())
            {
                let closure = theirs.clone();
                return Poll::Ready(self.finish(Incoming::Closed(closure)));
            }
            match self.read() {
                Ok(Some(incoming)) => return Poll::Ready(incoming),
                Ok(None) => {}
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(error) = self.write_error.take() {
                        return Poll::Ready(self.finish(Incoming::Failed(error)));
                    }
                    return self.look_ahead().map_or(Poll::Pending, Poll::Ready);
                }
                Err(error) => {
                    let incoming = self.broken(error);
                    return Poll::Ready(self.finish(incoming));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What is to be said of a server that sends faster than it may; nothing of one whose limit holds.
    fn look_ahead(&mut self) -> Option<Incoming> {
        let ahead_for = self.websocket.get_ref().ahead_for();
        let limit = self.max_messages_per_s;
        if ahead_for < AHEAD {
            self.ahead = false;
        } else if ahead_for >= FLOOD && matches!(self.state, State::Open) {
            let failure = TransportError {
                code: ErrorCode::Protocol,
                message: format!(
                    "the server sent more than max_messages_per_s={limit} messages a second for {} s; closed with 1008",
                    FLOOD.as_secs()
                ),
                close: Some(CloseCode::Policy.into()),
            };
            self.say_goodbye(CloseCode::Policy);
            return Some(self.finish(Incoming::Failed(failure)));
        } else if !std::mem::replace(&mut self.ahead, true) {
            return Some(Incoming::Ahead(Ahead { limit }));
        }
        None
    }

    /// [`poll_drive`](Self::poll_drive) as a future, equally safe to drop.
    pub async fn drive(&mut self, outbox: &mut Outbox) -> Incoming {
        poll_fn(|cx| self.poll_drive(cx, outbox)).await
    }

    /// Writes until the socket takes no more or nothing waits.
    fn write(&mut self, outbox: &mut Outbox) -> Result<(), TransportError> {
        loop {
            if self.unflushed {
                match self.websocket.flush() {
                    Ok(()) => self.unflushed = false,
                    Err(error) => return would_block_is_fine(error),
                }
            }
            let may_send = matches!(self.state, State::Open | State::Closing { frame: Some(_), .. });
            if !may_send {
                return Ok(());
            }
            let message = if self.heartbeat.as_mut().is_some_and(|pulse| std::mem::take(&mut pulse.due)) {
                Message::Ping(Bytes::new())
            } else if let Some(message) = outbox.pop() {
                message
            } else if let State::Closing { frame, .. } = &mut self.state {
                Message::Close(frame.take())
            } else {
                return Ok(());
            };
            self.unflushed = true;
            // The buffer is empty now, so this bounds it by one message and some control frames.
            let room = message.len() + CONTROL_ROOM;
            self.websocket.set_config(|config| config.max_write_buffer_size = room);
            let written = self.websocket.write(message);
            self.websocket.set_config(|config| config.max_write_buffer_size = CONTROL_ROOM);
            if let Err(error) = written {
                return would_block_is_fine(error);
            }
        }
    }

    /// The next message; `None` after a control frame.
    fn read(&mut self) -> Result<Option<Incoming>, WsError> {
        let message = match self.websocket.read() {
            Ok(message) => message,
            // The frame is behind us; whatever follows it is sound.
            Err(WsError::Utf8(_)) => return Ok(Some(Incoming::Rejected(Rejected::NotUtf8))),
            Err(error) => return Err(error),
        };
        let bytes = message.len();
        let incoming = match message {
            Message::Text(_) | Message::Binary(_) if bytes > self.max_message => {
                Some(Incoming::Rejected(Rejected::Oversized { bytes, limit: self.max_message }))
            }
            Message::Text(text) => Some(Incoming::Text(text)),
            Message::Binary(bytes) => Some(Incoming::Binary(bytes)),
            Message::Close(frame) => {
                self.closed_by_peer(frame);
                None
            }
            // The answer is queued by the WebSocket layer; it counts as unflushed until the next write.
            Message::Ping(_) => {
                self.unflushed = true;
                self.try_flush();
                None
            }
            Message::Pong(_) | Message::Frame(_) => None,
        };
        if bytes >= LARGE_MESSAGE {
            self.renew_buffers();
        }
        Ok(incoming)
    }

    fn closed_by_peer(&mut self, frame: Option<CloseFrame>) {
        let theirs = match std::mem::replace(&mut self.state, State::Ended) {
            // The answer to ours: the close is complete.
            State::Closing { ours, frame: None, .. } => ours,
            _ => match frame {
                Some(frame) => Closure { code: frame.code.into(), reason: frame.reason.to_string(), by: Side::Peer },
                None => Closure { code: NO_CLOSE_CODE, reason: String::new(), by: Side::Peer },
            },
        };
        self.unflushed = true;
        self.state = State::Answering { theirs, timer: Box::pin(sleep_until(Instant::now() + CLOSE_TIMEOUT)) };
        self.try_flush();
    }

    fn try_flush(&mut self) {
        match self.websocket.flush() {
            Ok(()) => self.unflushed = false,
            Err(error) => {
                if let Err(error) = would_block_is_fine(error) {
                    self.write_error.get_or_insert(error);
                }
            }
        }
    }

    /// Gives the memory of a large message back, when nothing is in any buffer.
    fn renew_buffers(&mut self) {
        let idle = matches!(self.state, State::Open) && !self.unflushed && self.write_error.is_none();
        if !idle || !self.websocket.get_ref().ends_with_large_frame() {
            return;
        }
        let tap = self.websocket.get_mut().take();
        self.websocket = WebSocket::from_raw_socket(tap, Role::Client, Some(config(self.max_message)));
    }

    /// Whether a timer has ended the connection; sets pings due.
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.state {
            State::Closing { timer, .. } | State::Answering { timer, .. } => return timer.as_mut().poll(cx).is_ready(),
            State::Ended => return false,
            State::Open => {}
        }
        let received = self.websocket.get_ref().received();
        let Some(pulse) = &mut self.heartbeat else { return false };
        while pulse.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match pulse.expected {
                Some(expected) if expected.before != received => pulse.expected = None,
                Some(Expected { until, again: true, .. }) if until <= now => return true,
                Some(expected) if expected.until <= now => {
                    // One pong may be lost in a server that starts its work anew; a second one is not.
                    pulse.due = true;
                    let until = now + pulse.settings.second();
                    pulse.expected = Some(Expected { until, again: true, ..expected });
                }
                _ => {}
            }
            if pulse.next_ping <= now {
                pulse.due = true;
                pulse.next_ping = now + pulse.settings.interval.max(Duration::from_millis(1));
                let until = now + pulse.settings.timeout;
                pulse.expected.get_or_insert(Expected { before: received, until, again: false });
            }
            let limit = pulse.expected.map_or(pulse.next_ping, |expected| expected.until);
            pulse.timer.as_mut().reset(pulse.next_ping.min(limit));
        }
        false
    }

    /// What a timer that ended the connection means.
    fn end(&mut self) -> Incoming {
        let incoming = match std::mem::replace(&mut self.state, State::Ended) {
            State::Closing { ours: closure, .. } | State::Answering { theirs: closure, .. } => {
                Incoming::Closed(closure)
            }
            State::Open | State::Ended => Incoming::Failed(TransportError::new(
                ErrorCode::PingTimeout,
                format!(
                    "the server has answered neither of two pings within {} ms",
                    self.heartbeat.as_ref().map_or(0, |pulse| pulse.settings.patience().as_millis())
                ),
            )),
        };
        self.finish(incoming)
    }

    /// What an error of the WebSocket layer means; says goodbye where the server can still hear it.
    fn broken(&mut self, error: WsError) -> Incoming {
        let dropped = || TransportError::new(ErrorCode::Io, "the server dropped the connection without a close (1006)");
        let state = std::mem::replace(&mut self.state, State::Ended);
        let gone = matches!(
            error,
            WsError::ConnectionClosed
                | WsError::AlreadyClosed
                | WsError::Io(_)
                | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        );
        match state {
            // It closed the socket instead of answering, which makes no difference now.
            State::Closing { ours, frame: None, .. } if gone => return Incoming::Closed(ours),
            // Whatever follows a close does not count.
            State::Answering { theirs, .. } => return Incoming::Closed(theirs),
            _ => {}
        }
        let (goodbye, mut failure) = match error {
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | WsError::ConnectionClosed
            | WsError::AlreadyClosed => (None, dropped()),
            WsError::Io(error) => (None, io_failure(&error).unwrap_or_else(dropped)),
            WsError::Protocol(ProtocolError::MaskedFrameFromServer) => (
                Some(CloseCode::Protocol),
                TransportError::new(ErrorCode::ServerMasked, "the server masks its frames, which servers must not"),
            ),
            WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => (
                Some(CloseCode::Size),
                TransportError::new(
                    ErrorCode::Protocol,
                    format!(
                        "the server sent a message of {size} bytes, more than the {max_size} that can be skipped; \
                         closed with 1009"
                    ),
                ),
            ),
            error => (Some(CloseCode::Protocol), TransportError::new(ErrorCode::Protocol, error.to_string())),
        };
        if let Some(code) = goodbye {
            failure.close = Some(code.into());
            self.say_goodbye(code);
        }
        Incoming::Failed(failure)
    }

    /// Sends a close, as far as that goes without waiting.
    fn say_goodbye(&mut self, code: CloseCode) {
        // A pong that is still owed goes first: nothing may follow a close.
        let _ = self.websocket.flush();
        let _ = self.websocket.close(Some(CloseFrame { code, reason: Utf8Bytes::from_static("") }));
    }

    fn finish(&mut self, incoming: Incoming) -> Incoming {
        self.state = State::Ended;
        self.websocket.get_mut().shut_down();
        incoming
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("state", &self.state).field("unflushed", &self.unflushed).finish()
    }
}

fn would_block_is_fine(error: WsError) -> Result<(), TransportError> {
    match error {
        WsError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        WsError::Io(error) => Err(io_failure(&error).unwrap_or_else(|| {
            TransportError::new(ErrorCode::Io, "the server dropped the connection without a close (1006)")
        })),
        error => Err(TransportError::new(ErrorCode::Protocol, error.to_string())),
    }
}

/// What a failed socket means; `None` when the server just went away.
fn io_failure(error: &io::Error) -> Option<TransportError> {
    if let Some(error) = tls_error(error) {
        return Some(TransportError::new(ErrorCode::SslError, format!("TLS failed: {error}")));
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => None,
        _ => Some(TransportError::new(ErrorCode::Io, format!("the connection broke: {error} (1006)"))),
    }
}
