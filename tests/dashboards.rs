//! What `config/prometheus/rules.yaml` and `config/grafana/dashboard.json` name is really exposed:
//! every metric, every label, and every value of the labels whose values are known.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "dashboards/promql.rs"]
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use linkerd_gateway::model::mirror::probe::{Failure, Probed};
use linkerd_gateway::model::outcome::Outcome;
use linkerd_gateway::observe::metrics::Metrics;
use serde_json::Value;
use support::backend;
use support::certs::TestCa;
use support::client::{Client, half_close, header_for, read_all, refusal};
use support::gateway::Builder;
use support::probe::ECHO;

/// Labels that Prometheus adds, and its own metric.
const OF_TARGETS: [&str; 4] = ["instance", "job", "namespace", "pod"];
const UP: &str = "up";

/// Label names and values by metric.
type Exposed = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(shipped(name)).expect(name)
}

/// What a gateway exposes once it has served and refused something.
fn exposed() -> Exposed {
    let ca = TestCa::new("ca");
    let rule = "[[policy.rule]]\nname = \"all\"\naction = \"allow\"\ntargets = [\"echo.*.svc.cluster.local:7\"]";
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let other = "other.test.svc.cluster.local:7";
    let gateway = builder.route(other, &[backend::echo()]).configure(rule).start();
    let client = Client::new(&ca);
    let mut stream = client.open(gateway.address, ECHO);
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
    refusal(&client, gateway.address, &header_for(other, None));
    gateway.line("a denial", |line| line["outcome"] == "denied");
    gateway.line("a clean end", |line| line["outcome"] == "closed");
    assert_eq!(gateway.request("GET", "/ready").0, 200);
    let mut exposed = Exposed::new();
    let all = gateway.get("/metrics") + &of_a_link();
    for line in all.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let known = exposed.entry(name.to_owned()).or_default();
        let selector = promql::names(&format!("x{{{labels}"));
        for (label, _, value) in &selector.metrics[0].1 {
            known.entry(label.clone()).or_default().insert(value.clone());
        }
    }
    exposed
}

/// What a mirror exposes besides: its series exist only while there is a Link, for which this needs
/// no API server.
fn of_a_link() -> String {
    let metrics = Metrics::new();
    let address = std::net::IpAddr::from([192, 0, 2, 1]);
    metrics.gateway_enabled("east", true);
    metrics.gateway_alive("east", true);
    metrics.gateway_address_alive("east", address, true);
    metrics.gateway_probed("east", address, Probed::Alive(Duration::from_millis(1)));
    metrics.gateway_probed("east", address, Probed::Failed(Failure::Refused));
    metrics.mirror_services("east", 1);
    metrics.mirror_conflicts("east", 0);
    metrics.mirror_write("east", "create", "Service", "ok");
    metrics.mirror_watch_failing("east", "services", false);
    metrics.mirror_memory("east", 1, false);
    metrics.mirror_leader(true);
    metrics.encode()
}

/// What `expression` names and `exposed` lacks.
fn missing(expression: &str, exposed: &Exposed) -> Vec<String> {
    let names = promql::names(expression);
    let mut missing = Vec::new();
    let mut usable: BTreeSet<&str> = OF_TARGETS.into_iter().collect();
    for (metric, matchers) in &names.metrics {
        let labels = exposed.get(metric);
        if labels.is_none() && metric != UP {
            missing.push(format!("metric {metric}"));
        }
        let labels = labels.into_iter().flatten().map(|(label, _)| label.as_str());
        let labels: BTreeSet<&str> = labels.chain(OF_TARGETS).collect();
        for (label, operator, value) in matchers {
            if !labels.contains(label.as_str()) {
                missing.push(format!("label {label} of {metric}"));
            }
            missing.extend(unknown_values(label, operator, value));
        }
        usable.extend(labels);
    }
    let groupings = names.groupings.iter().filter(|label| !usable.contains(label.as_str()));
    missing.extend(groupings.map(|label| format!("label {label}")));
    missing
}

/// Alternatives of a matcher on `outcome`, `result` and the like that no series will ever have.
fn unknown_values(label: &str, operator: &str, value: &str) -> Vec<String> {
    let known: Vec<&str> = match label {
        "classification" => vec!["success", "failure"],
        "outcome" => Outcome::ALL.iter().map(|outcome| outcome.label()).collect(),
        "result" => vec!["ok", "error"],
        "role" => vec!["anchor", "intermediate", "leaf", "route"],
        _ => return Vec::new(),
    };
    let alternatives = if operator.contains('~') { value } else { &value.replace('|', "\0") };
    let unknown = |alternative: &&str| match *alternative {
        prefix if prefix.ends_with(".*") => {
            !known.iter().any(|known| known.starts_with(prefix.trim_end_matches(".*")))
        }
        suffix if suffix.starts_with(".+") => {
            !known.iter().any(|known| known.ends_with(suffix.trim_start_matches(".+")))
        }
        exact => !known.contains(&exact),
    };
    let unknown = alternatives.split('|').filter(unknown);
    unknown.map(|value| format!("value {value} of {label}")).collect()
}

