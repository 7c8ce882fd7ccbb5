//! What each key takes and refuses.

use std::time::Duration;

use linkerd_gateway::config::{EndpointObjects, EndpointSource, LogFormat, Reachable};
use linkerd_gateway::model::access::LoggedRequests;
use linkerd_gateway::model::outcome::Outcome;
use linkerd_gateway::model::route::SessionMode;

use crate::support::{IDENTITY, problems, settings};

/// Loads `IDENTITY` and `more`; its problems must contain `expected`, and nothing else if `alone`.
fn refuses(more: &str, expected: &str) {
    let text = problems(&format!("{IDENTITY}{more}"));
    assert!(text.contains(expected), "{more}\n{text}\n{expected}");
    assert!(text.starts_with("1 problem "), "{more}\n{text}");
}

fn route(more: &str) -> String {
    format!("[[route]]\ntarget = \"a.x:1\"\n{more}")
}

#[test]
fn a_route_has_all_its_parts() {
    let settings = settings(&format!(
        "{IDENTITY}{}",
        route(
            "sni = [\"WEB.Example.com\", \"b.example.com.\"]\ncertificate = \"rc\"\nkey = \"rk\"\n\
             default = true\nsession = \"passthrough\"\ntls = { identity = \"web.ns\" }\n\
             endpoints = [\"10.0.0.1:80\", { address = \"[::1]:81\", weight = 0, \
             tls = { identity = \"spiffe://td/a\", port = 1 } }]"
        )
    ));
    let route = &settings.routes[0];
    assert_eq!(route.target.to_string(), "a.x:1");
    assert_eq!(route.sni, ["web.example.com", "b.example.com"]);
    assert_eq!(route.certificate.as_ref().map(|c| c.key.to_str()), Some(Some("rk")));
    assert!(route.default && route.session == SessionMode::Passthrough);
    let tls = route.tls.as_ref().expect("tls");
    assert_eq!((tls.identity.as_str(), tls.port.get()), ("web.ns", 4143));
    let EndpointSource::Static(endpoints) = &route.endpoints else { panic!("static") };
    assert_eq!((endpoints[0].weight, &endpoints[0].tls), (1, &None));
    assert_eq!(endpoints[1].weight, 0);
    let tls = endpoints[1].tls.as_ref().expect("tls");
    assert_eq!((tls.identity.as_str(), tls.port.get()), ("spiffe://td/a", 1));
}

#[test]
fn a_route_can_follow_a_dns_name() {
    let settings = settings(&format!("{IDENTITY}{}", route("dns = \"Web.Example.com:80\"")));
    let EndpointSource::Dns { name, port } = &settings.routes[0].endpoints else { panic!("dns") };
    assert_eq!((&**name, port.get()), ("web.example.com", 80));
}

