//! Who may reach what: ordered rules, compiled so that many cost no more than few.
//!
//! The first rule that matches decides. Without rules any authenticated identity may reach any
//! routed target; with rules, what none of them allows is denied. Asked by `proxy::authorize`
//! before anything is dialled, and again for live connections when the rules change.
//!
//! [`Policy::decide`] gathers, for each of the three questions (identity, source, target), the set
//! of rules whose answer is yes as a bit set, and takes the first bit that all three have.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::identity::Identity;
use super::service::Target;

mod identities;
mod index;
mod networks;
mod targets;
#[cfg(test)]
mod tests;

pub use identities::IdentityPattern;
use index::RuleSet;
pub use targets::TargetPattern;

/// The rule that decides when there are no rules.
pub const NO_RULES: &str = "default:any-authenticated";
/// The rule that decides when there are rules and none matches.
pub const NO_MATCH: &str = "default:deny";

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The connection may go on.
    Allow,
    /// It may not.
    Deny,
}

impl Action {
    /// The name in configuration and output.
    pub fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A network without some of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network.
    pub cidr: IpNet,
    /// What of it does not count.
    pub except: Vec<IpNet>,
}

/// One rule. An empty list does not restrict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Named in logs, metrics and explanations.
    pub name: Arc<str>,
    /// What it does.
    pub action: Action,
    /// Who it is about.
    pub identities: Vec<IdentityPattern>,
    /// Where they connect from.
    pub networks: Vec<Network>,
    /// What they ask for.
    pub targets: Vec<TargetPattern>,
}

/// A decision and the rule that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Allowed or denied.
    pub action: Action,
    /// The rule's name.
    pub rule: Arc<str>,
}

/// Which parts of a rule match, for explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The identity is one of the rule's.
    pub identity: bool,
    /// The source address is in one of its networks.
    pub network: bool,
    /// The target is one of its targets.
    pub target: bool,
}

impl Match {
    /// True when the rule decides.
    pub fn all(self) -> bool {
        self.identity && self.network && self.target
    }
}

/// Compiled rules; immutable.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    identities: identities::Index,
    networks: networks::Index,
    targets: targets::Index,
    no_rules: Arc<str>,
    no_match: Arc<str>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Policy {
    /// Compiles rules in their order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            identities: identities::Index::new(&rules),
            networks: networks::Index::new(&rules),
            targets: targets::Index::new(&rules),
            rules,
            no_rules: NO_RULES.into(),
            no_match: NO_MATCH.into(),
        }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether `identity`, connecting from `source`, may reach `target`.
    pub fn decide(&self, identity: &Identity, source: IpAddr, target: &Target) -> Verdict {
        if self.rules.is_empty() {
            return Verdict { action: Action::Allow, rule: Arc::clone(&self.no_rules) };
        }
        let source = source.to_canonical();
        let mut matching = RuleSet::empty(self.rules.len());
        self.identities.add(identity, &mut matching);
        matching.keep(|set| self.targets.add(target, set));
        matching.keep(|set| self.networks.add(source, set));
        // A network's exceptions are looked at only for rules that match in all other ways.
        let decides = |rule: &&Rule| rule.networks.is_empty() || rule.has_source(source);
        match matching.iter().filter_map(|index| self.rules.get(index)).find(decides) {
            Some(rule) => Verdict { action: rule.action, rule: Arc::clone(&rule.name) },
            None => Verdict { action: Action::Deny, rule: Arc::clone(&self.no_match) },
        }
    }
}

impl Rule {
    /// How this rule alone sees a connection: the plain definition, which the compiled form must
    /// agree with.
    pub fn matches(&self, identity: &Identity, source: IpAddr, target: &Target) -> Match {
        let source = source.to_canonical();
        Match {
            identity: self.identities.is_empty()
                || self.identities.iter().any(|pattern| pattern.matches(identity)),
            network: self.networks.is_empty() || self.has_source(source),
            target: self.targets.is_empty()
                || self.targets.iter().any(|pattern| pattern.matches(target)),
        }
    }

    fn has_source(&self, source: IpAddr) -> bool {
        self.networks.iter().any(|network| {
            network.cidr.contains(&source) && !network.except.iter().any(|e| e.contains(&source))
        })
    }
}
