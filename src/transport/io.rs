//! The byte stream under a WebSocket: plain or TLS over TCP, and its non-blocking face towards tungstenite.
//!
//! Owned by its connection, on the stream's worker. [`Tap`] also watches the frame boundaries of what arrives. So it can
//! count frames against the server's limit, below everything that a frame may turn out to be, and not read the socket for a
//! while. And after a large message the receive buffer can be made anew: tungstenite would keep it at the size of the largest
//! message for as long as the call lasts.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::client::TlsStream;

use super::inflow::Inflow;

/// A connection's socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// `ws`.
    Plain(TcpStream),
    /// `wss`; boxed, since it is ten times the size.
    Tls(Box<TlsStream<TcpStream>>),
    /// Taken away ([`Tap::take`]): ended in both directions.
    Gone,
}

impl Socket {
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Gone => Poll::Ready(Ok(0)),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// The socket as tungstenite wants it: operations that would wait fail with `WouldBlock`, and the task that called
/// [`set_waker`](Self::set_waker) last is woken when they can go on.
#[derive(Debug)]
pub(super) struct Tap {
    socket: Socket,
    waker: Waker,
    received: u64,
    frames: FrameTracker,
    inflow: Inflow,
    /// While the server has used up its limit: when to read again.
    rest: Option<Pin<Box<Sleep>>>,
}

impl Tap {
    /// For a socket on which the WebSocket handshake comes next, and a server that may send so many frames a second.
    pub(super) fn new(socket: Socket, max_messages_per_s: u32) -> Self {
        Self {
            socket,
            waker: Waker::noop().clone(),
            received: 0,
            frames: FrameTracker::default(),
            inflow: Inflow::new(max_messages_per_s, Instant::now()),
            rest: None,
        }
    }

    /// Moves the socket and its state out, leaving one that has ended.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(Socket::Gone, 1))
    }

    /// How long the server has been sending faster than it may; the socket is read no faster meanwhile.
    pub(super) fn ahead_for(&self) -> Duration {
        if self.inflow.is_ahead() { self.inflow.ahead_for(Instant::now()) } else { Duration::ZERO }
    }

    /// Nobody reads now. What waits in the socket meanwhile is not the server's haste.
    pub(super) fn stand_by(&mut self) {
        self.inflow.stand_by();
    }

    /// Who is woken from now on.
    pub(super) fn set_waker(&mut self, waker: &Waker) {
        self.waker.clone_from(waker);
    }

    /// Bytes received so far: a sign of life even in the middle of a large message.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether everything received so far ends with a large frame, so that nothing follows it in any buffer.
    pub(super) fn ends_with_large_frame(&self) -> bool {
        self.frames.at_large_end
    }

    /// Ends the sending side, as far as that goes without waiting.
    pub(super) fn shut_down(&mut self) {
        let _ = self.socket.poll_shutdown(&mut Context::from_waker(&self.waker));
    }
}

