//! Where unauthenticated connections come from, as far as limits tell sources apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits that a host or a site can change at will: an IPv6 site has a /64 of its own.
const HOST_BITS: u32 = 64;

/// An IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One address.
    V4(Ipv4Addr),
    /// The upper 64 bits.
    V6(u64),
}

impl Source {
    /// The source that `ip` belongs to, IPv4 in IPv6 clothes unmapped.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(prefix(ip)),
        }
    }
}

fn prefix(ip: Ipv6Addr) -> u64 {
    u64::try_from(ip.to_bits() >> HOST_BITS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_address_or_one_64() {
        let source = |ip: &str| Source::of(ip.parse().expect("an address"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
    }
}
