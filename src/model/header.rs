//! The transport header: what a Linkerd client writes first on an authenticated connection.
//!
//! ```text
//! offset 0   23 bytes  "transport.l5d.io/v1\r\n\r\n"
//! offset 23   4 bytes  L, big endian
//! offset 27   L bytes  protobuf { int32 port = 1; string name = 2; SessionProtocol session = 3; }
//! ```
//!
//! Application bytes follow at once. [`decode`] is called by `proxy::header` with everything read
//! so far, as often as more arrives; it looks at the message only when it is complete, so a
//! header split at every byte costs no more than one. It never allocates.

use bytes::BufMut;

use super::service::{MAX_NAME, Port, lower_case};

mod wire;

/// The ALPN protocol of connections that start with this header.
pub const ALPN: &[u8] = b"transport.l5d.io/v1";
/// The ALPN protocol of plain clients that speak HTTP/2.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// The ALPN protocol of plain clients that speak HTTP/1.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
/// The bytes before the length.
pub const PREFACE: &[u8; 23] = b"transport.l5d.io/v1\r\n\r\n";
/// Bytes before the message: preface and length.
const FIXED: usize = PREFACE.len() + 4;
/// Longest accepted header in bytes, fixed part included: what Linkerd's reader can hold.
pub const MAX_HEADER: usize = 64 * 1024;

/// How the client framed its application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionProtocol {
    /// HTTP/1 (WebSocket upgrades).
    Http1,
    /// HTTP/2, HTTP/1 requests upgraded within.
    Http2,
}

impl SessionProtocol {
    /// Linkerd's label value for this protocol.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http/1",
            Self::Http2 => "http/2",
        }
    }
}

/// A decoded header; `name` lies in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'n> {
    /// The service's name in lower case without trailing dot; `None` addresses a port of this
    /// host.
    pub name: Option<&'n str>,
    /// The port of the service or of this host.
    pub port: Port,
    /// `None` for opaque bytes.
    pub session: Option<SessionProtocol>,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'n> {
    /// A header in the first `length` bytes; what follows belongs to the application.
    Complete {
        /// The header.
        header: Header<'n>,
        /// Bytes that the header took.
        length: usize,
    },
    /// A correct beginning.
    Incomplete,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The message is no protobuf of this schema.
    #[error("the header's message is malformed")]
    Message,
    /// The name is no DNS name.
    #[error("the header's name is not a DNS name")]
    Name,
    /// The port is not 1 to 65535.
    #[error("the header's port is not between 1 and 65535")]
    Port,
    /// The first bytes are not the preface.
    #[error("the connection did not start with a transport header")]
    Preface,
    /// The stated length exceeds [`MAX_HEADER`].
    #[error("the header is longer than 64 KiB")]
    TooLong,
}

/// Decodes the header at the start of `bytes`; its name is lower-cased into `name`.
///
/// # Errors
/// As soon as the bytes cannot become a valid header.
pub fn decode<'n>(bytes: &[u8], name: &'n mut [u8; MAX_NAME]) -> Result<Decoded<'n>, HeaderError> {
    let seen = bytes.len().min(PREFACE.len());
    if bytes.get(..seen) != PREFACE.get(..seen) {
        return Err(HeaderError::Preface);
    }
    let Some(length) = bytes.get(PREFACE.len()..FIXED).and_then(|b| b.try_into().ok()) else {
        return Ok(Decoded::Incomplete);
    };
    let length = FIXED.saturating_add(u32::from_be_bytes(length) as usize);
    if length > MAX_HEADER {
        return Err(HeaderError::TooLong);
    }
    let Some(message) = bytes.get(FIXED..length) else {
        return Ok(Decoded::Incomplete);
    };
    let message = wire::message(message)?;
    let port = u16::try_from(message.port).ok().and_then(Port::new).ok_or(HeaderError::Port)?;
    let name = match message.name {
        "" => None,
        text => Some(lower_case(text, name).map_err(|_| HeaderError::Name)?),
    };
    let header = Header { name, port, session: message.session };
    Ok(Decoded::Complete { header, length })
}

/// Appends the encoded header to `out`, byte for byte as Linkerd's clients write it.
pub fn encode(header: &Header<'_>, out: &mut impl BufMut) {
    // Port: tag and at most 3 bytes; name: tag, at most 2 bytes of length, 253; session: 4.
    let mut message = [0_u8; 8 + MAX_NAME + 4];
    let room = message.len();
    let mut rest = &mut message[..];
    rest.put_u8(0x08);
    wire::put_varint(&mut rest, u32::from(header.port.get()));
    if let Some(name) = header.name {
        let name = name.get(..MAX_NAME).unwrap_or(name);
        rest.put_u8(0x12);
        wire::put_varint(&mut rest, u32::try_from(name.len()).unwrap_or_default());
        rest.put_slice(name.as_bytes());
    }
    match header.session {
        None => {}
        Some(SessionProtocol::Http1) => rest.put_slice(&[0x1a, 0x02, 0x0a, 0x00]),
        Some(SessionProtocol::Http2) => rest.put_slice(&[0x1a, 0x02, 0x12, 0x00]),
    }
    let used = room - rest.remaining_mut();
    out.put_slice(PREFACE);
    out.put_u32(u32::try_from(used).unwrap_or_default());
    out.put_slice(message.get(..used).unwrap_or_default());
}

#[cfg(test)]
mod tests;
