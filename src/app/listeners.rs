//! Reserves the addresses that we listen on: takes what the service manager passed (systemd's
//! socket activation), binds the rest. `App::bind` is its only caller, before any thread is started.
//!
//! A passed socket outlives us in the service manager: clients that connect between two of our
//! lives wait instead of being refused.

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use socket2::Socket;

use super::StartError;
use crate::net::socket;

/// Where sockets come from.
pub(super) struct Reserve {
    passed: Vec<Passed>,
}

/// One socket of the service manager that no listener has taken yet.
struct Passed {
    name: String,
    address: SocketAddr,
    socket: Socket,
}

impl Reserve {
    /// Takes over the sockets that were passed to this very process (`LISTEN_PID`).
    pub(super) fn from_environment() -> Self {
        let ours = std::process::id().to_string();
        if std::env::var("LISTEN_PID").ok().as_deref() != Some(&ours) {
            return Self { passed: Vec::new() };
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut passed = Vec::new();
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match descriptors.take_tcp_listener(index).and_then(prepared) {
                Ok((address, socket)) => passed.push(Passed { name, address, socket }),
                Err(error) => {
                    tracing::warn!(index, name, %error, "a passed descriptor is no TCP listener");
                }
            }
        }
        Self { passed }
    }

    /// Reserves the addresses of one key. A passed socket with one of these addresses is taken
    /// for it; one with the key's name is taken for an address that has none, whatever its own.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(super) fn all(
        &mut self,
        addresses: &[SocketAddr],
        key: &'static str,
    ) -> Result<Vec<(SocketAddr, Socket)>, StartError> {
        let exact: Vec<_> = addresses
            .iter()
            .map(|address| self.take(|passed| passed.address == *address))
            .collect();
        let name = name_of(key);
        let reserve = |(address, exact): (&SocketAddr, Option<_>)| match exact
            .or_else(|| self.take(|passed| passed.name == name))
        {
            Some(Passed { address, socket, .. }) => Ok((address, socket)),
            None => bind(*address, key),
        };
        addresses.iter().zip(exact).map(reserve).collect()
    }

    /// Reserves the address of a key that has one.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(super) fn one(
        &mut self,
        address: SocketAddr,
        key: &'static str,
    ) -> Result<(SocketAddr, Socket), StartError> {
        match self.take(|passed| passed.address == address || passed.name == name_of(key)) {
            Some(Passed { address, socket, .. }) => Ok((address, socket)),
            None => bind(address, key),
        }
    }

    /// Every passed socket must be taken by now: nobody would ever accept on one that is not, and
    /// its clients would wait for ever.
    ///
    /// # Errors
    /// [`StartError::Passed`].
    pub(super) fn finish(self) -> Result<(), StartError> {
        match self.passed.first() {
            Some(Passed { name, address, .. }) => {
                Err(StartError::Passed { socket: format!("{address} (\"{name}\")") })
            }
            None => Ok(()),
        }
    }

    fn take(&mut self, wanted: impl Fn(&Passed) -> bool) -> Option<Passed> {
        let index = self.passed.iter().position(wanted)?;
        Some(self.passed.remove(index))
    }
}

/// What a passed socket for this key is called (`FileDescriptorName`).
fn name_of(key: &str) -> &str {
    match key {
        "gateway.listen" => "gateway",
        "admin.listen" => "admin",
        _ => "metrics",
    }
}

fn prepared(listener: Option<std::net::TcpListener>) -> io::Result<(SocketAddr, Socket)> {
    let listener = listener.ok_or(io::ErrorKind::NotFound)?;
    let socket = Socket::from(listener);
    // `Accept=yes` passes connections.
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((address, socket))
}

fn bind(address: SocketAddr, key: &'static str) -> Result<(SocketAddr, Socket), StartError> {
    let socket = socket::bind(address).map_err(|error| refused(address, key, error))?;
    let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
    Ok((bound.unwrap_or(address), socket))
}

pub(super) fn refused(address: SocketAddr, key: &'static str, error: io::Error) -> StartError {
    StartError::Listen { address, key, error }
}

/// What an error of listening means to an operator.
pub(super) fn reason(error: &io::Error) -> String {
    let cause = match error.kind() {
        io::ErrorKind::AddrInUse => "another process has this port",
        io::ErrorKind::AddrNotAvailable => "this host has no such address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => return error.to_string(),
    };
    format!("{cause} ({error})")
}