impl Read for Tap {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let cx = &mut Context::from_waker(&self.waker);
        let room = loop {
            if let Some(room) = self.inflow.ample_room(self.frames.payload_left) {
                break room;
            }
            match self.inflow.room(Instant::now(), self.frames.payload_left) {
                Ok(room) => break room,
                Err(again) => {
                    let rest = self.rest.get_or_insert_with(|| Box::pin(sleep_until(again)));
                    rest.as_mut().reset(again);
                    if rest.as_mut().poll(cx).is_pending() {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                }
            }
        };
        let most = self.frames.most(bytes.len()).min(room);
        let mut buffer = ReadBuf::new(&mut bytes[..most]);
        match self.socket.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let read = buffer.filled();
                self.received += read.len() as u64;
                self.frames.saw(read, &mut self.inflow);
                Ok(read.len())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => {
                self.inflow.read_dry();
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.socket.poll_write(&mut Context::from_waker(&self.waker), bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        or_would_block(self.socket.poll_flush(&mut Context::from_waker(&self.waker)))
    }
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Follows the frame boundaries of a byte stream, and keeps reads within a large frame from going past its end.
///
/// The stream begins with the HTTP answer to the handshake, up to its empty line.
#[derive(Debug, Default)]
struct FrameTracker {
    /// How much of the empty line that ends the answer was seen; 4 is all of it.
    answer_end: usize,
    header: [u8; 14],
    header_len: usize,
    /// Payload bytes of the present frame still to come.
    payload_left: u64,
    large: bool,
    at_large_end: bool,
}

/// The empty line after the headers.
const ANSWER_END: &[u8; 4] = b"\r\n\r\n";

impl FrameTracker {
    /// From this payload size on a frame is large. Below, a kept buffer does not matter.
    const LARGE: u64 = 32 * 1024;

    /// How much may be read at once into a buffer of `room`.
    fn most(&self, room: usize) -> usize {
        if self.large { room.min(usize::try_from(self.payload_left).unwrap_or(room)) } else { room }
    }

    fn saw(&mut self, mut bytes: &[u8], inflow: &mut Inflow) {
        self.at_large_end = false;
        while self.answer_end < ANSWER_END.len() {
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.answer_end = match *byte {
                byte if byte == ANSWER_END[self.answer_end] => self.answer_end + 1,
                b'\r' => 1,
                _ => 0,
            };
            bytes = rest;
        }
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let here = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= here as u64;
                inflow.payload(here as u64);
                bytes = &bytes[here..];
                if self.payload_left == 0 {
                    self.at_large_end = self.large && bytes.is_empty();
                    self.large = false;
                }
                continue;
            }
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.payload_length() {
                self.header_len = 0;
                inflow.frame();
                self.payload_left = length;
                self.large = length >= Self::LARGE;
            }
        }
    }

    /// The payload length once the header is complete.
    fn payload_length(&self) -> Option<u64> {
        if self.header_len < 2 {
            return None;
        }
        let second = self.header[1];
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (bytes, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        if self.header_len < 2 + bytes + mask {
            return None;
        }
        let long = self.header[2..2 + bytes].iter().fold(0, |value, byte| (value << 8) | u64::from(*byte));
        Some(if bytes == 0 { short } else { long })
    }
}

/// The TLS error within `error`, when it is one.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x82];
        match payload {
            0..=125 => bytes.push(payload as u8),
            126..=65_535 => {
                bytes.push(126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + payload, 0x82);
        bytes
    }

    proptest! {
        #[test]
        fn reads_stop_at_the_end_of_large_frames_and_only_there(
            sizes in proptest::collection::vec(
                prop_oneof![0usize..130, 30_000usize..70_000, Just(65_535), Just(65_536)], 1..8),
            room in 1usize..50_000,
        ) {
            let mut stream = b"HTTP/1.1 101 \r\r\n\rX: y\r\n\r\n".to_vec();
            let mut large_ends = Vec::new();
            for size in sizes {
                stream.extend(frame(size));
                if size as u64 >= FrameTracker::LARGE { large_ends.push(stream.len()); }
            }
            let mut tracker = FrameTracker::default();
            let mut inflow = Inflow::new(1_000, Instant::now());
            let (mut at, mut stops) = (0, Vec::new());
            while at < stream.len() {
                let n = tracker.most(room).min(stream.len() - at);
                prop_assert!(n > 0);
                tracker.saw(&stream[at..at + n], &mut inflow);
                at += n;
                if tracker.at_large_end { stops.push(at); }
            }
            // A large frame that came whole in one read, with others behind it, is passed over.
            prop_assert!(stops.iter().all(|stop| large_ends.contains(stop)), "{:?} {:?}", stops, large_ends);
            if room < 30_000 { prop_assert_eq!(stops, large_ends); }
        }

        #[test]
        fn any_bytes_are_followed(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..50) {
            let mut tracker = FrameTracker { answer_end: 4, ..FrameTracker::default() };
            let mut inflow = Inflow::new(1_000, Instant::now());
            for piece in bytes.chunks(cut) {
                prop_assert!(tracker.most(cut) <= cut);
                tracker.saw(piece, &mut inflow);
            }
        }
    }
}
