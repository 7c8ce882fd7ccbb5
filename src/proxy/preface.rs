//! PROXY headers: read in front of the handshake from peers that must send one, written onward in
//! front of everything else where the route asks for it.
//!
//! Who must send one is decided by the TCP peer's address alone, and that is also the only one that
//! `gateway.local_ports` and our own listeners go by.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::net::TcpStream;

use super::session::Session;
use crate::config::GatewaySettings;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::route::Route;
use crate::net::proxy_protocol::{self, Identified, Proxied, ReceiveError, encode};
use crate::state::connections::Live;

/// Networks whose connections begin with a header, for each listener in the order of
/// `gateway.listen`.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Vec<IpNet>>);

impl Proxies {
    /// As configured.
    pub fn new(settings: &GatewaySettings) -> Self {
        Self(settings.listen.iter().map(|listener| listener.proxy_protocol.clone()).collect())
    }

    /// True when `peer` must send a header to that listener.
    pub fn include(&self, listener: usize, peer: IpAddr) -> bool {
        let networks = self.0.get(listener);
        networks.is_some_and(|networks| proxy_protocol::is_required(networks, peer))
    }
}

/// How a connection ends that brought no header.
pub fn outcome(error: &ReceiveError) -> Outcome {
    use proxy_protocol::HeaderError::Missing;
    match error {
        ReceiveError::ClosedBeforeFirstByte => Outcome::ClosedBeforeFirstByte,
        ReceiveError::Header(Missing) => Outcome::ProxyProtocolMissing,
        ReceiveError::Header(_) | ReceiveError::Truncated(_) => Outcome::ProxyProtocolInvalid,
    }
}

/// Reads the header; the client's address is what it says from then on.
///
/// # Errors
/// See [`ReceiveError`].
pub async fn receive(stream: &TcpStream, session: &Session) -> Result<(), ReceiveError> {
    if let Some(Proxied { source, destination }) = proxy_protocol::receive(stream).await? {
        session.registration.proxied(source, destination);
    }
    Ok(())
}

/// The header that endpoints of `route` are to get, if any: the client's address, the one that it
/// connected to, and who it is.
pub fn onward(
    route: &Route,
    live: &Live,
    sni: Option<&str>,
    identity: &Identity,
) -> Option<Vec<u8>> {
    let proxied = Proxied { source: live.source(), destination: live.destination() };
    let client = Identified { identity: identity.as_str(), server_name: sni };
    // Names and identities have lengths that no header is too short for.
    route.proxy_protocol.then(|| encode(&proxied, &client).ok()).flatten()
}
