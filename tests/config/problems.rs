//! How problems are reported: all together, each with its key, its origin and a way out.

use linkerd_gateway::config::load::{Sources, load};

use crate::support::{Directory, IDENTITY, problems, text, variables};

#[test]
fn all_problems_are_reported_together_with_their_origins() {
    let directory = Directory::new(
        "[identity]\ncertificate = 5\nkey = \"k\"\n\n[limits]\nhandshake_timeout = \"soon\"\n\n\
         [[route]]\ntarget = \"web\"\nendpoints = [\n  \"127.0.0.1:1\",\n  \"nowhere\",\n]\n",
    );
    directory.write("config.d/a.toml", "\n[[route]]\ntarget = \"a.x:1\"\n");
    let mut sources = directory.sources();
    sources.environment = variables(&[("LINKERD_GATEWAY_RUNTIME__WORKERS", "many")]);
    sources.flags = vec![("log.level".to_owned(), "inof".to_owned(), "--log")];
    let text = directory.problems(&sources);
    let lines: Vec<_> = text.lines().collect();
    let expected = [
        "8 problems in the configuration (gateway.toml, config.d/a.toml)",
        "gateway.toml:1: identity.trust_anchors: is not set, expected a list of PEM files",
        "gateway.toml:2: identity.certificate: found the number 5, expected the path of a PEM file",
        "gateway.toml:6: limits.handshake_timeout: found \"soon\", expected a duration like \"5s\"",
        "gateway.toml:9: route[0].target: found \"web\", expected a name and port like",
        "gateway.toml:12: route[0].endpoints[1]: found \"nowhere\", expected an address and port",
        "config.d/a.toml:2: route[1].endpoints: is not set, expected a list of endpoints",
        "LINKERD_GATEWAY_RUNTIME__WORKERS: runtime.workers: found \"many\", expected a whole number",
        "--log: log.level: found \"inof\", expected a filter",
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
}

#[test]
fn unknown_keys_are_refused_at_every_depth_with_a_suggestion() {
    let route = "[[route]]\ntarget = \"a.x:1\"\n";
    for (file, expected) in [
        ("lsten = 1", "lsten: is not a known key: expected one of runtime, gateway"),
        ("[gatway]\nlisten = []", "gatway: is not a known key: did you mean \"gateway\"?"),
        ("[[routes]]", "routes: is not a known key: did you mean \"route\"?"),
        ("[gateway]\nlisen = []", "gateway.lisen: is not a known key: did you mean \"listen\"?"),
        ("[[policy.rules]]", "policy.rules: is not a known key: did you mean \"rule\"?"),
        (
            "[gateway]\nlocal-ports = []",
            "gateway.local-ports: is not a known key: did you mean \"local_ports\"?",
        ),
        (
            "gateway.Enabled = true",
            "gateway.Enabled: is not a known key: did you mean \"enabled\"?",
        ),
        ("[gateway]\nhandshake_timeout = \"1s\"", "did you mean \"limits.handshake_timeout\"?"),
        (
            &format!("{route}targets = 1"),
            "route[0].targets: is not a known key: did you mean \"target\"?",
        ),
        (
            &format!("{route}tls = {{ identiy = 1 }}"),
            "route[0].tls.identiy: is not a known key: did you mean \"identity\"?",
        ),
        (
            &format!("{route}endpoints = [{{ adress = 1 }}]"),
            "route[0].endpoints[0].adress: is not a known key: did you mean \"address\"?",
        ),
        (
            &format!("{route}endpoints = [{{ tls.prt = 1 }}]"),
            "route[0].endpoints[0].tls.prt: is not a known key: did you mean \"port\"?",
        ),
        (
            "[[identity.trust]]\nanchor = []",
            "identity.trust[0].anchor: is not a known key: did you mean \"anchors\"?",
        ),
        ("[mirror]\nenable = true", "mirror.enable: is not a known key: did you mean \"enabled\"?"),
        ("\"a\\nb\" = 1", "\"a\\nb\": is not a known key"),
    ] {
        let text = problems(file);
        assert!(text.contains(expected), "{file}\n{text}\n{expected}");
    }
}

#[test]
fn unknown_variables_are_refused_with_a_suggestion() {
    for (name, expected) in [
        ("RUNTIME__WORKER", "did you mean LINKERD_GATEWAY_RUNTIME__WORKERS?"),
        ("runtime__workers", "did you mean LINKERD_GATEWAY_RUNTIME__WORKERS?"),
        ("RUNTIME_WORKERS", "did you mean LINKERD_GATEWAY_RUNTIME__WORKERS?"),
        ("LOG__COLOUR__OF__THE__SKY", "expected a key in capitals"),
        ("GATEWAY", "is a section: set its keys one by one"),
        ("ROUTE__0__TARGET", "is within a list: set the whole list as TOML"),
        ("ROUTE", "route: expected a list of tables as TOML"),
        ("POLICY__RULE", "policy.rule: expected a list of tables as TOML"),
        ("", "is not a known variable"),
        ("__", "is not a known variable"),
    ] {
        let name = format!("LINKERD_GATEWAY_{name}");
        let environment = variables(&[(&name, "x")]);
        let directory = Directory::new(IDENTITY);
        let text = directory.problems(&Sources { environment, ..directory.sources() });
        assert!(text.starts_with("1 problem "), "{text}");
        assert!(text.contains(&format!("\n{name}: ")) && text.contains(expected), "{text}");
    }
}

#[test]
fn a_list_that_is_broken_toml_is_no_list_of_words() {
    let directory = Directory::new(IDENTITY);
    let environment = variables(&[("LINKERD_GATEWAY_IDENTITY__TRUST_ANCHORS", "[\"a\", \"b\"")]);
    let text = directory.problems(&Sources { environment, ..directory.sources() });
    let expected = "identity.trust_anchors: found \"[\\\"a\\\", \\\"b\\\"\", expected a list";
    assert!(text.starts_with("1 problem ") && text.contains(expected), "{text}");
}

#[test]
fn a_later_layer_does_not_hide_an_earlier_ones_unknown_key() {
    let directory = Directory::new(format!("{IDENTITY}gateway = 5\nadmn = 1"));
    let mut sources = directory.sources();
    sources.environment = variables(&[("LINKERD_GATEWAY_GATEWAY__ENABLED", "false")]);
    let text = directory.problems(&sources);
    // Behind [identity] both keys belong to it.
    assert!(text.contains("identity.gateway: is not a known key"), "{text}");
    assert!(text.contains("identity.admn: is not a known key"), "{text}");
    directory.write("gateway.toml", "gateway = 5");
    let text = directory.problems(&sources);
    assert!(
        text.contains("gateway.toml:1: gateway: found the number 5, expected a table"),
        "{text}"
    );
}

#[test]
fn entries_are_counted_over_all_files() {
    let route = |name: &str| format!("[[route]]\ntarget = \"{name}:1\"\ndns = \"{name}:1\"\n");
    let directory = Directory::new(format!("{IDENTITY}{}{}", route("a.x"), route("b.x")));
    directory.write("config.d/a.toml", format!("{}x = 1\ndefault = 2\n", route("c.x")));
    let text = directory.problems(&directory.sources());
    assert!(text.contains("config.d/a.toml:4: route[2].x: is not a known key"), "{text}");
    assert!(text.contains("config.d/a.toml:5: route[2].default: found the number 2"), "{text}");
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_line() {
    let missing = Sources { file: Some("/nowhere/gateway.toml".into()), ..Sources::default() };
    let text = load(&missing).expect_err("missing").to_string();
    assert_eq!(text.lines().count(), 2, "no problems of missing keys: {text}");
    assert!(text.contains("\n/nowhere/gateway.toml: cannot be read: No such file"), "{text}");
    for (bytes, expected) in [
        (&b"a = 1\nb = \n"[..], "gateway.toml:2: is not TOML: "),
        (
            b"[gateway]\nenabled = true\nenabled = true",
            "gateway.toml:3: is not TOML: duplicate key",
        ),
        (b"[a]\n[a]", "gateway.toml:2: is not TOML: "),
        (b"a = \"\n\n", "gateway.toml:1: is not TOML: "),
        (b"a = 1\nb = \"\xff\"", "gateway.toml:2: is not UTF-8 text"),
    ] {
        let directory = Directory::new(bytes);
        let text = directory.problems(&directory.sources());
        assert!(text.lines().count() == 2 && text.contains(expected), "{text}");
    }
}

#[test]
fn a_broken_file_does_not_hide_the_others_problems() {
    let directory = Directory::new("[identity\n");
    directory.write("config.d/a.toml", "[gateway]\nlisten = 1\n");
    directory.write("config.d/b.toml", "[gateway]\nx =\n");
    let text = directory.problems(&directory.sources());
    assert!(text.starts_with("3 problems"), "{text}");
    assert!(text.contains("gateway.toml:1: is not TOML"), "{text}");
    assert!(text.contains("config.d/a.toml:2: gateway.listen: found the number 1"), "{text}");
    assert!(text.contains("config.d/b.toml:2: is not TOML"), "{text}");
}

#[test]
fn a_byte_order_mark_is_no_error() {
    let directory = Directory::new(format!("\u{feff}{IDENTITY}"));
    load(&directory.sources()).expect("correct");
}

#[test]
fn a_value_cannot_forge_lines_of_the_report() {
    let long = "x".repeat(10_000);
    let file = format!("{IDENTITY}name = \"a\\nb\\u001b[31m\"\nsource = \"{long}\"");
    let text = problems(&file);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains('\u{1b}') && text.len() < 1000, "{text}");
}

#[test]
fn one_problem_is_counted_as_one() {
    let directory = Directory::new(format!("{IDENTITY}[runtime]\nworkers = 0"));
    let problems = load(&directory.sources()).expect_err("a problem");
    assert_eq!(problems.problems.len(), 1);
    assert_eq!(
        text(&problems, directory.path()),
        "1 problem in the configuration (gateway.toml)\ngateway.toml:6: runtime.workers: \
         found the number 0, expected a whole number from 1 to 1024"
    );
}
