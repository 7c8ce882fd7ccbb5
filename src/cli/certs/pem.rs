//! The certificates of a PEM text, for the commands that work on certificate files.

use anyhow::Context;
use rustls::pki_types::CertificateDer;

/// Every certificate block in order; other blocks are passed over.
///
/// # Errors
/// When a block is cut off or is not Base64.
pub fn certificates(mut pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    rustls_pemfile::certs(&mut pem).collect::<Result<_, _>>().context("malformed PEM")
}
