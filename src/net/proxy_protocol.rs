//! The PROXY protocol: what a load balancer in front says of the connection that it passes on.
//!
//! `proxy::preface` and the admin server read a header from the peers that configuration lists, and
//! the former writes one onward. Parsing and building is the `ppp` crate's; here is where a header
//! ends, so that not a byte behind it is taken, and what may be believed of it. Nobody else's first
//! bytes may be given to this: whoever may send a header may claim any address.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{HeaderError, decode, header_length};
pub use encode::{Identified, encode};

/// Bytes looked at in one go: more than a header without large extensions has.
const PEEK: usize = 512;

/// The two ends of a connection as its header names them, IPv4 never in IPv6 clothes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Where the client connects from.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// Why no header was received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer closed or reset before its first byte.
    #[error("the peer closed before its first byte")]
    ClosedBeforeFirstByte,
    /// What came is no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The peer closed or reset within the header.
    #[error("the peer closed {0} bytes into its PROXY header")]
    Truncated(usize),
}

/// True when a connection of `peer` must begin with a header; otherwise it is never looked for.
pub fn is_required(networks: &[IpNet], peer: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&peer))
}

/// Takes the header, and no byte behind it, from the front of a connection. `None` when it names no
/// addresses: LOCAL (a load balancer's own check) and unknown protocols. The caller bounds the
/// time.
///
/// # Errors
/// See [`ReceiveError`]; the first byte that no header has ends the wait, and is not taken.
pub async fn receive(stream: &TcpStream) -> Result<Option<Proxied>, ReceiveError> {
    let mut header = Vec::new();
    loop {
        // An error shows in the read that follows.
        let _ = stream.readable().await;
        if take(stream, &mut header)? {
            return Ok(decode(&header)?);
        }
    }
}

/// Takes what has come of the header; true when that completes it. Everything that was looked at
/// and belongs to the header is taken, so a socket without more of it is not readable any more: the
/// caller waits, and does not spin.
fn take(stream: &TcpStream, header: &mut Vec<u8>) -> Result<bool, ReceiveError> {
    let had = header.len();
    let ended = |_| match had {
        0 => ReceiveError::ClosedBeforeFirstByte,
        had => ReceiveError::Truncated(had),
    };
    let mut buffer = [0; PEEK];
    let peeked = match peek(stream, &mut buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Ok(0) => return Err(ended(io::ErrorKind::UnexpectedEof.into())),
        peeked => peeked.map_err(ended)?,
    };
    header.extend_from_slice(buffer.get(..peeked).unwrap_or_default());
    let length = header_length(header)?;
    header.truncate(length.unwrap_or(usize::MAX));
    let part = header.len() - had;
    let taken = stream.try_read(buffer.get_mut(..part).unwrap_or_default()).map_err(ended)?;
    header.truncate(had + taken);
    Ok(length == Some(header.len()))
}

fn peek(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.try_io(Interest::READABLE, || {
        let (count, _) = recv(stream, buffer, RecvFlags::PEEK)?;
        Ok(count)
    })
}
