//! The names of mirrors.
//!
//! A Service's name is a DNS-1035 label: at most 63 characters, a letter first. Where
//! `<service>-<cluster>` is none, it is cut to 54 characters, and `-` and eight hexadecimal digits
//! follow, a hash of both parts. The annotation `mirror.linkerd.io/remote-svc-fq-name` has the
//! whole name. The hash must never change: a mirror would be left behind under its old name.

use std::sync::Arc;

use super::object::Family;

/// Longest name of a Service.
const MAX_NAME: usize = 63;
/// `-` and eight digits.
const HASH_LENGTH: usize = 9;

/// The mirror of `service` of `cluster`: `<service>-<cluster>`.
pub fn mirror_name(service: &str, cluster: &str) -> Arc<str> {
    let full = format!("{service}-{cluster}");
    if is_service_name(&full) { full.into() } else { hashed(service, cluster) }
}

/// The federated Service of `service`: `<service>-federated`.
pub fn federated_name(service: &str) -> Arc<str> {
    mirror_name(service, "federated")
}

/// The mirror of one host of a headless Service: `<hostname>-<cluster>`.
pub fn endpoint_mirror_name(hostname: &str, cluster: &str) -> Arc<str> {
    mirror_name(hostname, cluster)
}

/// The slice of a mirror: `<mirror>-ipv4`. A headless mirror whose hosts have different ports has
/// several for a family; those after the first are numbered from 1. Slices may have long names.
pub fn slice_name(mirror: &str, family: Family, index: usize) -> Arc<str> {
    let family = family.label().to_ascii_lowercase();
    match index {
        0 => format!("{mirror}-{family}").into(),
        _ => format!("{mirror}-{family}-{index}").into(),
    }
}

/// True for a DNS-1035 label.
fn is_service_name(name: &str) -> bool {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(allowed)
}

fn hashed(service: &str, cluster: &str) -> Arc<str> {
    // A slash is in no name, so that different parts never hash the same text.
    let hash = fnv1a(format!("{service}/{cluster}").as_bytes());
    let allowed = |c: char| if matches!(c, 'a'..='z' | '0'..='9' | '-') { c } else { '-' };
    let mut name: String =
        service.chars().chain(['-']).chain(cluster.chars()).map(allowed).collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert(0, 'x');
    }
    name.truncate(MAX_NAME - HASH_LENGTH);
    format!("{}-{:08x}", name.trim_end_matches('-'), (hash >> 32) ^ (hash & 0xffff_ffff)).into()
}

/// FNV-1a, 64 bits: not for enemies, who gain nothing (a mirror whose annotation names another
/// Service is a conflict), but the same for ever.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
