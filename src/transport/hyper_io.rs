//! A connection's socket as hyper wants it, for requests and for pages alike. Driven by the task that has the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::ReadBuf;

use super::io::Socket;

/// Bytes taken from the socket at once.
const READ: usize = 8 * 1024;

/// The socket as hyper wants it.
#[derive(Debug)]
pub(super) struct HyperIo(pub(super) Socket);

impl Read for HyperIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // Through the stack: hyper's buffer may be uninitialised, and filling it in place takes unsafe code.
        let mut bytes = [0; READ];
        let most = cursor.remaining().min(READ);
        let mut buffer = ReadBuf::new(&mut bytes[..most]);
        std::task::ready!(self.0.poll_read(cx, &mut buffer))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for HyperIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}
