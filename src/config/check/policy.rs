//! `[[policy.rule]]`: who may reach what. A rule that cannot be read refuses the whole
//! configuration, because one that were ignored would not protect anything.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::values::{self, one_of};
use crate::config::raw::{Cursor, Value};
use crate::model::policy::{
    Action, IdentityPattern, Method, Network, PathPattern, Rule, TargetPattern,
};

const IDENTITY: &str = "an identity, \"*\", \"*.ns.serviceaccount.identity.linkerd.cluster.local\" \
     or \"spiffe://domain/path/*\"";
const NETWORK: &str = "a network like \"10.0.0.0/8\" or { cidr = \"10.0.0.0/8\", except = [...] }";
const TARGET: &str =
    "name:port, where the port and any label may be *, like \"*.ns.svc.cluster.local:80\"";
const METHOD: &str = "a method like \"GET\"; for any method leave the key out";
const PATH: &str = "\"*\", a path like \"/healthz\" or everything below one like \"/api/*\", without \
     query, parameters, empty or dot segments";

/// Methods of RFC 9110, PATCH, WebDAV's and PURGE. Others are taken as they are; these in other
/// letters would match no request that any client sends.
const METHODS: [&str; 19] = [
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LOCK",
    "MKCOL",
    "MOVE",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNLOCK",
];

/// Reads all rules, in order.
pub fn rules(root: &Cursor<'_>) -> Option<Vec<Rule>> {
    let Some(at) = root.child("policy").and_then(|policy| policy.child("rule")) else {
        return Some(Vec::new());
    };
    let mut names = HashMap::new();
    let entries = at.entries("tables like [[policy.rule]]")?;
    let rules: Vec<_> = entries.iter().map(|at| rule(at, &mut names)).collect();
    rules.into_iter().collect()
}

fn rule<'t>(at: &Cursor<'t>, names: &mut HashMap<Arc<str>, Cursor<'t>>) -> Option<Rule> {
    at.table()?;
    let name = at.required("name", "a name for logs and explanations", |at| name(at, names));
    let action = at.required("action", "\"allow\" or \"deny\"", |at| {
        one_of(at, &[("allow", Action::Allow), ("deny", Action::Deny)])
    });
    let identities = at
        .optional("identities", |at| some(at, IDENTITY, |text| IdentityPattern::parse(text).ok()));
    let targets =
        at.optional("targets", |at| some(at, TARGET, |text| TargetPattern::parse(text).ok()));
    let networks = at.optional("networks", |at| {
        let networks = at.list("a list of networks", network)?;
        not_empty(at, networks)
    });
    let methods = at.optional("methods", |at| {
        let methods = at.list(&format!("a list of strings, each {METHOD}"), method)?;
        not_empty(at, methods)
    });
    let paths = at.optional("paths", |at| some(at, PATH, |text| PathPattern::parse(text).ok()));
    Some(Rule {
        name: name?,
        action: action?,
        identities: identities?.unwrap_or_default(),
        networks: networks?.unwrap_or_default(),
        targets: targets?.unwrap_or_default(),
        methods: methods?.unwrap_or_default(),
        paths: paths?.unwrap_or_default(),
    })
}

fn name<'t>(at: &Cursor<'t>, names: &mut HashMap<Arc<str>, Cursor<'t>>) -> Option<Arc<str>> {
    let plain = |text: &str| {
        let fine =
            !text.is_empty() && text.len() <= 128 && !text.contains(|c: char| c.is_control());
        (fine && !text.starts_with("default:")).then(|| Arc::from(text))
    };
    let expected = "1 to 128 characters, not starting with \"default:\"";
    let name: Arc<str> = at.parsed(expected, plain)?;
    if let Some(first) = names.insert(Arc::clone(&name), at.clone()) {
        return at.refuse(format!(
            "found {}, which {} has already ({})",
            at.value(),
            first.path(),
            first.origin()
        ));
    }
    Some(name)
}

/// A list that is written and empty would match everything, the opposite of what it says.
fn not_empty<T>(at: &Cursor<'_>, list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() {
        return at.refuse("is empty, so the rule would match nothing: name at least one, or leave the key out for any");
    }
    Some(list)
}

fn some<T>(at: &Cursor<'_>, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let list =
        at.list(&format!("a list of strings, each {expected}"), |at| at.parsed(expected, &parse))?;
    not_empty(at, list)
}

fn method(at: &Cursor<'_>) -> Option<Method> {
    let method = at.parsed(METHOD, |text| Method::parse(text).ok())?;
    let upper = method.as_str().to_ascii_uppercase();
    if upper != method.as_str() && METHODS.contains(&upper.as_str()) {
        return at.refuse(format!(
            "found {}, and methods are case-sensitive: did you mean \"{upper}\"?",
            at.value()
        ));
    }
    Some(method)
}

fn network(at: &Cursor<'_>) -> Option<Network> {
    let Value::Table(_) = at.value() else {
        return Some(Network { cidr: cidr(at)?, except: Vec::new() });
    };
    let network = at.required("cidr", NETWORK, cidr);
    let except = at.optional("except", |at| at.list("a list of networks", cidr));
    let (network, except) = (network?, except?.unwrap_or_default());
    if let Some(outside) = except.iter().find(|except| !network.contains(*except)) {
        return at.refuse(format!("excepts {outside}, which is not within {network}"));
    }
    Some(Network { cidr: network, except })
}

fn cidr(at: &Cursor<'_>) -> Option<IpNet> {
    values::network(at, NETWORK)
}
