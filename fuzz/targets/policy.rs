//! Policy: whatever rules there are, the compiled form decides as a walk through the rules in their
//! order does, by a reading of the patterns that shares nothing with the program's.
//!
//! A line of the input is a rule, `allow|identities|networks|targets|methods|paths` with lists of
//! words (`network!exception`), or a question, `?identity|source|target|method|path`, which is asked
//! about a relay of bytes, a request and a session. What is no pattern is left out.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::model::identity::Identity;
use linkerd_gateway::model::policy::{
    Action, IdentityPattern, Method, NO_MATCH, NO_RULES, Network, PathPattern, Policy,
    RequestFacts, Requests, Rule, TargetPattern,
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
        let (identity, source, target, method, path) = (part(), part(), part(), part(), part());
        let (Ok(identity), Ok(source), Ok(target)) =
            (Identity::parse(identity), source.parse::<IpAddr>(), asked(target))
        else {
            continue;
        };
        let request = RequestFacts { method, path };
        for (verdict, requests) in [
            (policy.decide(&identity, source, &target), Requests::Unseen),
            (policy.decide_request(&identity, source, &target, request), Requests::One(request)),
            (policy.decide_session(&identity, source, &target), Requests::Any),
        ] {
            let (action, name) = plainly(&rules, (&identity, source, &target), requests);
            assert_eq!((verdict.action, &*verdict.rule), (action, name), "{question:?} {rules:#?}");
        }
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
    let methods: Vec<_> = list(4).filter_map(|word| Method::parse(word).ok()).collect();
    let paths: Vec<_> = list(5).filter_map(|word| PathPattern::parse(word).ok()).collect();
    for pattern in &paths {
        assert_eq!(PathPattern::parse(&pattern.to_string()).as_ref(), Ok(pattern));
    }
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
        methods,
        paths,
    }
}

fn network(word: &str) -> Option<Network> {
    let mut parts = word.split('!').filter_map(|cidr| cidr.parse().ok());
    Some(Network { cidr: parts.next()?, except: parts.collect() })
}

/// The first rule that matches, by name.
fn plainly<'r>(
    rules: &'r [Rule],
    (who, from, to): (&Identity, IpAddr, &Target),
    requests: Requests<'_>,
) -> (Action, &'r str) {
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
        who && from && to && is_about(rule, requests)
    });
    found.map_or((Action::Deny, NO_MATCH), |rule| (rule.action, &*rule.name))
}

fn is_about(rule: &Rule, requests: Requests<'_>) -> bool {
    let allows = rule.action == Action::Allow;
    match requests {
        Requests::Any => allows || !rule.names_requests(),
        Requests::Unseen => !allows || !rule.names_requests(),
        Requests::One(RequestFacts { method, path }) => {
            let path = path.split('?').next().unwrap_or_default();
            let is_like = |pattern: &PathPattern| is_like(&pattern.to_string(), path, allows);
            let has_method =
                rule.methods.is_empty() || rule.methods.iter().any(|m| m.to_string() == method);
            let has_path = rule.paths.is_empty()
                || if is_clear(path) { rule.paths.iter().any(is_like) } else { !allows };
            has_method && has_path
        }
    }
}

/// The bytes that a path is, each with whether it was encoded; nothing for a wrong encoding.
fn letters(path: &str) -> Option<Vec<(u8, bool)>> {
    let (mut letters, mut at, bytes) = (Vec::new(), 0, path.as_bytes());
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = path.get(at + 1..at + 3)?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            letters.push((u8::from_str_radix(digits, 16).ok()?, true));
            at += 3;
        } else {
            letters.push((bytes[at], false));
            at += 1;
        }
    }
    Some(letters)
}

/// True when services agree about the path, but for what `is_like` knows.
fn is_clear(path: &str) -> bool {
    let Some(letters) = letters(path) else { return false };
    let decoded: Vec<u8> = letters.iter().map(|(byte, _)| *byte).collect();
    let is_wrong = |(byte, encoded): &(u8, bool)| {
        byte.is_ascii_control()
            || *byte == b'\\'
            || if *encoded { *byte == b'/' } else { b" #".contains(byte) || !byte.is_ascii() }
    };
    let is_twice = |three: &[u8]| {
        three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit()
    };
    let segments: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').skip(1).collect();
    let is_gap = |(n, segment): (usize, &&[u8])| {
        let cut = segment.iter().position(|byte| b";?#".contains(byte)).unwrap_or(segment.len());
        let is_end = n + 1 == segments.len() && segment.is_empty();
        matches!(&segment[..cut], b"" | b"." | b"..") && !is_end
    };
    path.starts_with('/')
        && !letters.iter().any(is_wrong)
        && !decoded.windows(3).any(is_twice)
        && !segments.iter().enumerate().any(is_gap)
        && std::str::from_utf8(&decoded).is_ok()
}

/// Whether a clear path is one of a pattern's, as a rule that allows, or one that denies, sees both.
fn is_like(pattern: &str, path: &str, allows: bool) -> bool {
    let seen = |path: &str| -> Vec<Vec<(u8, bool)>> {
        let letters = letters(path).expect("encoded well");
        let segments = letters.split(|(byte, _)| *byte == b'/').skip(1);
        let mut segments: Vec<Vec<_>> = segments.map(<[_]>::to_vec).collect();
        let is_end = |(byte, _): &(u8, bool)| b"?#".contains(byte);
        let is_cut = |(byte, _): &(u8, bool)| b";?#".contains(byte);
        if !allows {
            if let Some(last) = segments.iter().position(|segment| segment.iter().any(is_end)) {
                segments.truncate(last + 1);
            }
            for segment in &mut segments {
                segment.truncate(segment.iter().position(is_cut).unwrap_or(segment.len()));
            }
            if segments.last().is_some_and(Vec::is_empty) {
                segments.pop();
            }
        }
        for (byte, encoded) in segments.iter_mut().flatten() {
            *encoded &= allows && !(byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
        }
        segments
    };
    match pattern.strip_suffix("/*") {
        _ if pattern == "*" => true,
        Some(head) => seen(path).starts_with(&seen(head)),
        None => seen(pattern) == seen(path),
    }
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
