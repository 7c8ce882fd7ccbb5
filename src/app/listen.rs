//! Reserving the addresses that the process listens on, and why that failed.

use std::io;
use std::net::SocketAddr;

use socket2::Socket;

use super::StartError;
use crate::net::socket;

/// Reserves an address, and says which port the system chose.
pub(super) fn bind(
    address: SocketAddr,
    key: &'static str,
) -> Result<(SocketAddr, Socket), StartError> {
    let socket = socket::bind(address).map_err(|error| refused(address, key, error))?;
    let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
    Ok((bound.unwrap_or(address), socket))
}

/// The error about an address that a key of the configuration names.
pub(super) fn refused(address: SocketAddr, key: &'static str, error: io::Error) -> StartError {
    StartError::Listen { address, key, error }
}

/// What the system's refusal means here.
pub(super) fn reason(error: &io::Error) -> String {
    let cause = match error.kind() {
        io::ErrorKind::AddrInUse => "another process has this port",
        io::ErrorKind::AddrNotAvailable => "this host has no such address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => return error.to_string(),
    };
    format!("{cause} ({error})")
}
