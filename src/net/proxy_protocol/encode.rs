//! The header that goes to an endpoint: version 2, with who the client is.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Builder, Command, Protocol, Type, Version};

use super::Proxied;

/// PP2_CLIENT_SSL, PP2_CLIENT_CERT_CONN and PP2_CLIENT_CERT_SESS: over TLS, with a certificate on
/// this connection and in its session. Then four bytes: 0 says that it was verified.
const OVER_TLS_WITH_CERTIFICATE: [u8; 5] = [0x07, 0, 0, 0, 0];
/// The only version that clients are served with.
const TLS_VERSION: &[u8] = b"TLSv1.3";
/// Where Istio's ztunnel puts the client's identity, as text.
const IDENTITY: u8 = 0xd0;

/// What is proven of the client, beside its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified<'a> {
    /// Its identity.
    pub identity: &'a str,
    /// The server name that it asked for.
    pub server_name: Option<&'a str>,
}

/// The header's bytes.
///
/// # Errors
/// A text of more than 64 KiB; names and identities are far shorter.
pub fn encode(proxied: &Proxied, client: &Identified<'_>) -> io::Result<Vec<u8>> {
    let mut header = Builder::with_addresses(
        Version::Two | Command::Proxy,
        Protocol::Stream,
        one_family(proxied),
    );
    if let Some(name) = client.server_name {
        header = header.write_tlv(Type::Authority, name.as_bytes())?;
    }
    let mut tls = OVER_TLS_WITH_CERTIFICATE.to_vec();
    nested(&mut tls, Type::SSLVersion, TLS_VERSION)?;
    nested(&mut tls, Type::SSLCommonName, client.identity.as_bytes())?;
    header.write_tlv(Type::SSL, &tls)?.write_tlv(IDENTITY, client.identity.as_bytes())?.build()
}

fn nested(out: &mut Vec<u8>, kind: Type, value: &[u8]) -> io::Result<()> {
    let length = u16::try_from(value.len()).map_err(io::Error::other)?;
    out.push(kind.into());
    out.extend(length.to_be_bytes());
    out.extend(value);
    Ok(())
}

/// A header has one family for both: where they differ, IPv4 goes in IPv6 clothes.
fn one_family(proxied: &Proxied) -> (SocketAddr, SocketAddr) {
    let Proxied { source, destination } = *proxied;
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(source), mapped(destination))
}
