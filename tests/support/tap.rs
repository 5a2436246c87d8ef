//! A stream that also carries bytes put into it from the side: how the server breaks the framing above it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes to send, shared with the code that adds some.
pub type Side = Arc<Mutex<VecDeque<u8>>>;

/// `S`, and the side's bytes written before each flush.
pub struct Tap<S> {
    inner: S,
    side: Side,
}

impl<S> Tap<S> {
    /// A tap on `inner`, and its side.
    pub fn new(inner: S) -> (Self, Side) {
        let side = Side::default();
        (Self { inner, side: Arc::clone(&side) }, side)
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut side = this.side.lock();
        while !side.is_empty() {
            let (bytes, _) = side.as_slices();
            let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
            side.drain(..written);
        }
        drop(side);
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
