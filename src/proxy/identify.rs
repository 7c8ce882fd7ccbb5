//! Who the peer is: exactly one identity from its verified leaf, within its anchor's domains.
//!
//! The handshake has verified the chain; the result lies in the verified-chain cache, and this
//! asks for it. Fails closed: no identity, no connection.

use std::time::SystemTime;

use crate::model::identity::{Identity, IdentityError};
use crate::model::outcome::Outcome;
use crate::tls::credentials::{Credentials, unix_time};
use crate::tls::verify::{Presented, Role, VerifyError};

/// Why a verified peer has no identity here.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// The chain does not hold any more: it expired between handshake and identification.
    #[error("{0}")]
    Chain(VerifyError),
    /// The leaf names no single identity.
    #[error("the peer's certificate is refused: {0}")]
    Identity(IdentityError),
    /// The anchor may not vouch for the identity's trust domain.
    #[error("its anchor is not bound to the trust domain of {0}")]
    OutsideTrustDomain(Identity),
    /// The endpoint is somebody else than it should be.
    #[error("the endpoint is {found}, expected {expected}")]
    Unexpected {
        /// Who it is.
        found: Identity,
        /// Who it should be.
        expected: Identity,
    },
}

impl IdentifyError {
    /// How the connection of a client ends with this.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Chain(_) => Outcome::CertificateInvalid,
            Self::Identity(IdentityError::Missing) => Outcome::IdentityMissing,
            Self::Identity(IdentityError::Ambiguous) => Outcome::IdentityAmbiguous,
            Self::Identity(IdentityError::Malformed) => Outcome::IdentityMalformed,
            Self::OutsideTrustDomain(_) => Outcome::IdentityOutsideTrustDomain,
            Self::Unexpected { .. } => Outcome::OnwardTlsFailed,
        }
    }
}

/// The peer's identity.
///
/// # Errors
/// See [`IdentifyError`].
pub fn identify(
    credentials: &Credentials,
    role: Role,
    presented: &Presented,
    now: SystemTime,
) -> Result<Identity, IdentifyError> {
    match credentials.verifier.verify_presented(role, presented, unix_time(now)) {
        Ok(chain) => Ok(chain.identity.clone()),
        Err(VerifyError::Identity(error)) => Err(IdentifyError::Identity(error)),
        Err(VerifyError::OutsideTrustDomain(identity)) => {
            Err(IdentifyError::OutsideTrustDomain(identity))
        }
        Err(error @ VerifyError::Chain(_)) => Err(IdentifyError::Chain(error)),
    }
}

/// Refuses an endpoint that is not who it should be.
///
/// # Errors
/// [`IdentifyError::Unexpected`].
pub fn expect(found: &Identity, expected: &Identity) -> Result<(), IdentifyError> {
    if found == expected {
        return Ok(());
    }
    Err(IdentifyError::Unexpected { found: found.clone(), expected: expected.clone() })
}
