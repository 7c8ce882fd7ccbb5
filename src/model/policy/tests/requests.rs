//! Rules about methods and paths: what they match, and that no spelling of a path gets around them.

use super::*;

/// What the pattern of a rule says of a path, for an allow and for a deny rule.
fn matches(pattern: &str, path: &str) -> (bool, bool) {
    let of = |action| {
        let rule = about(rule("r", action, &[], &[], &[]), &[], &[pattern]);
        let request = Requests::One(RequestFacts { method: "GET", path });
        rule.matches(&identity("a.b"), [10, 0, 0, 1].into(), &target("x:1"), request).path
    };
    (of(Action::Allow), of(Action::Deny))
}

#[test]
fn path_patterns_match_at_segment_boundaries() {
    for (pattern, both, neither) in [
        ("/healthz", "/healthz /healthz?x /%68ealthz", "/healthzz /healthz/x"),
        ("/api/*", "/api /api/ /api/x /api/x/y/ /%61pi/x", "/apix / /x/api"),
        ("/api/v1/*", "/api/v1 /api/v1/x", "/api /api/ /api/v10 /api/v2/v1"),
        ("/", "/ /?x", "/x"),
        ("/api/", "/api/", "/apix /api/x"),
        ("*", "/ /x /x/y;z", ""),
        ("/*", "/ /x", ""),
        ("/%61/*", "/a /a/b", "/b"),
        ("/Api", "/Api", "/api"),
        ("/a%20b", "/a%20b", "/a /b"),
    ] {
        let parsed = PathPattern::parse(pattern).expect(pattern);
        assert_eq!(PathPattern::parse(&parsed.to_string()), Ok(parsed));
        for path in both.split_whitespace() {
            assert_eq!(matches(pattern, path), (true, true), "{pattern} {path}");
        }
        for path in neither.split_whitespace() {
            assert_eq!(matches(pattern, path), (false, false), "{pattern} {path}");
        }
    }
    let no_patterns = "|api|api/*|*/x|/a*|/a/*/b|/a/**|//*|/a//*|/a/../*|/a?x|/a#x|/a;x|/a%3bx|\
                       /a%2f|/a b|/é|/%zz|/.|http://a/*";
    for pattern in no_patterns.split('|') {
        assert_eq!(PathPattern::parse(pattern), Err(RequestError::Path), "{pattern}");
    }
}

#[test]
fn a_path_that_services_may_read_differently_is_never_allowed_and_always_denied() {
    let paths = "|*|/a/../api|/a/..|//api|/api//x|/api%2fx|/api%5cx|/%zz|/api%00|/..;/api";
    for path in paths.split('|') {
        for pattern in ["*", "/api/*", "/api", "/other"] {
            assert_eq!(matches(pattern, path), (false, true), "{pattern} {path}");
        }
    }
    // The same for some services: the same for deny rules only.
    for (pattern, path) in [
        ("/api", "/api/"),
        ("/api", "/api;v=1"),
        ("/api/*", "/api;v/x"),
        ("/@a/*", "/%40a/b"),
        ("/a@", "/a%40"),
    ] {
        assert_eq!(matches(pattern, path), (false, true), "{pattern} {path}");
    }
}

#[test]
fn methods_are_tokens_and_compared_as_they_are() {
    for method in ["", "*", "GET ", "GE T", "GET,HEAD", "GÉT", "G\nET", "(GET)"] {
        assert_eq!(Method::parse(method), Err(RequestError::Method), "{method}");
    }
    let reading = rule("reading", Action::Allow, &[], &[], &[]);
    let policy = Policy::new(vec![about(reading, &["GET", "M-SEARCH"], &[])]);
    let (who, to) = (identity("a.b"), target("x:1"));
    let decide = |method| {
        let request = RequestFacts { method, path: "/a//b" };
        policy.decide_request(&who, [10, 0, 0, 1].into(), &to, request).action
    };
    assert_eq!(["GET", "M-SEARCH"].map(decide), [Action::Allow; 2]);
    assert_eq!(["get", "HEAD", ""].map(decide), [Action::Deny; 3]);
}

