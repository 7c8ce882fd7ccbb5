//! Nothing that stands in a file or variable can panic the program or make it slow.

use std::fmt::Write;
use std::time::Duration;

use linkerd_gateway::config::load::{Sources, load};
use linkerd_gateway::config::print::print;
use linkerd_gateway::config::schema::paths;
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};

use crate::support::{Directory, IDENTITY, settings, variables};

/// Processor time of a debug build; release takes about a twentieth.
const PATIENCE: Duration = Duration::from_secs(5);

/// The processor time of this thread: what else the machine does is not in it.
fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("not negative")
}

#[test]
fn ten_thousand_routes_load_quickly() {
    let mut text = String::from(IDENTITY);
    for n in 0..10_000 {
        let (a, b) = (n / 250, n % 250);
        write!(
            text,
            "\n[[route]]\ntarget = \"s{n}.ns.svc.cluster.local:80\"\nsni = [\"s{n}.example.com\"]\n\
             endpoints = [\"10.0.{a}.{b}:80\", {{ address = \"10.1.{a}.{b}:80\", weight = 2 }}]\n"
        )
        .expect("written");
    }
    let directory = Directory::new(&text);
    let start = used();
    let loaded = load(&directory.sources()).expect("correct");
    let time = used() - start;
    println!("10,000 routes: {time:?}");
    assert_eq!(loaded.settings.routes.len(), 10_000);
    assert!(time < PATIENCE, "{time:?}");
}

#[test]
fn ten_thousand_problems_are_reported_quickly() {
    let route = "\n[[route]]\ntarget = \"a.x:1\"\nsni = [\"a.b\"]\ndns = \"x\"\nnosuchkey = 1\n";
    let directory = Directory::new(format!("{IDENTITY}{}", route.repeat(10_000)));
    let start = used();
    let problems = load(&directory.sources()).expect_err("problems");
    let text = problems.to_string();
    let time = used() - start;
    assert!(time < PATIENCE, "{time:?}");
    assert_eq!(text.lines().count(), 1 + 10_000 + 10_000 + 9_999 + 9_999);
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    let deep = 20_000;
    for text in [
        format!("a = {}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("a = {}1{}", "{ a = ".repeat(deep), " }".repeat(deep)),
        format!("{} = 1", vec!["a"; deep].join(".")),
        format!("[{}]", vec!["a"; deep].join(".")),
    ] {
        let directory = Directory::new(&text);
        directory.problems(&directory.sources());
        let toml = text.strip_prefix("a = ").unwrap_or(&text);
        let name = format!("LINKERD_GATEWAY_{}", vec!["A"; deep].join("__"));
        let environment = variables(&[("LINKERD_GATEWAY_ROUTE", toml), (&name, "x")]);
        load(&Sources { environment, ..Sources::default() }).expect_err("problems");
    }
}

/// A line with a known key, or one that is nearly one, and some value.
fn line() -> impl Strategy<Value = String> {
    let names: Vec<String> = paths().into_iter().map(|(path, _)| path.replace("[]", "")).collect();
    let value = prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        "[ -~]{0,12}".prop_map(|text| format!("{text:?}")),
        prop::sample::select(vec![
            "[]",
            "{}",
            "[[]]",
            "[{}]",
            "[1, \"a\", {}]",
            "\"127.0.0.1:4143\"",
            "\"a.b:1\"",
            "1979-05-27",
            "[\"[::]:1\"]",
            "[{ target = 1, endpoints = [1, {}], tls = {} }]",
            "{ enabled = true }",
            "\"5s\"",
        ])
        .prop_map(str::to_owned),
    ];
    let header =
        prop::sample::select(vec!["", "[[route]]\n", "[gateway]\n", "[[identity.trust]]\n"]);
    (header, prop::sample::select(names), value)
        .prop_map(|(header, name, value)| format!("{header}{name} = {value}"))
}

/// A failing case is printed in full, so nothing is written beside the sources.
fn cases() -> ProptestConfig {
    ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let directory = Directory::new(&bytes);
        if let Err(problems) = load(&directory.sources()) {
            prop_assert!(!problems.problems.is_empty());
            prop_assert_eq!(problems.to_string().lines().count(), problems.problems.len() + 1);
        }
    }

    #[test]
    fn arbitrary_keys_and_values_never_panic(
        lines in prop::collection::vec(line(), 0..8),
        more in prop::collection::vec(line(), 0..4),
    ) {
        let directory = Directory::new(lines.join("\n"));
        directory.write("config.d/a.toml", format!("{IDENTITY}\n{}", more.join("\n")));
        match load(&directory.sources()) {
            Ok(loaded) => {
                prop_assert_eq!(settings(&print(&loaded.tree, true)), loaded.settings);
            }
            Err(problems) => {
                prop_assert!(!problems.problems.is_empty());
                prop_assert_eq!(problems.to_string().lines().count(), problems.problems.len() + 1);
            }
        }
    }

    #[test]
    fn arbitrary_variables_never_panic(
        name in "[A-Z_]{0,20}",
        known in prop::sample::select(paths()),
        text in any::<String>(),
    ) {
        let key = known.0.to_uppercase().replace('.', "__");
        let environment = variables(&[
            (&format!("LINKERD_GATEWAY_{name}"), &text),
            (&format!("LINKERD_GATEWAY_{key}"), &text),
        ]);
        let directory = Directory::new(IDENTITY);
        match load(&Sources { environment, ..directory.sources() }) {
            Ok(loaded) => prop_assert_eq!(settings(&print(&loaded.tree, true)), loaded.settings),
            Err(problems) => prop_assert!(!problems.problems.is_empty()),
        }
    }
}
