//! Whether an identity may reach a target: decided before anything is dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::policy::{Action, Policy};
use crate::model::service::Target;

/// A permission, with the name of the rule that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule.
    pub rule: Arc<str>,
}

/// A refusal, with the name of the rule that made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?} denies {target}")]
pub struct Denied {
    /// The rule.
    pub rule: Arc<str>,
    /// What was asked for.
    pub target: Target,
}

impl Denied {
    /// How the connection ends with this.
    pub fn outcome(&self) -> Outcome {
        Outcome::Denied
    }
}

/// Decides whether `identity`, connecting from `source`, may reach `target`.
///
/// # Errors
/// [`Denied`], also when there are rules and none matches.
pub fn authorize(
    policy: &Policy,
    identity: &Identity,
    source: SocketAddr,
    target: &Target,
) -> Result<Allowed, Denied> {
    let verdict = policy.decide(identity, source.ip(), target);
    match verdict.action {
        Action::Allow => Ok(Allowed { rule: verdict.rule }),
        Action::Deny => Err(Denied { rule: verdict.rule, target: target.clone() }),
    }
}
