//! What the annotations of an exported Service forbid. They only narrow: a client needs the policy's
//! permission and theirs.
//!
//! `linkerd-gateway.io/allowed-identities` names who may reach the Service, in the patterns of policy
//! rules, `linkerd-gateway.io/exported-ports` which of its ports. One that cannot be carried out as
//! it is written denies everybody: a typing mistake must not open what was to be closed.

use std::sync::Arc;

use crate::model::identity::Identity;
use crate::model::policy::IdentityPattern;

/// Who may reach a Service.
pub const ALLOWED_IDENTITIES: &str = "linkerd-gateway.io/allowed-identities";
/// Which of its ports may be reached.
pub const EXPORTED_PORTS: &str = "linkerd-gateway.io/exported-ports";

/// Whether an annotation looks like one of these and is none: a slip in its name must not open what
/// was to be closed either.
pub fn is_unknown(annotation: &str) -> bool {
    annotation.starts_with("linkerd-gateway.io/")
        && ![ALLOWED_IDENTITIES, EXPORTED_PORTS].contains(&annotation)
}

/// Who may reach a target, whatever the policy says beyond that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// Named as the rule that denies.
    rule: Arc<str>,
    /// None of them: nobody.
    identities: Vec<IdentityPattern>,
}

impl Restriction {
    /// Reads the value of [`ALLOWED_IDENTITIES`].
    ///
    /// # Errors
    /// What is wrong with it, for the Service's owner.
    pub fn parse(value: &str) -> Result<Self, String> {
        let mut identities = Vec::new();
        for text in entries(value) {
            let pattern = IdentityPattern::parse(text).map_err(|_| {
                format!(
                    "{text:?} is no identity; expected names like \
                     \"web.ns.serviceaccount.identity.linkerd.cluster.local\", \"*.cluster.local\", \
                     \"spiffe://cluster.local/ns/*\" or \"*\", separated by commas"
                )
            })?;
            identities.push(pattern);
        }
        if identities.is_empty() {
            return Err("it names nobody; expected identities, or no annotation".to_owned());
        }
        Ok(Self { rule: "annotation:allowed-identities".into(), identities })
    }

    /// Denies everybody, because this annotation is wrong.
    pub fn nobody(annotation: &str) -> Self {
        let name = annotation.rsplit('/').next().unwrap_or(annotation);
        Self { rule: format!("annotation:{name}").into(), identities: Vec::new() }
    }

    /// Whether this client is among those who may.
    pub fn allows(&self, identity: &Identity) -> bool {
        self.identities.iter().any(|pattern| pattern.matches(identity))
    }

    /// The name under which it denies.
    pub fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// Who may; nobody when empty.
    pub fn identities(&self) -> &[IdentityPattern] {
        &self.identities
    }
}

/// The entries of an annotation: separated by commas or blanks.
pub(super) fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Identity {
        Identity::parse(text).expect("an identity")
    }

    #[test]
    fn allows_whom_it_names_and_nobody_else() {
        let value = "web.a.serviceaccount.identity.linkerd.east,\n *.west spiffe://td/ns/*";
        let restriction = Restriction::parse(value).expect("valid");
        for who in ["web.a.serviceaccount.identity.linkerd.east", "x.west", "spiffe://td/ns/a"] {
            assert!(restriction.allows(&id(who)), "{who}");
        }
        for who in ["db.a.serviceaccount.identity.linkerd.east", "west", "spiffe://td/other"] {
            assert!(!restriction.allows(&id(who)), "{who}");
        }
        assert_eq!(&**restriction.rule(), "annotation:allowed-identities");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_less_strict() {
        for value in ["", " , ", "*.", "a..b", "web.a, 10.0.0.1", "spiffe://", "spiffe://td/../*"] {
            assert!(Restriction::parse(value).is_err(), "{value:?}");
        }
        let nobody = Restriction::nobody(EXPORTED_PORTS);
        assert!(!nobody.allows(&id("a.b")));
        assert_eq!(&**nobody.rule(), "annotation:exported-ports");
    }
}
