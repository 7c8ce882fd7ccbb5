//! One side of a connection: it reads, writes, half-closes, resets, and says whether it is TLS.
//!
//! The relay knows nothing else, so the record layer can change without touching it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::socket;
use crate::tls::stream::{TlsStream, is_tls_error};

/// A plain or encrypted byte end. Dropping it resets the connection unless it was disarmed.
#[derive(Debug)]
pub enum End {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(TlsStream),
}

/// What went wrong with an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing came for too long.
    Idle,
    /// It reset the connection, or has closed what we write to.
    Reset,
    /// TLS ended without close_notify.
    Truncated,
    /// It broke the TLS protocol.
    Tls,
    /// It stopped acknowledging.
    Unreachable,
}

impl Fault {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ if is_tls_error(error) => Self::Tls,
            _ => Self::Reset,
        }
    }

    /// The `errno` label of Linkerd's `tcp_close_total`.
    pub fn errno(self) -> &'static str {
        match self {
            Self::Reset => "ECONNRESET",
            Self::Idle | Self::Unreachable => "ETIMEDOUT",
            Self::Truncated | Self::Tls => "EPROTO",
        }
    }
}

impl End {
    /// True for TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// Reads application bytes; 0 is a clean end.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, Fault>> {
        let result = match self {
            Self::Tcp(tcp) => {
                let mut buffer = ReadBuf::new(buffer);
                let read = Pin::new(tcp).poll_read(cx, &mut buffer);
                read.map_ok(|()| buffer.filled().len())
            }
            Self::Tls(tls) => tls.poll_read(cx, buffer),
        };
        result.map_err(|error| Fault::of(&error))
    }

    /// Writes; what was accepted may wait for [`End::poll_flush`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Fault>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => tls.poll_write(cx, bytes),
        }
        .map(|result| match result {
            // A writer that takes nothing will never take anything.
            Ok(0) => Err(Fault::Reset),
            Ok(count) => Ok(count),
            Err(error) => Err(Fault::of(&error)),
        })
    }

    /// Writes from several pieces: in one call where there is no TLS.
    pub fn poll_write_pieces(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Fault>> {
        match self {
            Self::Tcp(tcp) => match ready!(Pin::new(tcp).poll_write_vectored(cx, pieces)) {
                Ok(0) => Poll::Ready(Err(Fault::Reset)),
                Ok(count) => Poll::Ready(Ok(count)),
                Err(error) => Poll::Ready(Err(Fault::of(&error))),
            },
            Self::Tls(_) => {
                let piece = pieces.iter().find(|piece| !piece.is_empty());
                self.poll_write(cx, piece.map_or(&[][..], |piece| piece))
            }
        }
    }

    /// Hands everything accepted so far to the kernel.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(cx).map_err(|error| Fault::of(&error)),
        }
    }

    /// Ends our direction cleanly (close_notify, FIN); reading goes on.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
        }
        .map(|result| match result {
            Ok(()) => Ok(()),
            // The peer has closed both directions before us: nothing is left to end.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(Fault::of(&error)),
        })
    }

    /// A fault that no read or write has met yet.
    ///
    /// # Errors
    /// The fault; it is reported once.
    pub fn fault(&self) -> Result<(), Fault> {
        match self.tcp().take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(Fault::of(&error)),
        }
    }

    /// Both directions have ended cleanly: closing is no reset.
    pub fn disarm(&self) {
        socket::disarm(self.tcp());
    }
}
