//! Reads the transport header from a connection that negotiated it.

use std::future::poll_fn;
use std::task::ready;

use super::end::{End, Fault};
use crate::model::header::{Decoded, Header, HeaderError, decode};
use crate::model::outcome::Outcome;
use crate::model::service::MAX_NAME;

/// Bytes per read while the header is incomplete; a header is 30 to 320 bytes.
const READ: usize = 1024;

/// A complete header and what came after it.
#[derive(Debug)]
pub struct Received {
    bytes: Vec<u8>,
    /// Bytes that the header takes.
    length: usize,
}

/// Why no header was received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The client ended or broke before its header was complete.
    #[error("the client ended the connection {0} bytes into its header")]
    Ended(usize),
    /// What it sent is no header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// TLS was broken.
    #[error("the client broke the TLS protocol")]
    Tls,
}

impl ReceiveError {
    /// How the connection ends with this.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Ended(_) => Outcome::HeaderTruncated,
            Self::Header(_) => Outcome::HeaderInvalid,
            Self::Tls => Outcome::ClientTlsError,
        }
    }
}

/// Reads until the header is complete; `bytes` are those already received.
///
/// # Errors
/// See [`ReceiveError`]; the first wrong byte ends the wait.
pub async fn receive(end: &mut End, mut bytes: Vec<u8>) -> Result<Received, ReceiveError> {
    loop {
        if let Decoded::Complete { length, .. } = decode(&bytes, &mut [0; MAX_NAME])? {
            return Ok(Received { bytes, length });
        }
        let read = poll_fn(|cx| {
            let mut buffer = [0; READ];
            let count = ready!(end.poll_read(cx, &mut buffer))?;
            bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
            std::task::Poll::Ready(Ok::<_, Fault>(count))
        });
        match read.await {
            Ok(1..) => {}
            Err(Fault::Tls) => return Err(ReceiveError::Tls),
            Ok(0) | Err(_) => return Err(ReceiveError::Ended(bytes.len())),
        }
    }
}

impl Received {
    /// The header; its name is lower-cased into `name`.
    ///
    /// # Errors
    /// None after [`receive`], which has decoded the same bytes.
    pub fn header<'n>(&self, name: &'n mut [u8; MAX_NAME]) -> Result<Header<'n>, HeaderError> {
        match decode(&self.bytes, name)? {
            Decoded::Complete { header, .. } => Ok(header),
            Decoded::Incomplete => Err(HeaderError::Message),
        }
    }

    /// The bytes after the header: the application's first.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.length);
        self.bytes
    }
}
