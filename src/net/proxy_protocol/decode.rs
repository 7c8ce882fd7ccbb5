//! Where a header ends, and what it says. Pure: this is what is fuzzed.

use std::net::{IpAddr, SocketAddr};

use ppp::v1;
use ppp::v2::{self, Command, Protocol, Type};

use super::Proxied;

/// How version 1 begins; the specification asks for this one space.
const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1, its line break included.
const MAX_V1: usize = 107;
/// Version 2 up to and with its length.
const V2_FIXED: usize = 16;
/// The longest header of version 2. It may announce 64 KiB; certificates are the largest that
/// anybody puts in, and nothing here needs them.
const MAX_V2: usize = V2_FIXED + 4096;
/// Type and length of an extension.
const TLV_HEAD: usize = 3;

/// What is wrong with a header.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// Its CRC-32C is another one.
    #[error("the PROXY header's checksum does not match: it was damaged on the way")]
    Checksum,
    /// No PROXY header at all.
    #[error("the first bytes are no PROXY header")]
    Missing,
    /// No client has this address.
    #[error("the PROXY header names {0} as the client's address")]
    Source(IpAddr),
    /// Longer than anything that is read.
    #[error("the PROXY header is longer than {0} bytes")]
    TooLong(usize),
    /// No line of version 1.
    #[error("the PROXY header, version 1: {0}")]
    V1(#[from] v1::BinaryParseError),
    /// Bytes between the address and the line break.
    #[error("the PROXY header, version 1: it does not end in CR LF")]
    V1End,
    /// No header of version 2.
    #[error("the PROXY header, version 2: {0}")]
    V2(#[from] v2::ParseError),
}

/// How long the header at the front of `bytes` is; `None` while that cannot be told.
///
/// # Errors
/// [`HeaderError::Missing`] and [`HeaderError::TooLong`], as soon as it is certain.
pub fn header_length(bytes: &[u8]) -> Result<Option<usize>, HeaderError> {
    if bytes.starts_with(v2::PROTOCOL_PREFIX) {
        let Some([.., high, low]) = bytes.first_chunk::<V2_FIXED>() else {
            return Ok(None);
        };
        let length = V2_FIXED + usize::from(u16::from_be_bytes([*high, *low]));
        return if length <= MAX_V2 { Ok(Some(length)) } else { Err(HeaderError::TooLong(MAX_V2)) };
    }
    if bytes.starts_with(V1_PREFIX) {
        return match bytes.iter().take(MAX_V1).position(|byte| *byte == b'\n') {
            Some(end) => Ok(Some(end + 1)),
            None if bytes.len() < MAX_V1 => Ok(None),
            None => Err(HeaderError::TooLong(MAX_V1)),
        };
    }
    let may_become_one = [v2::PROTOCOL_PREFIX, V1_PREFIX].iter().any(|p| p.starts_with(bytes));
    if may_become_one { Ok(None) } else { Err(HeaderError::Missing) }
}

/// Reads a complete header, and nothing but that. `None` when it names no TCP addresses.
///
/// # Errors
/// See [`HeaderError`].
pub fn decode(header: &[u8]) -> Result<Option<Proxied>, HeaderError> {
    let version_and_command = header.get(v2::PROTOCOL_PREFIX.len()).copied();
    let proxied = if !header.starts_with(v2::PROTOCOL_PREFIX) {
        version_1(header)?
    } else if version_and_command == Some(v2::Version::Two | Command::Local) {
        // Whatever else such a header holds, its family above all, is to be ignored.
        None
    } else {
        version_2(header)?
    };
    match proxied.map(|proxied| proxied.source.ip()) {
        Some(ip) if !is_a_clients(ip) => Err(HeaderError::Source(ip)),
        _ => Ok(proxied),
    }
}

fn version_1(line: &[u8]) -> Result<Option<Proxied>, HeaderError> {
    let header = v1::Header::try_from(line)?;
    if header.header.len() != line.len() {
        return Err(HeaderError::V1End);
    }
    Ok(match header.addresses {
        v1::Addresses::Tcp4(a) => Some(Proxied::new(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        )),
        v1::Addresses::Tcp6(a) => Some(Proxied::new(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        )),
        v1::Addresses::Unknown => None,
    })
}

fn version_2(bytes: &[u8]) -> Result<Option<Proxied>, HeaderError> {
    let header = v2::Header::try_from(bytes)?;
    verify(&header)?;
    Ok(match (header.protocol, header.addresses) {
        (Protocol::Stream, v2::Addresses::IPv4(a)) => Some(Proxied::new(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        )),
        (Protocol::Stream, v2::Addresses::IPv6(a)) => Some(Proxied::new(
            (a.source_address, a.source_port),
            (a.destination_address, a.destination_port),
        )),
        _ => None,
    })
}

impl Proxied {
    fn new(source: (impl Into<IpAddr>, u16), destination: (impl Into<IpAddr>, u16)) -> Self {
        let plain = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
        Self {
            source: plain(source.0.into(), source.1),
            destination: plain(destination.0.into(), destination.1),
        }
    }
}

fn is_a_clients(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

/// The extensions must be whole, and a checksum among them the header's.
fn verify(header: &v2::Header<'_>) -> Result<(), HeaderError> {
    let mut at = V2_FIXED + header.address_bytes().len();
    for tlv in header.tlvs() {
        let tlv = tlv?;
        let value = at + TLV_HEAD;
        at = value + tlv.len();
        if tlv.kind == u8::from(Type::CRC32C) {
            let mut bytes = header.as_bytes().to_vec();
            // It is made with zeros in its own place.
            bytes.get_mut(value..at).unwrap_or_default().fill(0);
            if crc32c(&bytes).to_be_bytes() != *tlv.value {
                return Err(HeaderError::Checksum);
            }
        }
    }
    Ok(())
}

/// RFC 3720 appendix B.4. A bit at a time: it is a few hundred bytes, once per connection, and only
/// from the rare sender that asks for it.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}
