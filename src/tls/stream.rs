//! A TLS connection as a byte end: what the relay needs and nothing of rustls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// An established TLS connection in either role.
///
/// Boxed, because its state is large and the enum that holds it beside a plain socket should not
/// be.
#[derive(Debug)]
pub struct TlsStream(Box<tokio_rustls::TlsStream<TcpStream>>);

impl TlsStream {
    /// Wraps a stream whose handshake is complete.
    pub fn new(stream: impl Into<tokio_rustls::TlsStream<TcpStream>>) -> Self {
        Self(Box::new(stream.into()))
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        self.0.get_ref().0
    }

    /// Reads application bytes. `Ok(0)` only after the peer's close_notify; an end without it is
    /// [`io::ErrorKind::UnexpectedEof`].
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        Pin::new(&mut self.0).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    /// Encrypts and writes; accepted bytes may wait for a flush.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    /// Hands everything accepted so far to the kernel.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// Sends close_notify and then FIN; reading goes on.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// True when reading failed because TLS was broken, as opposed to the network.
pub fn is_tls_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
