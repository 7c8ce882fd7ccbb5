//! Policy: whatever rules there are, the compiled form decides as a walk through the rules in their
//! order does, by a reading of the patterns that shares nothing with the program's.
//!
//! A line of the input is a rule, `allow|identities|networks|targets` with lists of words
//! (`network!exception`), or a question, `?identity|source|target`. What is no pattern is left out.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::model::identity::Identity;
use linkerd_gateway::model::policy::{
    Action, IdentityPattern, NO_MATCH, NO_RULES, Network, Policy, Rule, TargetPattern,
};
use linkerd_gateway::model::service::{Target, TargetError};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (questions, rules): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('?'));
    let rules: Vec<Rule> = rules.iter().enumerate().map(|(n, line)| rule(n, line)).collect();
    let policy = Policy::new(rules.clone());
    for question in questions {
        let mut parts = question[1..].split('|');
        let mut part = || parts.next().unwrap_or_default();
        let (identity, source, target) = (part(), part(), part());
        let (Ok(identity), Ok(source), Ok(target)) =
            (Identity::parse(identity), source.parse::<IpAddr>(), asked(target))
        else {
            continue;
        };
        let verdict = policy.decide(&identity, source, &target);
        let (action, name) = plainly(&rules, &identity, source, &target);
        assert_eq!((verdict.action, &*verdict.rule), (action, name), "{question:?} {rules:#?}");
    }
});

/// As the transport header would ask: a port alone is one of the gateway's own host.
fn asked(text: &str) -> Result<Target, TargetError> {
    match text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        Some(port) => linkerd_gateway::model::service::Port::new(port)
            .map(Target::Local)
            .ok_or(TargetError::Port),
        None => Target::parse(text),
    }
}

fn rule(number: usize, line: &str) -> Rule {
    let parts: Vec<_> = line.split('|').collect();
    let list = |index: usize| parts.get(index).into_iter().flat_map(|list| list.split(' '));
    let identities: Vec<_> = list(1).filter_map(|word| IdentityPattern::parse(word).ok()).collect();
    let targets: Vec<_> = list(3).filter_map(|word| TargetPattern::parse(word).ok()).collect();
    for pattern in &identities {
        assert_eq!(IdentityPattern::parse(&pattern.to_string()).as_ref(), Ok(pattern));
    }
    for pattern in &targets {
        assert_eq!(TargetPattern::parse(&pattern.to_string()).as_ref(), Ok(pattern));
    }
    Rule {
        name: number.to_string().into(),
        action: if parts[0] == "allow" { Action::Allow } else { Action::Deny },
        identities,
        networks: list(2).filter_map(network).collect(),
        targets,
    }
}

fn network(word: &str) -> Option<Network> {
    let mut parts = word.split('!').filter_map(|cidr| cidr.parse().ok());
    Some(Network { cidr: parts.next()?, except: parts.collect() })
}

/// The first rule that matches, by name.
fn plainly<'r>(rules: &'r [Rule], who: &Identity, from: IpAddr, to: &Target) -> (Action, &'r str) {
    if rules.is_empty() {
        return (Action::Allow, NO_RULES);
    }
    let from = from.to_canonical();
    let found = rules.iter().find(|rule| {
        let who = rule.identities.is_empty()
            || rule.identities.iter().any(|p| is_named(&p.to_string(), who.as_str()));
        let from = rule.networks.is_empty()
            || rule.networks.iter().any(|network| {
                is_in(network.cidr, from) && !network.except.iter().any(|e| is_in(*e, from))
            });
        let to =
            rule.targets.is_empty() || rule.targets.iter().any(|p| is_meant(&p.to_string(), to));
        who && from && to
    });
    found.map_or((Action::Deny, NO_MATCH), |rule| (rule.action, &*rule.name))
}

fn is_named(pattern: &str, name: &str) -> bool {
    let is_spiffe = name.starts_with("spiffe://");
    match (pattern, pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        ("*", ..) => true,
        (_, Some(suffix), _) => !is_spiffe && name.ends_with(suffix) && name != suffix,
        (_, _, Some(prefix)) => is_spiffe && name.starts_with(prefix),
        _ => name == pattern,
    }
}

fn is_in(network: ipnet::IpNet, address: IpAddr) -> bool {
    let bits = |address| match address {
        IpAddr::V4(v4) => (4, u128::from(u32::from(v4)) << 96),
        IpAddr::V6(v6) => (6, u128::from(v6)),
    };
    let ((family, network_bits), (of, address)) = (bits(network.addr()), bits(address));
    let ignored = 128 - u32::from(network.prefix_len());
    family == of && (network_bits ^ address).checked_shr(ignored).unwrap_or(0) == 0
}

fn is_meant(pattern: &str, target: &Target) -> bool {
    let (name, port) = match target {
        Target::Local(port) => ("localhost", port),
        Target::Service(name, port) => (name.as_str(), port),
    };
    let Some((wanted, wanted_port)) = pattern.rsplit_once(':') else { return false };
    if wanted_port != "*" && wanted_port != port.to_string() {
        return false;
    }
    let (mut wanted, mut name): (Vec<_>, Vec<_>) =
        (wanted.split('.').collect(), name.split('.').collect());
    if wanted[0] == "*" {
        // One label or more: as many as are left over.
        let Some(extra) = (name.len() + 1).checked_sub(wanted.len()).filter(|extra| *extra > 0)
        else {
            return false;
        };
        wanted.remove(0);
        name.drain(..extra);
    }
    wanted.len() == name.len() && wanted.iter().zip(name).all(|(w, n)| *w == "*" || *w == n)
}