#[test]
fn wrong_routes_are_refused() {
    let ok = "endpoints = [\"127.0.0.1:1\"]\n";
    for (more, expected) in [
        ("", "route[0].endpoints: is not set, expected a list of endpoints"),
        ("endpoints = []", "route[0].endpoints: is empty"),
        ("endpoints = \"127.0.0.1:1\"", "found \"127.0.0.1:1\", expected a list of endpoints"),
        ("endpoints = [5]", "route[0].endpoints[0]: found the number 5, expected \"ip:port\" or {"),
        ("endpoints = [\"web:1\"]", "found \"web:1\", expected an address and port"),
        ("endpoints = [\"127.0.0.1:0\"]", "expected an address with a port from 1 to 65535"),
        ("endpoints = [\"127.0.0.1:70000\"]", "expected an address and port"),
        ("endpoints = [\"224.0.0.1:1\"]", "but it is a multicast address"),
        ("endpoints = [\"0.0.0.0:1\"]", "but it is the unspecified address"),
        ("endpoints = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", "a second time"),
        ("endpoints = [{ weight = 1 }]", "route[0].endpoints[0].address: is not set"),
        ("endpoints = [{ address = \"127.0.0.1:1\", weight = -1 }]", "weight: found the number -1"),
        ("endpoints = [{ address = \"127.0.0.1:1\", weight = 4294967296 }]", "weight: found"),
        ("endpoints = [{ address = \"127.0.0.1:1\", tls = {} }]", "tls.identity: is not set"),
        ("endpoints = [{ address = \"127.0.0.1:1\", tls = 1 }]", "tls: found the number 1"),
        ("dns = \"10.0.0.1:80\"", "route[0].dns: found \"10.0.0.1:80\", expected a DNS name"),
        ("dns = \"web\"", "route[0].dns: found \"web\", expected a DNS name and port"),
        (&format!("{ok}dns = \"web:1\""), "route[0].dns: is set beside endpoints"),
        (&format!("{ok}sni = \"a.b\""), "sni: found \"a.b\", expected a list of server names"),
        (&format!("{ok}sni = [\"*.a.b\"]"), "sni[0]: found \"*.a.b\", expected a DNS name"),
        (&format!("{ok}sni = [\"10.0.0.1\"]"), "sni[0]: found \"10.0.0.1\", expected a DNS name"),
        (
            &format!("{ok}sni = [\"a.b\", \"A.B\"]"),
            "sni[1]: found \"A.B\", which route[0].sni[0] has",
        ),
        (&format!("{ok}sni = [\"a.b\"]\nkey = \"k\""), "route[0].certificate: is not set"),
        (&format!("{ok}sni = [\"a.b\"]\ncertificate = \"k\""), "route[0].key: is not set"),
        (&format!("{ok}certificate = \"c\"\nkey = \"k\""), "the route has no sni"),
        (&format!("{ok}session = \"tcp\""), "expected \"auto\" or \"http\" or \"passthrough\""),
        (&format!("{ok}default = \"true\""), "found \"true\", expected true or false"),
        (&format!("{ok}tls = {{ port = 1 }}"), "route[0].tls.identity: is not set"),
        (&format!("{ok}tls = {{ identity = \"*.a\" }}"), "expected an identity like"),
        (&format!("{ok}tls = {{ identity = \"a.b\", port = 0 }}"), "tls.port: found the number 0"),
        (&format!("{ok}[[route]]\n{ok}"), "route[1].target: is not set"),
        (&format!("{ok}[[route]]\ntarget = \"A.X.:1\"\n{ok}"), "which route[0].target has already"),
        (&format!("{ok}[[route]]\ntarget = \"*.x:1\"\n{ok}"), "the name is not a DNS name"),
        (&format!("{ok}[[route]]\ntarget = \"b.x:0\"\n{ok}"), "the port is not a number from 1"),
        (
            &format!("{ok}[[route]]\ntarget = \"localhost:1\"\n{ok}"),
            "the form of gateway.local_ports",
        ),
    ] {
        refuses(&route(more), expected);
    }
    refuses("[route]\ntarget = \"a.b:1\"", "route: found a table, expected tables like [[route]]");
    refuses(
        "[gateway]\nenabled = 1",
        "gateway.enabled: found the number 1, expected true or false",
    );
}

