//! One immutable set of credentials, as new handshakes use it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;

use crate::model::identity::Identity;

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

/// What an operator wants to know of one certificate in use.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// What it is for.
    pub role: Role,
    /// The file it came from.
    pub path: PathBuf,
    /// Distinguished name, escaped.
    pub subject: String,
    /// Distinguished name, escaped.
    pub issuer: String,
    /// Hexadecimal, lower-case.
    pub serial: String,
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
    /// SHA-256 of the DER form, lower-case hexadecimal.
    pub fingerprint: String,
}

/// Our identity and everything that handshakes need.
#[derive(Debug)]
pub struct Credentials {
    /// Who we are.
    pub identity: Identity,
    /// Grows with every accepted change.
    pub generation: u64,
    /// Every certificate in use.
    pub certificates: Vec<CertificateFacts>,
    /// For connections to the admin port: a client certificate is verified when presented.
    pub admin: Arc<ServerConfig>,
}
