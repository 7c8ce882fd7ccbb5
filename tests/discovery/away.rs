//! An API server that is away, silent, slow or forgetful takes nothing from anybody.

use std::time::Duration;

use serde_json::Value;

use crate::fixture::{
    FIRST, Open, PORT, SECOND, WEB, builder, cluster, ended, export, exported, leads_to,
    nothing_was_denied, outcomes, pods, reached, reaches, ready, service, start,
};
use crate::support::certs::TestCa;
use crate::support::gateway::Gateway;
use crate::support::kubernetes::{Fault, Matcher, Rules, Times, objects};
use crate::support::namespace::inside;

fn failing(gateway: &Gateway, resource: &str) -> bool {
    let series = format!("gateway_kubernetes_watch_failing{{resource=\"{resource}\"}}");
    gateway.metric(&series) > 0.5
}

#[test]
fn nothing_is_lost_while_the_server_is_away_and_what_changed_meanwhile_is_seen_after() {
    if inside(
        "away::nothing_is_lost_while_the_server_is_away_and_what_changed_meanwhile_is_seen_after",
    ) {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let db = objects::exported("test", "db", &[("", 5432, PORT)]);
        api.create(db.clone());
        api.create(objects::slice(&db, "1", &[SECOND]));
        let gateway = start(&ca, &api);
        let db = "db.test.svc.cluster.local:5432";
        let mut open = [WEB, db].map(|target| Open::to(&ca, &gateway, target).expect("open"));
        api.stop();
        gateway.eventually("the failure", |g| failing(g, "services") && failing(g, "pods"));
        gateway.line("the warning", |line| {
            line["level"] == "WARN"
                && line["resource"] == "services"
                && line["reason"] == "Unreachable"
        });
        assert_eq!(gateway.request("GET", "/ready").0, 200);
        assert!(open.iter_mut().all(Open::is_alive));
        assert_eq!(reached(&ca, &gateway, WEB), FIRST);

        api.delete("Service", "test", "db");
        api.apply(objects::slice(&exported(), "1", &[SECOND]));
        api.serve();
        leads_to(&gateway, WEB, &[&format!("{SECOND}:{PORT}")]);
        ended(&gateway, "no_longer_exported");
        assert!(open[0].is_alive() && !open[1].is_alive());
        gateway.eventually("no failure", |g| !failing(g, "services") && !failing(g, "pods"));
        nothing_was_denied(&api);
    }
}

#[test]
fn a_missed_delete_is_found_by_the_next_complete_list_and_a_broken_one_takes_nothing() {
    if inside(
        "away::a_missed_delete_is_found_by_the_next_complete_list_and_a_broken_one_takes_nothing",
    ) {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let gateway = start(&ca, &api);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        api.unseen(|api| drop(api.delete("Service", "test", "web")));
        api.inject(Matcher::new("list", "services"), Fault::Truncated, Times::Next(2));
        api.compact();
        api.expire_watches();
        let malformed = |g: &Gateway| {
            g.get("/metrics").lines().any(|line| {
                line.starts_with("gateway_kubernetes_watch_errors_total{resource=\"services\"")
            })
        };
        gateway.eventually("a broken list", malformed);
        ended(&gateway, "no_longer_exported");
        assert!(!open.is_alive());
        assert_eq!(reached(&ca, &gateway, WEB), "");
    }
}

#[test]
fn a_watch_that_is_too_old_lists_anew_and_cuts_nothing() {
    if inside("away::a_watch_that_is_too_old_lists_anew_and_cuts_nothing") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let gateway = start(&ca, &api);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        for round in 0..3 {
            api.compact();
            match round {
                0 => api.expire_watches(),
                1 => api.cut_watches(),
                _ => api.disconnect(),
            }
            let pod = if round % 2 == 0 { SECOND } else { FIRST };
            api.apply(objects::slice(&exported(), "1", &[pod]));
            reaches(&ca, &gateway, WEB, pod);
        }
        assert!(open.is_alive());
        assert_eq!(outcomes(&gateway, "no_longer_exported").len(), 0);
    }
}

