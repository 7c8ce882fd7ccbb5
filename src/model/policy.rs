//! Who may reach what: ordered rules, compiled so that many cost no more than few.
//!
//! The first rule that matches decides. Without rules any authenticated identity may reach any
//! routed target; with rules, what none of them allows is denied. Asked by `proxy::authorize`
//! before anything is dialled, and again for live connections when the rules change.
//!
//! A decision gathers, for each of the three questions (identity, source, target), the set of rules
//! whose answer is yes as a bit set, and takes the first bit that all three have. Methods and paths
//! of requests are looked at in the order of rules that are left: [`Policy::decide`] for a relay of
//! bytes, which sees none, [`Policy::decide_session`] and [`Policy::decide_request`] for HTTP.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::identity::Identity;
use super::service::Target;

mod identities;
mod index;
mod networks;
mod path;
mod requests;
mod targets;
#[cfg(test)]
mod tests;

pub use identities::IdentityPattern;
use index::RuleSet;
pub use path::CanonicalPath;
use requests::Asked;
pub use requests::{Method, PathPattern, RequestError, RequestFacts, Requests};
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
    /// The methods of requests.
    pub methods: Vec<Method>,
    /// The paths of requests.
    pub paths: Vec<PathPattern>,
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
    /// The method is one of its methods.
    pub method: bool,
    /// The path is one of its paths.
    pub path: bool,
}

impl Match {
    /// True when the rule decides.
    pub fn all(self) -> bool {
        self.connection() && self.method && self.path
    }

    /// True when the rule is about the connection, whatever its requests.
    pub fn connection(self) -> bool {
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
    sees_requests: bool,
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
            sees_requests: rules.iter().any(Rule::names_requests),
            rules,
            no_rules: NO_RULES.into(),
            no_match: NO_MATCH.into(),
        }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// True when some rule names methods or paths, so that requests are worth asking about one by
    /// one.
    pub fn sees_requests(&self) -> bool {
        self.sees_requests
    }

    /// Whether `identity`, connecting from `source`, may reach `target` by a relay of bytes: rules
    /// about requests allow nothing there, and deny whatever else of them matches.
    pub fn decide(&self, identity: &Identity, source: IpAddr, target: &Target) -> Verdict {
        self.first(identity, source, target, Requests::Unseen)
    }

    /// Whether one request may pass.
    pub fn decide_request(
        &self,
        identity: &Identity,
        source: IpAddr,
        target: &Target,
        request: RequestFacts<'_>,
    ) -> Verdict {
        self.first(identity, source, target, Requests::One(request))
    }

    /// Whether a connection for an HTTP session may go on: denied only when
    /// [`Self::decide_request`] would deny every request. That it is allowed allows no request.
    pub fn decide_session(&self, identity: &Identity, source: IpAddr, target: &Target) -> Verdict {
        self.first(identity, source, target, Requests::Any)
    }

    fn first(
        &self,
        identity: &Identity,
        source: IpAddr,
        target: &Target,
        requests: Requests<'_>,
    ) -> Verdict {
        if self.rules.is_empty() {
            return Verdict { action: Action::Allow, rule: Arc::clone(&self.no_rules) };
        }
        let source = source.to_canonical();
        let mut matching = RuleSet::empty(self.rules.len());
        self.identities.add(identity, &mut matching);
        matching.keep(|set| self.targets.add(target, set));
        matching.keep(|set| self.networks.add(source, set));
        // A network's exceptions and what is asked of requests are looked at only for rules that
        // match in all other ways.
        let asked = Asked::new(requests);
        let decides = |rule: &&Rule| {
            (rule.networks.is_empty() || rule.has_source(source))
                && asked.has_method(rule)
                && asked.has_path(rule)
        };
        match matching.iter().filter_map(|index| self.rules.get(index)).find(decides) {
            Some(rule) => Verdict { action: rule.action, rule: Arc::clone(&rule.name) },
            None => Verdict { action: Action::Deny, rule: Arc::clone(&self.no_match) },
        }
    }
}

impl Rule {
    /// True when it names methods or paths.
    pub fn names_requests(&self) -> bool {
        !self.methods.is_empty() || !self.paths.is_empty()
    }

    /// How this rule alone sees a connection and its requests: the plain definition, which the
    /// compiled form must agree with.
    pub fn matches(
        &self,
        identity: &Identity,
        source: IpAddr,
        target: &Target,
        requests: Requests<'_>,
    ) -> Match {
        let source = source.to_canonical();
        let asked = Asked::new(requests);
        Match {
            identity: self.identities.is_empty()
                || self.identities.iter().any(|pattern| pattern.matches(identity)),
            network: self.networks.is_empty() || self.has_source(source),
            target: self.targets.is_empty()
                || self.targets.iter().any(|pattern| pattern.matches(target)),
            method: asked.has_method(self),
            path: asked.has_path(self),
        }
    }

    fn has_source(&self, source: IpAddr) -> bool {
        self.networks.iter().any(|network| {
            network.cidr.contains(&source) && !network.except.iter().any(|e| e.contains(&source))
        })
    }
}
