//! The compiled form against the plain definition, and the patterns one by one.

use proptest::prelude::*;

use super::*;

mod requests;

fn identity(text: &str) -> Identity {
    Identity::parse(text).expect("an identity")
}

fn target(text: &str) -> Target {
    Target::parse(text).expect("a target")
}

fn rule(
    name: &str,
    action: Action,
    identities: &[&str],
    networks: &[&str],
    targets: &[&str],
) -> Rule {
    let network = |text: &&str| {
        let mut parts = text.split('!').map(|cidr| cidr.parse().expect("a network"));
        Network { cidr: parts.next().expect("one"), except: parts.collect() }
    };
    Rule {
        name: name.into(),
        action,
        identities: identities.iter().map(|i| IdentityPattern::parse(i).expect(i)).collect(),
        networks: networks.iter().map(network).collect(),
        targets: targets.iter().map(|t| TargetPattern::parse(t).expect(t)).collect(),
        methods: Vec::new(),
        paths: Vec::new(),
    }
}

/// The rule, about these requests only.
fn about(rule: Rule, methods: &[&str], paths: &[&str]) -> Rule {
    Rule {
        methods: methods.iter().map(|m| Method::parse(m).expect(m)).collect(),
        paths: paths.iter().map(|p| PathPattern::parse(p).expect(p)).collect(),
        ..rule
    }
}

/// Rule after rule, as the definition says.
fn plainly(
    rules: &[Rule],
    (who, from, to): (&Identity, IpAddr, &Target),
    requests: Requests<'_>,
) -> (Action, String) {
    if rules.is_empty() {
        return (Action::Allow, NO_RULES.to_owned());
    }
    match rules.iter().find(|rule| rule.matches(who, from, to, requests).all()) {
        Some(rule) => (rule.action, rule.name.to_string()),
        None => (Action::Deny, NO_MATCH.to_owned()),
    }
}