#[test]
fn silence_is_noticed_and_changes_nothing() {
    if inside("away::silence_is_noticed_and_changes_nothing") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let gateway = start(&ca, &api);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        api.inject(Matcher::new("watch", "services"), Fault::Silent, Times::Always);
        api.cut_watches();
        std::thread::sleep(Duration::from_secs(2));
        api.apply(service());
        // Nobody says so: it is not believed to be gone, nor is anything else.
        std::thread::sleep(Duration::from_secs(2));
        assert!(open.is_alive());
        api.clear_faults();
        // A silent watch is given up after 35 s.
        let begun = std::time::Instant::now();
        while outcomes(&gateway, "no_longer_exported").is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the silence is never noticed");
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(!open.is_alive());
    }
}

#[test]
fn a_server_that_is_not_there_at_start_keeps_only_the_gate_closed() {
    if inside("away::a_server_that_is_not_there_at_start_keeps_only_the_gate_closed") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let pod = format!("{SECOND}:{PORT}").parse().expect("an address");
        let static_route = "static.example.com:80";
        let builder = builder(&ca, &api, "").route(static_route, &[pod]);
        api.stop();
        let gateway = builder.start();
        gateway.eventually("the failure", |g| failing(g, "services"));
        let (status, body) = gateway.request("GET", "/ready");
        assert!(status == 503 && body.contains("kubernetes"), "{status} {body}");
        assert_eq!(reached(&ca, &gateway, static_route), SECOND);
        assert_eq!(reached(&ca, &gateway, WEB), "");
        let line = ended(&gateway, "not_exported");
        assert!(line["detail"].as_str().expect("a detail").contains("not complete yet"), "{line}");
        api.serve();
        ready(&gateway);
        reaches(&ca, &gateway, WEB, FIRST);
    }
}

#[test]
fn a_kubeconfig_that_is_not_there_yet_is_waited_for_and_a_changed_one_is_taken() {
    if inside("away::a_kubeconfig_that_is_not_there_yet_is_waited_for_and_a_changed_one_is_taken") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let builder = builder(&ca, &api, "");
        let file = builder.path().join("kubeconfig");
        let good = std::fs::read_to_string(&file).expect("there");
        std::fs::remove_file(&file).expect("removed");
        let gateway = builder.start();
        let said = |line: &Value| {
            line["message"].as_str().is_some_and(|text| text.contains("no client for the cluster"))
        };
        assert_eq!(gateway.line("the error", said)["level"], "ERROR");
        std::fs::write(&file, good).expect("written");
        ready(&gateway);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        let other = api.token("again", Rules::all());
        std::fs::write(&file, api.kubeconfig(&other)).expect("written");
        gateway.eventually("the other token", |_| {
            api.requests().iter().filter(|request| request.user == "again").count() >= 3
        });
        api.apply(objects::slice(&exported(), "1", &[SECOND]));
        reaches(&ca, &gateway, WEB, SECOND);
        assert!(open.is_alive());
    }
}

#[test]
fn a_right_that_is_missing_is_named_and_keeps_the_gate_closed() {
    if inside("away::a_right_that_is_missing_is_named_and_keeps_the_gate_closed") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let builder = builder(&ca, &api, "");
        let rules = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n\
                     metadata: { name: less }\nrules:\n\
                     - { apiGroups: [\"\", discovery.k8s.io], \
                     resources: [services, endpointslices], verbs: [list, watch] }\n";
        let token = api.token("less", Rules::from_yaml(rules, "test"));
        std::fs::write(builder.path().join("kubeconfig"), api.kubeconfig(&token)).expect("written");
        let gateway = builder.start();
        let line = gateway.line("the warning", |line| line["reason"] == "Forbidden");
        assert_eq!(line["resource"], "pods");
        assert!(line["error"].as_str().expect("text").contains("pods"), "{line}");
        assert_eq!(gateway.request("GET", "/ready").0, 503);
        assert!(failing(&gateway, "pods"));
        api.allow(&token, Rules::all());
        ready(&gateway);
    }
}

#[test]
fn a_panic_of_discovery_takes_nothing_and_it_goes_on() {
    if inside("away::a_panic_of_discovery_takes_nothing_and_it_goes_on") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let gateway = builder(&ca, &api, "").env("FAULT_INJECTION", "kubernetes:2").start();
        ready(&gateway);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        api.apply(objects::slice(&exported(), "1", &[SECOND]));
        let restarts = "gateway_task_restarts_total{task=\"kubernetes\"}";
        gateway.eventually("the restart", |g| g.metric(restarts) > 0.5);
        reaches(&ca, &gateway, WEB, SECOND);
        assert!(open.is_alive());
        assert_eq!(gateway.request("GET", "/ready").0, 200);
    }
}