#[test]
fn server_names_and_the_default_belong_to_one_route() {
    let route = |name: &str| {
        format!(
            "[[route]]\ntarget = \"{name}.x:1\"\ndns = \"a:1\"\nsni = [\"w.x\"]\ndefault = true\n"
        )
    };
    let text = problems(&format!("{IDENTITY}{}{}", route("a"), route("b")));
    assert!(text.starts_with("2 problems"), "{text}");
    for line in [
        "gateway.toml:13: route[1].sni[0]: found \"w.x\", which route[0].sni[0] has already \
         (gateway.toml:8)",
        "gateway.toml:14: route[1].default: found true, which route[0].default has already \
         (gateway.toml:9)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn no_route_ends_at_our_own_listeners() {
    for address in [
        "127.0.0.1:4143",
        "127.8.7.6:4143",
        "[::1]:4143",
        "[::]:4143",
        "0.0.0.0:4143",
        "[::ffff:127.0.0.1]:4143",
        "127.0.0.1:4191",
        "[::1]:4191",
    ] {
        let text =
            problems(&format!("{IDENTITY}{}", route(&format!("endpoints = [\"{address}\"]"))));
        // The unspecified address is refused for itself before it is compared.
        let unspecified = text.contains("it is the unspecified address");
        assert!(text.contains("which is our own listener") || unspecified, "{address}\n{text}");
    }
    let onward = "tls = { identity = \"a.b\", port = 4143 }\nendpoints = [\"127.0.0.1:80\"]";
    refuses(&route(onward), "connects to 127.0.0.1:4143, which is our own listener [::]:4143");
    let own = "endpoints = [{ address = \"127.0.0.1:80\", tls = { identity = \"a.b\" } }]";
    refuses(&route(own), "route[0].endpoints[0]: connects to 127.0.0.1:4143");
    // The port that the header carries is not the one that is dialled.
    let elsewhere = "tls = { identity = \"a.b\", port = 5 }\nendpoints = [\"127.0.0.1:4143\"]";
    settings(&format!("{IDENTITY}{}", route(elsewhere)));
    settings(&format!("{IDENTITY}{}", route("endpoints = [\"10.0.0.1:4143\"]")));
}

#[test]
fn a_listener_on_one_address_covers_only_that() {
    let listen = "[admin]\nlisten = \"127.0.0.1:2\"\n[gateway]\nlisten = [\"127.0.0.1:1\"]\n";
    for (address, own) in [
        ("127.0.0.1:1", true),
        ("[::ffff:127.0.0.1]:2", true),
        ("127.0.0.2:1", false),
        ("[::1]:2", false),
    ] {
        let file = format!("{IDENTITY}{listen}{}", route(&format!("endpoints = [\"{address}\"]")));
        if own {
            assert!(problems(&file).contains("which is our own listener"), "{address}");
        } else {
            settings(&file);
        }
    }
    let disabled =
        format!("[gateway]\nenabled = false\n{}", route("endpoints = [\"127.0.0.1:4143\"]"));
    settings(&format!("{IDENTITY}{disabled}"));
}

#[test]
fn a_listener_may_demand_the_proxy_protocol() {
    let more = "[gateway]\nlisten = [\"[::]:1\", { address = \"[::]:2\", \
                proxy_protocol = [\"10.0.0.0/8\", \"2001:db8::/32\"] }, { address = \"[::]:3\" }]\n\
                [admin]\nproxy_protocol = [\"10.0.0.0/8\"]\n";
    let gateway = settings(&format!("{IDENTITY}{more}")).gateway;
    let networks: Vec<_> = gateway.listen.iter().map(|l| l.proxy_protocol.len()).collect();
    assert_eq!(networks, [0, 2, 0]);
    for (more, expected) in [
        ("listen = [{ proxy_protocol = [] }]", "gateway.listen[0].address: is not set"),
        ("listen = [{ address = \"x\" }]", "listen[0].address: found \"x\", expected an address"),
        (
            "listen = [{ address = \"[::]:1\", proxy_protocl = [] }]",
            "did you mean \"proxy_protocol\"?",
        ),
        ("listen = [{ address = \"[::]:1\", proxy_protocol = [\"10.0.0.1/8\"] }]", "host bits"),
        ("listen = [{ address = \"[::]:1\", proxy_protocol = true }]", "expected a list of net"),
        (
            "[admin]\nproxy_protocol = [\"::ffff:192.0.2.0/120\"]",
            "admin.proxy_protocol[0]: found \"::ffff:192.0.2.0/120\", which no client is in",
        ),
        ("[admin]\nproxy_protocol = [\"10\"]", "admin.proxy_protocol[0]: found \"10\", expected"),
        ("[admin]\nmetrics_listen = [{ address = \"[::]:1\" }]", "found a table, expected an add"),
    ] {
        refuses(&format!("[gateway]\n{more}"), expected);
    }
    for (value, expected) in [("\"v1\"", "\"off\" or \"v2\""), ("true", "\"off\" or \"v2\"")] {
        let more = format!("endpoints = [\"10.0.0.1:1\"]\nproxy_protocol = {value}");
        refuses(&route(&more), expected);
    }
}

#[test]
fn listeners_and_local_ports_do_not_collide() {
    for (more, expected) in [
        ("[gateway]\nlisten = []", "gateway.listen: is empty, expected at least one address"),
        (
            "[gateway]\nlisten = [\"[::]:1\", \"[::]:1\"]",
            "gateway.listen[1]: found [::]:1, which overlaps",
        ),
        ("[gateway]\nlisten = [\"[::]:1\", \"0.0.0.0:1\"]", "gateway.listen[1]: found 0.0.0.0:1"),
        ("[gateway]\nlisten = [\"[::]:4191\"]", "admin.listen: found [::]:4191, which overlaps"),
        (
            "[gateway]\nlisten = [\":4143\"]",
            "gateway.listen[0]: found \":4143\", expected an address",
        ),
        ("[gateway]\nlisten = \"[::]:4143\"", "expected a list of addresses"),
        ("[gateway]\nlocal_ports = [80, 4143]", "local_ports[1]: found 4143, the port of our own"),
        ("[gateway]\nlocal_ports = [4191]", "the port of our own listener admin.listen"),
        ("[gateway]\nlocal_ports = [0]", "local_ports[0]: found the number 0, expected a whole"),
        (
            "[gateway]\nlocal_address = \"localhost\"",
            "local_address: found \"localhost\", expected an IP",
        ),
    ] {
        refuses(more, expected);
    }
    settings(&format!("{IDENTITY}[gateway]\nenabled = false\nlisten = []"));
    settings(&format!("{IDENTITY}[gateway]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]"));
}

#[test]
fn durations_are_texts_within_bounds() {
    for (key, value, expected) in [
        ("handshake_timeout", "5", "found the number 5, expected a duration like \"5s\""),
        ("handshake_timeout", "\"5\"", "found \"5\", expected a duration"),
        ("handshake_timeout", "\"0s\"", "found \"0s\", expected a duration"),
        ("handshake_timeout", "\"-1s\"", "found \"-1s\", expected a duration"),
        (
            "handshake_timeout",
            "\"2days\"",
            "found \"2days\", expected a duration like \"5s\", from 1ms to 1day",
        ),
        ("handshake_timeout", "\"99999999999999999999years\"", "expected a duration"),
        ("keepalive", "\"500ms\"", "expected a duration like \"5s\", from 1s to 9h 6m 7s"),
        ("connect_total_timeout", "\"10ms\"", "expected a duration of at least connect_timeout"),
        ("tcp_user_timeout", "\"\"", "expected a duration"),
    ] {
        refuses(&format!("[limits]\n{key} = {value}"), expected);
    }
    refuses(
        "[dns]\nmin_ttl = \"10m\"",
        "dns.max_ttl: found \"5m\", expected a duration of at least min_ttl",
    );
    refuses(
        "[dns]\nservers = [\"1.1.1.1\"]",
        "dns.servers[0]: found \"1.1.1.1\", expected an address",
    );
    refuses("[dns]\nservers = [\"127.0.0.1:0\"]", "expected an address with a port from 1");
    let settings = settings(&format!("{IDENTITY}[limits]\nhandshake_timeout = \"1m 500ms\""));
    assert_eq!(settings.limits.handshake_timeout.as_millis(), 60_500);
}

#[test]
fn log_filters_are_checked_by_their_parser() {
    for (level, expected) in [
        ("", "found \"\", expected a filter"),
        ("a=b=c", "found \"a=b=c\", expected a filter"),
        ("linkerd_gateway=loud", "expected a filter"),
        ("inof", "did you mean \"info\"?"),
        ("warn,debgu", "did you mean \"debug\"?"),
    ] {
        refuses(&format!("[log]\nlevel = \"{level}\""), expected);
    }
    refuses("[log]\nformat = \"xml\"", "log.format: found \"xml\", expected \"text\" or \"json\"");
    let more = "[log]\nlevel = \"WARN,linkerd_gateway::proxy=trace,hyper=off\"\nformat = \"json\"";
    let log = settings(&format!("{IDENTITY}{more}")).log;
    assert_eq!(log.level, "WARN,linkerd_gateway::proxy=trace,hyper=off");
    assert_eq!(log.format, LogFormat::Json);
}

#[test]
fn an_identity_needs_its_files() {
    let text = problems("");
    assert!(text.starts_with("3 problems"), "{text}");
    for key in ["certificate", "key", "trust_anchors"] {
        assert!(text.contains(&format!("\nidentity.{key}: is not set, expected ")), "{text}");
    }
    let files = "[identity]\ncertificate = \"c\"\nkey = \"k\"\n";
    let trust = "[[identity.trust]]\nanchors = [\"a\"]\ntrust_domains = [\"west.example\"]\n";
    for (more, expected) in [
        ("trust_anchors = []", "identity.trust_anchors: is empty, expected"),
        ("trust_anchors = \"a\"", "found \"a\", expected a list of PEM files"),
        ("trust_anchors = [\"\"]", "trust_anchors[0]: found \"\", expected the path of a PEM file"),
        (
            "trust_anchors = [\"a\"]\nname = \"*.a\"",
            "identity.name: found \"*.a\", expected an identity",
        ),
        (
            "trust_anchors = [\"a\"]\nsource = \"spire\"",
            "found \"spire\", which is not in this version",
        ),
        ("trust_anchors = [\"a\"]\nsource = \"file\"", "found \"file\", expected \"files\""),
        ("trust_anchors = [\"a\"]\npoll_interval = \"0s\"", "poll_interval: found \"0s\""),
        ("[[identity.trust]]\ntrust_domains = [\"a\"]", "identity.trust[0].anchors: is not set"),
        ("[[identity.trust]]\nanchors = [\"a\"]", "identity.trust[0].trust_domains: is not set"),
        ("[[identity.trust]]\nanchors = []\ntrust_domains = [\"a\"]", "anchors: is empty"),
        (
            "[[identity.trust]]\nanchors = [\"a\"]\ntrust_domains = [\"A b\"]",
            "trust_domains[0]: found",
        ),
    ] {
        let text = problems(&format!("{files}{more}"));
        assert!(text.contains(expected) && text.starts_with("1 problem "), "{more}\n{text}");
    }
    let identity = settings(&format!("{files}name = \"spiffe://td/a\"\n{trust}{trust}")).identity;
    assert!(identity.trust_anchors.is_empty() && identity.trust.len() == 2);
    assert_eq!(identity.name.map(|n| n.to_string()), Some("spiffe://td/a".to_owned()));
}

#[test]
fn what_this_version_lacks_is_refused_not_ignored() {
    settings(&format!("{IDENTITY}[egress]\nenabled = false"));
    let expected = "egress.enabled: found true, but this version has no egress module";
    refuses("[egress]\nenabled = true", expected);
    refuses("[egress]\nenabled = 0", "found the number 0, expected true or false");
}

#[test]
fn kubernetes_and_mirror_are_checked_with_the_rest() {
    let settings = settings(&format!(
        "{IDENTITY}[kubernetes]\nenabled = true\ncluster_domain = \"East.Example.\"\n\
         export_selectors = [\"a=b,c in (d,e)\", \"f\"]\nreachable = \"suffix\"\nzone = \"\"\n\
         [mirror]\nenabled = true\nendpoints = \"slices\"\nfederated_selector = \"\"\n"
    ));
    let kubernetes = settings.kubernetes;
    assert_eq!(
        (&*kubernetes.cluster_domain, &*kubernetes.trust_domain),
        ("east.example", "east.example")
    );
    let selectors: Vec<_> = kubernetes.export_selectors.iter().map(ToString::to_string).collect();
    assert_eq!(selectors, ["a=b,c in (d,e)", "f"]);
    assert_eq!(kubernetes.reachable, Reachable::Suffix(vec!["svc.east.example".into()]));
    assert_eq!(kubernetes.zone, None);
    assert_eq!(settings.mirror.endpoints, EndpointObjects::Slices);
    assert!(settings.mirror.federated_selector.is_empty());

    for (text, expected) in [
        ("[kubernetes]\nexport_selectors = [\"a b\"]", "export_selectors"),
        ("[kubernetes]\nreachable = \"all\"", "\"exported\" or \"suffix\""),
        ("[kubernetes]\ncluster_domain = \"*.x\"", "a DNS domain"),
        ("[mirror]\nnamespace = \"A.b\"", "the name of a namespace"),
        ("[mirror]\nmax_writes_in_flight = 0", "from 1 to 256"),
        ("[mirror]\nmax_link_memory = \"1KiB\"", "from 1MiB to 64GiB"),
        ("[mirror]\nlease_duration = \"1s\"", "from 2s to 10m"),
    ] {
        refuses(text, expected);
    }
}

#[test]
fn policy_rules_are_read_in_order_and_none_is_ignored() {
    let rules = "[[policy.rule]]\nname = \"a\"\naction = \"deny\"\nidentities = [\"*.x\"]\n\
         networks = [\"10.0.0.0/8\", { cidr = \"fd00::/8\", except = [\"fd00::/16\"] }]\n\
         targets = [\"*.svc:*\"]\n[[policy.rule]]\nname = \"b\"\naction = \"allow\"\n";
    let policy = settings(&format!("{IDENTITY}{rules}")).policy;
    let names: Vec<_> = policy.iter().map(|rule| (&*rule.name, rule.action.label())).collect();
    assert_eq!(names, [("a", "deny"), ("b", "allow")]);
    assert_eq!(policy[0].networks[1].except.len(), 1);
    assert!(settings(&format!("{IDENTITY}[policy]")).policy.is_empty());
    let rule = "[[policy.rule]]\nname = \"a\"\naction = \"allow\"\n";
    refuses(
        &format!("{rule}{rule}"),
        "policy.rule[1].name: found \"a\", which policy.rule[0].name has",
    );
    for (more, expected) in [
        ("identities = []", "policy.rule[0].identities: is empty, so the rule would match nothing"),
        (
            "identities = [\"a.*.b\"]",
            "policy.rule[0].identities[0]: found \"a.*.b\", expected an identity",
        ),
        (
            "networks = [\"10.0.0.1/8\"]",
            "policy.rule[0].networks[0]: found \"10.0.0.1/8\", expected a network",
        ),
        ("networks = [\"10.0.0.1\"]", "policy.rule[0].networks[0]"),
        ("networks = [\"::ffff:10.0.0.0/104\"]", "write \"10.0.0.0/8\""),
        ("networks = [{ cidr = \"::ffff:0:0/96\" }]", "write \"0.0.0.0/0\""),
        (
            "networks = [{ cidr = \"10.0.0.0/8\", except = [\"11.0.0.0/16\"] }]",
            "which is not within 10.0.0.0/8",
        ),
        ("networks = [{ except = [] }]", "policy.rule[0].networks[0].cidr: is not set"),
        ("targets = [\"web\"]", "policy.rule[0].targets[0]: found \"web\", expected name:port"),
        ("targets = [\"web:0\"]", "policy.rule[0].targets[0]"),
        ("target = [\"web:1\"]", "did you mean \"targets\"?"),
    ] {
        refuses(&format!("{rule}{more}"), expected);
    }
    refuses("[[policy.rule]]\nname = \"default:x\"\naction = \"allow\"", "policy.rule[0].name");
    refuses("[[policy.rule]]\nname = \"x\"\naction = \"permit\"", "policy.rule[0].action");
    refuses("[[policy.rule]]\nname = \"x\"", "policy.rule[0].action: is not set");
}

#[test]
fn policy_rules_may_name_methods_and_paths_of_requests() {
    let rule = "[[policy.rule]]\nname = \"a\"\naction = \"deny\"\n";
    let more = "methods = [\"GET\", \"brew\"]\npaths = [\"*\", \"/healthz\", \"/%61pi/*\"]\n";
    let policy = settings(&format!("{IDENTITY}{rule}{more}")).policy;
    let methods: Vec<_> = policy[0].methods.iter().map(ToString::to_string).collect();
    let paths: Vec<_> = policy[0].paths.iter().map(ToString::to_string).collect();
    assert_eq!(
        (methods.join(" "), paths.join(" ")),
        ("GET brew".into(), "* /healthz /api/*".into())
    );
    for (more, expected) in [
        ("method = [\"GET\"]", "did you mean \"methods\"?"),
        ("path = [\"/\"]", "did you mean \"paths\"?"),
        ("methods = []", "methods: is empty, so the rule would match nothing"),
        ("paths = []", "paths: is empty, so the rule would match nothing"),
        ("methods = \"GET\"", "methods: found \"GET\", expected a list of strings"),
        ("methods = [\"G T\"]", "methods[0]: found \"G T\", expected a method like"),
        ("methods = [\"*\"]", "methods[0]: found \"*\", expected a method like"),
        ("methods = [\"GET\", \"head\"]", "methods[1]: found \"head\", and methods are case-s"),
        ("methods = [\"Purge\"]", "did you mean \"PURGE\"?"),
        ("paths = [\"api\"]", "paths[0]: found \"api\", expected \"*\", a path like"),
        ("paths = [\"/\", \"/api*\"]", "paths[1]: found \"/api*\""),
        ("paths = [\"/a/../b\"]", "paths[0]: found"),
        ("paths = [\"/a?b\"]", "paths[0]: found"),
        ("paths = [\"/a;b\"]", "paths[0]: found"),
        ("paths = [\"/a%2Fb\"]", "paths[0]: found"),
    ] {
        refuses(&format!("{rule}{more}"), expected);
    }
}

#[test]
fn access_log_filters_take_known_outcomes_only() {
    let log = settings(&format!(
        "{IDENTITY}[log]\naccess_outcomes = [\"denied\", \"not_tls\"]\naccess_min_duration = \"2s\"\naccess_sample = 10\naccess_requests = \"all\""
    ))
    .log;
    assert_eq!(log.access_outcomes, Some(vec![Outcome::Denied, Outcome::NotTls]));
    assert_eq!((log.access_min_duration, log.access_sample), (Duration::from_secs(2), 10));
    assert_eq!(log.access_requests, LoggedRequests::All);
    let defaults = settings(IDENTITY).log;
    assert_eq!((defaults.access_outcomes, defaults.access_sample), (None, 1));
    assert_eq!(defaults.access_requests, LoggedRequests::Problems);
    let log = |more: &str| format!("[log]\n{more}");
    refuses(&log("access_outcomes = [\"denyed\"]"), "did you mean \"denied\"?");
    refuses(&log("access_outcomes = [\"zebra\"]"), "one of closed_before_first_byte, ");
    refuses(&log("access_outcomes = []"), "set log.access = false");
    refuses(&log("access_sample = 0"), "from 1 to 1000000");
    refuses(&log("access_requests = \"some\""), "\"all\" or \"problems\" or \"off\"");
    refuses(&log("access_requests = true"), "log.access_requests");
    refuses(&log("access_min_duration = \"often\""), "log.access_min_duration");
}