#[test]
fn identity_patterns_match_at_their_boundaries() {
    for (pattern, yes, no) in [
        ("*", vec!["a.b", "spiffe://td/x"], vec![]),
        ("*.b.c", vec!["a.b.c", "x.a.b.c"], vec!["b.c", "ab.c", "xb.c", "spiffe://b.c/a"]),
        ("A.b", vec!["a.b"], vec!["x.a.b", "a.bc"]),
        ("spiffe://td/*", vec!["spiffe://td/a", "spiffe://td/a/b"], vec!["spiffe://td2/a", "td.a"]),
        ("spiffe://td/ns/*", vec!["spiffe://td/ns/a"], vec!["spiffe://td/ns", "spiffe://td/nsx/a"]),
        ("spiffe://td/a", vec!["spiffe://td/a"], vec!["spiffe://td/a/b"]),
    ] {
        let parsed = IdentityPattern::parse(pattern).expect(pattern);
        yes.iter().for_each(|name| assert!(parsed.matches(&identity(name)), "{pattern} {name}"));
        no.iter().for_each(|name| assert!(!parsed.matches(&identity(name)), "{pattern} {name}"));
        assert_eq!(IdentityPattern::parse(&parsed.to_string()), Ok(parsed));
    }
    for pattern in [
        "",
        "**",
        "a.*.b",
        "*a.b",
        "*.",
        "*.*",
        "spiffe://*",
        "spiffe:///*",
        "a/*",
        "spiffe://td//*",
    ] {
        assert!(IdentityPattern::parse(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn target_patterns_match_label_by_label() {
    for (pattern, yes, no) in [
        ("*", vec!["a:1", "a.b:2"], vec![]),
        ("*:80", vec!["a:80", "a.b:80"], vec!["a:81"]),
        ("*.ns.svc:*", vec!["web.ns.svc:1", "pod.web.ns.svc:2"], vec!["ns.svc:1", "web.xns.svc:1"]),
        (
            "web.*.svc:80",
            vec!["web.ns.svc:80"],
            vec!["web.ns.x.svc:80", "web.svc:80", "api.ns.svc:80"],
        ),
        ("*.web.*.svc:80", vec!["p.web.ns.svc:80"], vec!["web.ns.svc:80"]),
        ("Web.ns.:*", vec!["web.ns:1"], vec!["web.nsx:1"]),
    ] {
        let parsed = TargetPattern::parse(pattern).expect(pattern);
        yes.iter().for_each(|name| assert!(parsed.matches(&target(name)), "{pattern} {name}"));
        no.iter().for_each(|name| assert!(!parsed.matches(&target(name)), "{pattern} {name}"));
        assert_eq!(TargetPattern::parse(&parsed.to_string()), Ok(parsed));
    }
    let local = Target::Local(super::super::service::Port::new(80).expect("not 0"));
    assert!(TargetPattern::parse("localhost:80").expect("valid").matches(&local));
    assert!(!TargetPattern::parse("web.ns:80").expect("valid").matches(&local));
    for pattern in ["", "web", "web:0", "web:x", "w*b:80", "a..b:1", "10.0.0.1:80", ":80", "**:80"]
    {
        assert!(TargetPattern::parse(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn the_first_match_decides_and_nothing_matched_is_denied() {
    let rules = vec![
        rule("not these", Action::Deny, &["evil.ns"], &[], &[]),
        rule("office", Action::Allow, &["*.ns"], &["10.0.0.0/8!10.1.0.0/16"], &["web.svc:80"]),
        rule("all of v6", Action::Allow, &[], &["::/0"], &["web.svc:80"]),
    ];
    let policy = Policy::new(rules);
    let decide = |who, from: &str, to| {
        let verdict = policy.decide(&identity(who), from.parse().expect("an address"), &target(to));
        (verdict.action, verdict.rule.to_string())
    };
    assert_eq!(decide("evil.ns", "10.0.0.1", "web.svc:80"), (Action::Deny, "not these".to_owned()));
    assert_eq!(decide("good.ns", "10.0.0.1", "web.svc:80"), (Action::Allow, "office".to_owned()));
    assert_eq!(
        decide("good.ns", "::ffff:10.0.0.1", "web.svc:80"),
        (Action::Allow, "office".to_owned())
    );
    let denied = (Action::Deny, NO_MATCH.to_owned());
    assert_eq!(decide("good.ns", "10.1.0.1", "web.svc:80"), denied);
    assert_eq!(decide("good.ns", "10.0.0.1", "web.svc:81"), denied);
    assert_eq!(decide("good.other", "::1", "web.svc:80"), (Action::Allow, "all of v6".to_owned()));
    let open = Policy::default().decide(&identity("a.b"), [10, 0, 0, 1].into(), &target("x:1"));
    assert_eq!((open.action, &*open.rule), (Action::Allow, NO_RULES));
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let identities = prop::sample::subsequence(
        vec![
            "*",
            "*.ns",
            "a.ns",
            "b.ns",
            "*.a.ns",
            "spiffe://td/*",
            "spiffe://td/ns/*",
            "spiffe://td/ns/a",
        ],
        0..3,
    );
    let networks = prop::sample::subsequence(
        vec!["0.0.0.0/0", "10.0.0.0/8!10.1.0.0/16", "10.1.0.0/16", "::/0", "fd00::/8!fd00::1/128"],
        0..3,
    );
    let targets = prop::sample::subsequence(
        vec!["*", "*:80", "web.svc:*", "web.*:80", "*.svc:80", "web.svc:80", "*.*.svc:1"],
        0..3,
    );
    let methods = prop::sample::subsequence(vec!["GET", "POST", "get"], 0..2);
    let paths =
        prop::sample::subsequence(vec!["*", "/", "/api/*", "/api", "/a/b/*", "/a%40"], 0..3);
    // As in life, most rules are about connections only.
    let requests = prop_oneof![
        3 => Just((Vec::new(), Vec::new())),
        1 => (methods, paths),
    ];
    let one = (identities, networks, targets, requests, any::<bool>());
    prop::collection::vec(one, 0..200).prop_map(|all| {
        let numbered = all.iter().enumerate();
        numbered
            .map(|(n, (i, w, t, (methods, paths), allow))| {
                let action = if *allow { Action::Allow } else { Action::Deny };
                about(rule(&format!("rule {n}"), action, i, w, t), methods, paths)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn compiled_rules_decide_as_written(
        rules in rules(),
        who in prop::sample::select(vec!["a.ns", "b.ns", "x.a.ns", "ns", "spiffe://td/ns/a", "spiffe://td/x", "spiffe://t/x"]),
        from in prop::sample::select(vec!["10.0.0.1", "10.1.0.1", "192.0.2.1", "fd00::1", "fd00::2", "::ffff:10.1.2.3"]),
        to in prop::sample::select(vec!["web.svc:80", "web.svc:81", "api.svc:80", "x.y.svc:1", "web.ns:80", "web:80"]),
        method in prop::sample::select(vec!["GET", "POST", "get", "PATCH"]),
        path in prop::sample::select(vec![
            "/", "/api", "/api/", "/api?x", "/%61pi/x", "/api;v/x", "/apix", "/a/b/c", "/a/../api",
            "/a%40", "/a@", "*", "",
        ]),
    ) {
        let (who, to) = (identity(who), target(to));
        let from: IpAddr = from.parse().expect("an address");
        let request = RequestFacts { method, path };
        let policy = Policy::new(rules.clone());
        prop_assert_eq!(policy.sees_requests(), rules.iter().any(Rule::names_requests));
        let verdicts = [
            (policy.decide(&who, from, &to), Requests::Unseen),
            (policy.decide_request(&who, from, &to, request), Requests::One(request)),
            (policy.decide_session(&who, from, &to), Requests::Any),
        ];
        for (verdict, requests) in &verdicts {
            let expected = plainly(&rules, (&who, from, &to), *requests);
            prop_assert_eq!((verdict.action, verdict.rule.to_string()), expected);
        }
        // What is allowed unseen is allowed as any request, and then a session is.
        let allowed = verdicts.map(|(verdict, _)| verdict.action == Action::Allow);
        prop_assert!(allowed.is_sorted(), "{:?}", allowed);
    }
}

/// Prints what a decision costs; run it in release mode for a figure that means something.
#[test]
fn ten_thousand_rules_cost_little_more_than_ten() {
    let mixed = |count: usize| {
        let rules = (0..count).map(|n| {
            let exact = format!("sa{n}.ns.serviceaccount.identity.linkerd.cluster.local");
            let below = format!("*.ns{n}.serviceaccount.identity.linkerd.cluster.local");
            let (network, target) = (format!("10.{}.0.0/16", n % 256), format!("svc{n}.*.svc:*"));
            let action = if n % 2 == 0 { Action::Allow } else { Action::Deny };
            rule(&format!("rule {n}"), action, &[&exact, &below], &[&network], &[&target, "*.x:80"])
        });
        Policy::new(rules.collect())
    };
    let who = identity("web.ns7.serviceaccount.identity.linkerd.cluster.local");
    let (from, to) = (IpAddr::from([10, 7, 0, 1]), target("svc7.a.svc:80"));
    let cost = |policy: &Policy| {
        let start = std::time::Instant::now();
        for _ in 0..2_000 {
            std::hint::black_box(policy.decide(&who, from, std::hint::black_box(&to)));
        }
        start.elapsed() / 2_000
    };
    let (few, many) = (mixed(10), mixed(10_000));
    assert_eq!(&*many.decide(&who, from, &to).rule, "rule 7");
    let seen =
        Policy::new(few.rules().iter().cloned().map(|r| about(r, &["GET"], &["/a"])).collect());
    let request = RequestFacts { method: "GET", path: "/a" };
    assert_eq!(&*seen.decide_request(&who, from, &to, request).rule, "rule 7");
    let (few, many) = (cost(&few), cost(&many));
    println!("a decision: {few:?} with 10 rules, {many:?} with 10,000");
    // A linear search would be a thousand times slower.
    assert!(many < few * 30, "{few:?} {many:?}");
}
