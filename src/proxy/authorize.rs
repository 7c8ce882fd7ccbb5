//! Whether an identity may reach a target: decided before anything is dialled, and for an HTTP
//! session again for each request. The policy must allow it, and so must the annotations of the
//! Service that a route was made of.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::discovery::restriction::Restriction;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::policy::{Action, Policy, RequestFacts, Verdict};
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

/// Decides whether `identity`, connecting from `source`, may reach `target` by a relay of bytes;
/// `restriction` is that of the route.
///
/// # Errors
/// [`Denied`], also when there are rules and none matches.
pub fn authorize(
    policy: &Policy,
    identity: &Identity,
    source: SocketAddr,
    target: &Target,
    restriction: Option<&Restriction>,
) -> Result<Allowed, Denied> {
    let allowed = result(policy.decide(identity, source.ip(), target), target)?;
    restricted(allowed, identity, target, restriction)
}

/// Decides about one request of an HTTP session, as [`authorize`] does.
///
/// # Errors
/// [`Denied`], also when there are rules and none matches.
pub fn authorize_request(
    policy: &Policy,
    identity: &Identity,
    source: SocketAddr,
    target: &Target,
    request: RequestFacts<'_>,
    restriction: Option<&Restriction>,
) -> Result<Allowed, Denied> {
    let allowed = result(policy.decide_request(identity, source.ip(), target, request), target)?;
    restricted(allowed, identity, target, restriction)
}

fn restricted(
    allowed: Allowed,
    identity: &Identity,
    target: &Target,
    restriction: Option<&Restriction>,
) -> Result<Allowed, Denied> {
    match restriction {
        Some(restriction) if !restriction.allows(identity) => {
            Err(Denied { rule: Arc::clone(restriction.rule()), target: target.clone() })
        }
        _ => Ok(allowed),
    }
}

fn result(verdict: Verdict, target: &Target) -> Result<Allowed, Denied> {
    match verdict.action {
        Action::Allow => Ok(Allowed { rule: verdict.rule }),
        Action::Deny => Err(Denied { rule: verdict.rule, target: target.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Method, Rule};

    #[test]
    fn a_session_goes_on_while_some_request_may_be_allowed() {
        let rule = Rule {
            name: "reading".into(),
            action: Action::Allow,
            identities: Vec::new(),
            networks: Vec::new(),
            targets: Vec::new(),
            methods: vec![Method::parse("GET").expect("a method")],
            paths: Vec::new(),
        };
        let policy = Policy::new(vec![rule]);
        let identity = Identity::parse("a.b").expect("an identity");
        let target = Target::parse("web.ns:80").expect("a target");
        let source = SocketAddr::from(([10, 0, 0, 1], 1));
        let request = |method| {
            let facts = RequestFacts { method, path: "/" };
            authorize_request(&policy, &identity, source, &target, facts, None)
        };
        let allowed = Ok(Allowed { rule: "reading".into() });
        let denied = Err(Denied { rule: "default:deny".into(), target: target.clone() });
        assert_eq!(authorize(&policy, &identity, source, &target, None), denied);
        let session = policy.decide_session(&identity, source.ip(), &target);
        assert_eq!(result(session, &target), allowed);
        assert_eq!((request("GET"), request("POST")), (allowed, denied));
    }

    #[test]
    fn annotations_only_narrow() {
        let identity = Identity::parse("a.b").expect("an identity");
        let target = Target::parse("web.ns:80").expect("a target");
        let source = SocketAddr::from(([10, 0, 0, 1], 1));
        let decide = |policy: &Policy, annotation: &str| {
            let restriction = Restriction::parse(annotation).expect("valid");
            authorize(policy, &identity, source, &target, Some(&restriction))
                .map_or_else(|denied| denied.rule, |allowed| allowed.rule)
        };
        let open = Policy::default();
        assert_eq!(&*decide(&open, "*.b"), "default:any-authenticated");
        assert_eq!(&*decide(&open, "*.c"), "annotation:allowed-identities");
        let rule = Rule {
            name: "nobody".into(),
            action: Action::Deny,
            identities: Vec::new(),
            networks: Vec::new(),
            targets: Vec::new(),
            methods: Vec::new(),
            paths: Vec::new(),
        };
        assert_eq!(&*decide(&Policy::new(vec![rule]), "*"), "nobody");
    }
}
