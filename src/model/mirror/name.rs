//! The names of mirrors.

use std::sync::Arc;

use super::object::Family;

/// The mirror of `service` of `cluster`: `<service>-<cluster>`.
pub fn mirror_name(service: &str, cluster: &str) -> Arc<str> {
    format!("{service}-{cluster}").into()
}

/// The federated Service of `service`: `<service>-federated`.
pub fn federated_name(service: &str) -> Arc<str> {
    format!("{service}-federated").into()
}

/// The mirror of one host of a headless Service: `<hostname>-<cluster>`.
pub fn endpoint_mirror_name(hostname: &str, cluster: &str) -> Arc<str> {
    format!("{hostname}-{cluster}").into()
}

/// The slice of a mirror: `<mirror>-ipv4`. A headless mirror whose hosts have different ports has
/// several for a family; those after the first are numbered from 1.
pub fn slice_name(mirror: &str, family: Family, index: usize) -> Arc<str> {
    let family = family.label().to_ascii_lowercase();
    match index {
        0 => format!("{mirror}-{family}").into(),
        _ => format!("{mirror}-{family}-{index}").into(),
    }
}
