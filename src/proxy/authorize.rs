//! Whether an identity may reach a target: decided before anything is dialled.
//!
//! There are no policy rules yet, and without rules any authenticated identity may reach any
//! routed target. Configuration refuses `[[policy.rule]]`, so nobody believes in one that is not
//! enforced.

use std::net::SocketAddr;

use crate::model::identity::Identity;
use crate::model::service::Target;

/// The rule that decides when there are no rules, as logs name it.
pub const NO_RULES: &str = "default:any-authenticated";

/// A permission, with the name of the rule that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule.
    pub rule: &'static str,
}

/// Allows `identity`, connecting from `source`, to reach `target`.
pub fn authorize(_identity: &Identity, _source: SocketAddr, _target: &Target) -> Allowed {
    Allowed { rule: NO_RULES }
}