/// The expressions of the rules file: `expr:` with the text behind it or, after `>-`, in the deeper
/// lines that follow.
fn rule_expressions(text: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(expression) = line.trim_start().strip_prefix("expr: ") else { continue };
        let folded = lines[index + 1..].iter().take_while(|next| indent(next) > indent(line));
        match expression {
            ">-" => found.push(folded.copied().collect::<Vec<_>>().join(" ")),
            _ => found.push(expression.to_owned()),
        }
    }
    found
}

/// Every query of a dashboard, panels and variables.
fn dashboard_expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "definition" => found.push(text.into()),
                    _ => dashboard_expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|v| dashboard_expressions(v, found)),
        _ => {}
    }
}

#[test]
fn alerts_and_panels_name_only_what_the_gateway_exposes() {
    let exposed = exposed();
    let rules = text("prometheus/rules.yaml");
    let dashboard = text("grafana/dashboard.json");
    let mut expressions = rule_expressions(&rules);
    assert_eq!(expressions.len(), rules.matches("- alert: ").count());
    let before = expressions.len();
    dashboard_expressions(&serde_json::from_str(&dashboard).expect("JSON"), &mut expressions);
    assert!(expressions.len() > before + 30, "the dashboard's queries were found");
    let wrong: Vec<_> = expressions
        .iter()
        .map(|expression| (expression, missing(expression, &exposed)))
        .filter(|(_, missing)| !missing.is_empty())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    // The check itself sees what is wrong.
    for (expression, expected) in [
        ("rate(gateway_acepted_total[5m])", "metric gateway_acepted_total"),
        ("gateway_accepted", "metric gateway_accepted"),
        (
            "gateway_connections_total{outcom=\"closed\"}",
            "label outcom of gateway_connections_total",
        ),
        ("gateway_connections_total{outcome=\"close\"}", "value close of outcome"),
        ("gateway_connections_total{outcome=~\"closed|denyed\"}", "value denyed of outcome"),
        ("response_total{classification=\"failed\"}", "value failed of classification"),
        ("sum by (clientid) (tcp_open_connections)", "label clientid"),
        (
            "gateway_handshake_duration_seconds{x=\"1\"}",
            "metric gateway_handshake_duration_seconds",
        ),
    ] {
        assert!(missing(expression, &exposed).contains(&expected.to_owned()), "{expression}");
    }
}

#[test]
fn every_alert_says_what_happened_and_what_to_do() {
    let rules = text("prometheus/rules.yaml");
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap_or_default();
        for part in ["        expr: ", "          severity: ", "          summary: \""] {
            assert!(alert.contains(part), "{name} lacks {}", part.trim());
        }
        let description = alert.split("          description: \"").nth(1).unwrap_or_default();
        assert!(description.len() > 80, "{name} does not say what to do");
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard: Value = serde_json::from_str(&text("grafana/dashboard.json")).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "namespace", "instance"]);
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "one id twice: {panel}");
        let place = (panel["gridPos"]["y"].as_u64(), panel["gridPos"]["x"].as_u64());
        assert!(places.insert(place), "two panels at {place:?}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
            let query = target["expr"].as_str().unwrap_or_default();
            let selects = ["namespace=~\"$namespace\"", "instance=~\"$instance\""];
            assert!(selects.iter().all(|part| query.contains(part)), "{query}");
        }
    }
}

#[test]
fn the_rules_are_what_their_lines_look_like() {
    let text = text("prometheus/rules.yaml");
    let rules: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let parsed = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    let names: BTreeSet<_> = parsed.map(|rule| rule["alert"].as_str().expect("a name")).collect();
    assert_eq!(names.len(), text.matches("- alert: ").count(), "one name twice, or a rule lost");
}

#[test]
fn prometheus_itself_takes_the_rules() {
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let mut check = Command::new(promtool);
    check.args(["check", "rules"]).arg(shipped("prometheus/rules.yaml"));
    match check.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => {
            let why = format!("promtool (Debian's package prometheus) cannot be run: {error}");
            assert!(std::env::var_os("REQUIRE_ALL").is_none(), "skipped: {why}");
            println!("skipped: {why}");
        }
    }
}
