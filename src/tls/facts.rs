//! What an operator wants to know of a certificate in use. Control path only: this is where the
//! second X.509 parser may be.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::last_use::LastUse;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A trust anchor.
    Anchor,
    /// An intermediate of our own chain.
    Intermediate,
    /// Our own leaf.
    Leaf,
    /// A leaf that a route brings for its server names.
    Route,
}

impl Role {
    /// The name in `/certs` and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Intermediate => "intermediate",
            Self::Leaf => "leaf",
            Self::Route => "route",
        }
    }
}

/// One certificate in use.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// What it is for.
    pub role: Role,
    /// The file it came from.
    pub path: PathBuf,
    /// Distinguished name.
    pub subject: String,
    /// Distinguished name.
    pub issuer: String,
    /// Hexadecimal, lower-case.
    pub serial: String,
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
    /// SHA-256 of the DER form, lower-case hexadecimal.
    pub fingerprint: String,
    /// When it last vouched for a peer; anchors only.
    pub last_use: Option<LastUse>,
}

impl CertificateFacts {
    /// Reads a DER certificate; `None` when it is none.
    pub fn read(role: Role, path: &Path, der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let moment = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Some(Self {
            role,
            path: path.to_owned(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: hexadecimal(certificate.raw_serial()),
            not_before: moment(certificate.validity().not_before.timestamp()),
            not_after: moment(certificate.validity().not_after.timestamp()),
            fingerprint: hexadecimal(digest(&SHA256, der).as_ref()),
            last_use: None,
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