#[test]
fn rules_about_requests_fail_closed_where_requests_are_not_seen() {
    let (who, from) = (identity("a.b"), IpAddr::from([10, 0, 0, 1]));
    let policy = Policy::new(vec![
        about(rule("no admin", Action::Deny, &[], &[], &["web:80"]), &[], &["/admin/*"]),
        about(rule("reading", Action::Allow, &[], &[], &["api:80"]), &["GET"], &[]),
        rule("web", Action::Allow, &[], &[], &["web:80"]),
    ]);
    assert!(policy.sees_requests() && !Policy::default().sees_requests());
    let (web, reading, admin) = (("allow", "web"), ("allow", "reading"), ("deny", "no admin"));
    let nothing = ("deny", NO_MATCH);
    for (to, unseen, session, get_admin, get_root) in [
        ("web:80", admin, web, admin, web),
        ("api:80", nothing, reading, reading, reading),
        ("x:80", nothing, nothing, nothing, nothing),
    ] {
        let to = target(to);
        let get =
            |path| policy.decide_request(&who, from, &to, RequestFacts { method: "GET", path });
        let verdicts = [
            policy.decide(&who, from, &to),
            policy.decide_session(&who, from, &to),
            get("/admin/x"),
            get("/"),
        ];
        let said = verdicts.map(|verdict| (verdict.action.label(), verdict.rule.to_string()));
        let expected = [unseen, session, get_admin, get_root];
        assert_eq!(said, expected.map(|(action, rule)| (action, rule.to_owned())), "{to}");
    }
}

/// One of the things that services do to a path before they look at it.
fn read(path: &str, step: u8) -> String {
    match step {
        0 => decoded(path),
        // Merges slashes.
        1 => {
            let mut path = path.to_owned();
            while path.contains("//") {
                path = path.replace("//", "/");
            }
            path
        }
        // Takes a backslash for a slash.
        2 => path.replace('\\', "/"),
        // Cuts parameters off segments.
        3 => {
            let bare = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
            bare.collect::<Vec<_>>().join("/")
        }
        // Ends at what ends a path in a URL, or a string in C.
        4 => path.split(['?', '#', '\0']).next().unwrap_or_default().to_owned(),
        // Drops a slash at the end.
        5 => path.strip_suffix('/').unwrap_or(path).to_owned(),
        // Resolves dot segments.
        _ => {
            let mut out: Vec<&str> = Vec::new();
            for segment in path.split('/') {
                match segment {
                    "." => {}
                    ".." if out.len() > 1 => drop(out.pop()),
                    ".." => {}
                    other => out.push(other),
                }
            }
            out.join("/")
        }
    }
}

/// Decodes whatever can be decoded.
fn decoded(path: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), path.as_bytes());
    while let [first, tail @ ..] = rest {
        let digits = match tail {
            [a, b, ..] if *first == b'%' => std::str::from_utf8(&[*a, *b]).map(str::to_owned).ok(),
            _ => None,
        };
        let digits = digits.filter(|digits| !digits.starts_with('+'));
        let byte = digits.and_then(|digits| u8::from_str_radix(&digits, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_way_of_reading_a_path_gets_around_a_rule(
        head in prop::sample::select(vec!["/pub", "/adm", "/p%75b", "/%61dm", "/pub/x", "%2fadm", ""]),
        rest in prop::collection::vec(prop::sample::select(vec![
            "/", "/", "/", "x", "adm", "%61dm", "pub", ".", "%2e", "..", ";", "%3b", "%3F", "%23", "%25",
            "%2f", "%5c", "%00", "\\", "2e", "61", "%", "/..", "/../adm", "/..;/adm", "/..%3b/adm",
            "/%252e%252e/adm", "..%5cadm", "/%2e%2E/", "//",
        ]), 0..6),
        steps in prop::collection::vec(prop_oneof![2 => Just(0_u8), 2 => Just(6), 3 => 1..6_u8], 0..7),
    ) {
        let path = head.to_owned() + &rest.concat();
        // By RFC 3986 encoded letters and dots are the same everywhere.
        let same = path.replace("%61", "a").replace("%75", "u").replace("%2e", ".").replace("%2E", ".");
        let read = steps.iter().fold(same, |path, step| read(&path, *step));
        let is_below = |head: &str| {
            read.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // Whom "/pub/*" lets through is below it, however the service reads the path.
        prop_assert!(!matches("/pub/*", &path).0 || is_below("/pub"), "{} is read as {}", path, read);
        // Who gets below /adm, by whatever spelling, is found by a deny rule.
        prop_assert!(!is_below("/adm") || matches("/adm/*", &path).1, "{} is read as {}", path, read);
        // What an allow rule is about, the same deny rule is about.
        let (allow, deny) = matches("/pub/x", &path);
        prop_assert!(deny || !allow, "{}", path);
    }
}
