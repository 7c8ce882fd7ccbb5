//! A TLS connection as a byte end: what the relay needs and nothing of rustls.
//!
//! Two record layers carry the bytes: ours (`stream/direct.rs`), and rustls' own, which
//! `gateway.record_layer` chooses for those who would rather trust it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::record::RecordError;

mod direct;

pub use direct::Direct;

/// An established TLS connection in either role.
///
/// Boxed, because its state is large and the enum that holds it beside a plain socket should not
/// be.
#[derive(Debug)]
pub enum TlsStream {
    /// Our record layer.
    Direct(Box<Direct>),
    /// That of rustls.
    Rustls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

impl TlsStream {
    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Direct(stream) => stream.tcp(),
            Self::Rustls(stream) => stream.get_ref().0,
        }
    }

    /// Reads application bytes. `Ok(0)` only after the peer's close_notify; an end without it is
    /// [`io::ErrorKind::UnexpectedEof`].
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Direct(stream) => stream.poll_read(cx, buffer),
            Self::Rustls(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                Pin::new(stream).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
            }
        }
    }

    /// Encrypts and writes; accepted bytes may wait for a flush.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Direct(stream) => stream.poll_write(cx, bytes),
            Self::Rustls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Hands everything accepted so far to the kernel.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Direct(stream) => stream.poll_flush(cx),
            Self::Rustls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Sends close_notify and then FIN; reading goes on.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Direct(stream) => stream.poll_shutdown(cx),
            Self::Rustls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// True when reading failed because TLS was broken, as opposed to the network.
pub fn is_tls_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<RecordError>())
}
