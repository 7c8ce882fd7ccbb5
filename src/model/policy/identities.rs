//! Patterns of identities: `*`, an exact name, `*.suffix` at a label boundary, `spiffe://.../*` at
//! a path boundary.

use super::Rule;
use super::index::{RuleSet, Table, numbered};
use crate::model::identity::{Identity, IdentityError, is_trust_domain};
use crate::model::service::is_dns_name;

/// One entry of a rule's `identities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityPattern {
    /// `*`: any identity of either kind.
    Any,
    /// Exactly this one.
    Exact(Identity),
    /// `spiffe://td/a/*`: SPIFFE IDs below; holds `spiffe://td/a/`.
    Below(Box<str>),
    /// `*.suffix`: DNS-like identities below; holds `suffix`.
    Suffix(Box<str>),
}

impl IdentityPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When it is none of the four forms.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            let suffix = suffix.to_ascii_lowercase();
            let valid = is_dns_name(&suffix);
            return if valid {
                Ok(Self::Suffix(suffix.into()))
            } else {
                Err(IdentityError::Malformed)
            };
        }
        if let Some(head) = text.strip_suffix("/*") {
            let below = head.strip_prefix("spiffe://").ok_or(IdentityError::Malformed)?;
            // `spiffe://td/*` is a whole trust domain; below a path the rest must be an ID itself.
            if !below.contains('/') && !is_trust_domain(below) {
                return Err(IdentityError::Malformed);
            }
            if below.contains('/') {
                Identity::parse(head)?;
            }
            return Ok(Self::Below(format!("{head}/").into()));
        }
        Identity::parse(text).map(Self::Exact)
    }

    /// True when `identity` is one of those meant.
    pub fn matches(&self, identity: &Identity) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == identity,
            Self::Below(prefix) => identity.is_spiffe() && identity.as_str().starts_with(&**prefix),
            Self::Suffix(suffix) => {
                let name = identity.as_str();
                let head = name.strip_suffix(&**suffix);
                !identity.is_spiffe() && head.is_some_and(|head| head.ends_with('.'))
            }
        }
    }
}

impl std::fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(identity) => identity.fmt(f),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// Rules by identity.
#[derive(Debug)]
pub(super) struct Index {
    any: Table<()>,
    exact: Table<Identity>,
    suffix: Table<Box<str>>,
    below: Table<Box<str>>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let patterns =
            || numbered(rules).flat_map(|(n, rule)| rule.identities.iter().map(move |p| (p, n)));
        let open = numbered(rules).filter(|(_, rule)| rule.identities.is_empty());
        let stars = patterns().filter(|(p, _)| matches!(p, IdentityPattern::Any));
        let mut any: Vec<u32> = open.map(|(n, _)| n).chain(stars.map(|(_, n)| n)).collect();
        any.sort_unstable();
        let count = rules.len();
        Self {
            any: Table::new(any.into_iter().map(|n| ((), n)), count),
            exact: Table::new(
                patterns().filter_map(|(p, n)| match p {
                    IdentityPattern::Exact(identity) => Some((identity.clone(), n)),
                    _ => None,
                }),
                count,
            ),
            suffix: Table::new(
                patterns().filter_map(|(p, n)| match p {
                    IdentityPattern::Suffix(suffix) => Some((suffix.clone(), n)),
                    _ => None,
                }),
                count,
            ),
            below: Table::new(
                patterns().filter_map(|(p, n)| match p {
                    IdentityPattern::Below(prefix) => Some((prefix.clone(), n)),
                    _ => None,
                }),
                count,
            ),
        }
    }

    /// Adds the rules that are about `identity`.
    pub(super) fn add(&self, identity: &Identity, set: &mut RuleSet) {
        self.any.add(&(), set);
        self.exact.add(identity, set);
        let name = identity.as_str();
        let (table, boundary, inclusive) = match identity.is_spiffe() {
            true => (&self.below, '/', true),
            false => (&self.suffix, '.', false),
        };
        if table.is_empty() {
            return;
        }
        for (at, _) in name.match_indices(boundary) {
            let part = if inclusive { name.get(..=at) } else { name.get(at + 1..) };
            part.into_iter().for_each(|part| table.add(part, set));
        }
    }
}
