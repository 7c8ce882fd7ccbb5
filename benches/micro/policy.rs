//! A decision of the policy: once per connection, and for every live one after a change; in HTTP
//! sessions once per request.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::Criterion;
use linkerd_gateway::model::identity::Identity;
use linkerd_gateway::model::policy::{
    Action, IdentityPattern, Method, Network, PathPattern, Policy, RequestFacts, Rule,
    TargetPattern,
};
use linkerd_gateway::model::service::Target;

/// With no, ten and 10,000 rules; 10,000 must cost little more than ten.
pub fn decision(criterion: &mut Criterion) {
    let who = Identity::parse("web.ns7.serviceaccount.identity.linkerd.cluster.local");
    let who = who.expect("an identity");
    let (from, to) = (IpAddr::from([10, 7, 0, 1]), Target::parse("svc7.a.svc:80"));
    let to = to.expect("a target");
    for count in [0, 10, 10_000] {
        let policy = Policy::new((0..count).map(rule).collect());
        criterion.bench_function(&format!("policy/{count} rules"), |bencher| {
            bencher.iter(|| policy.decide(black_box(&who), from, black_box(&to)));
        });
    }
    let request = RequestFacts { method: "GET", path: "/api/users/7?all" };
    let about = |number| Rule {
        methods: vec![Method::parse("GET").expect("a method")],
        paths: vec![PathPattern::parse("/api/*").expect("a pattern")],
        ..rule(number)
    };
    let connections = Policy::new((0..10).map(rule).collect());
    let requests = Policy::new((0..10).map(about).collect());
    for (name, policy) in [("connections", connections), ("requests", requests)] {
        let name = format!("policy/a request, 10 rules about {name}");
        criterion.bench_function(&name, |bencher| {
            bencher.iter(|| {
                policy.decide_request(black_box(&who), from, black_box(&to), black_box(request))
            });
        });
    }
}

/// Identities exact and below a name, a network, targets with a wildcard: a bit of everything.
fn rule(number: u32) -> Rule {
    let identity = |text: &str| IdentityPattern::parse(text).expect("a pattern");
    let target = |text: &str| TargetPattern::parse(text).expect("a pattern");
    let cidr = format!("10.{}.0.0/16", number % 256).parse().expect("a network");
    Rule {
        name: format!("rule {number}").into(),
        action: if number.is_multiple_of(2) { Action::Allow } else { Action::Deny },
        identities: vec![
            identity(&format!("sa{number}.ns.serviceaccount.identity.linkerd.cluster.local")),
            identity(&format!("*.ns{number}.serviceaccount.identity.linkerd.cluster.local")),
        ],
        networks: vec![Network { cidr, except: Vec::new() }],
        targets: vec![target(&format!("svc{number}.*.svc:*")), target("*.x:80")],
        methods: Vec::new(),
        paths: Vec::new(),
    }
}
