//! Values that several keys share: durations, addresses, choices.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::raw::Cursor;

/// A duration like `"5s"` within `range`.
pub fn duration(at: &Cursor<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
    let parsed = at.text().and_then(|text| humantime::parse_duration(text).ok());
    parsed.filter(|duration| range.contains(duration)).or_else(|| {
        let (least, most) = (*range.start(), *range.end());
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        at.wrong(&format!("a duration like \"5s\", from {least} to {most}"))
    })
}

/// A number of bytes like `"512MiB"`.
pub fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(*unit)
}

/// A [`size`] within `range`.
pub fn bytes(at: &Cursor<'_>, expected: &str, range: RangeInclusive<u64>) -> Option<u64> {
    at.parsed(expected, |text| size(text).filter(|size| range.contains(size)))
}

/// An IP address with a port; port 0 lets the system choose, which tests use.
pub fn address(at: &Cursor<'_>) -> Option<SocketAddr> {
    at.parsed("an address and port like \"0.0.0.0:4143\" or \"[::]:4143\"", |text| {
        text.parse().ok()
    })
}

/// A list of [`address`]es.
pub fn addresses(at: &Cursor<'_>) -> Option<Vec<SocketAddr>> {
    at.list("a list of addresses like [\"[::]:4143\"]", address)
}

/// A list of networks.
pub fn networks(at: &Cursor<'_>) -> Option<Vec<IpNet>> {
    at.list("a list of networks like [\"10.0.0.0/8\"]", |at| {
        network(at, "a network without host bits like \"10.0.0.0/8\"")
    })
}

/// A CIDR without host bits: `10.1.2.3/8` is more likely a mistake than a network. IPv4 addresses
/// are compared as such also on a dual-stack listener, so their IPv6 form would match nobody.
pub fn network(at: &Cursor<'_>, expected: &str) -> Option<IpNet> {
    let network: IpNet = at.parsed(expected, |text| {
        text.parse().ok().filter(|network: &IpNet| network.trunc() == *network)
    })?;
    let IpNet::V6(mapped) = network else { return Some(network) };
    let (v4, bits) = (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96));
    match v4.zip(bits) {
        Some((v4, bits)) => at.refuse(format!(
            "found \"{network}\", which no client is in: IPv4 clients are compared as IPv4; write \"{v4}/{bits}\""
        )),
        None => Some(network),
    }
}

/// One of the named values.
pub fn one_of<T: Copy>(at: &Cursor<'_>, values: &[(&str, T)]) -> Option<T> {
    let found = values.iter().find(|(name, _)| at.text() == Some(name));
    found.map(|(_, value)| *value).or_else(|| {
        let names: Vec<_> = values.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        at.wrong(&names.join(" or "))
    })
}
