//! Headless Services, namespaces that are created, and what a busy server is spared.

use crate::support::kubernetes::{Fault, Matcher, Times, objects};
use crate::{APPS, Pair};

#[test]
fn a_headless_service_has_a_mirror_for_each_host() {
    let pair = Pair::new();
    let service = objects::headless(objects::exported(APPS, "db", &[("sql", 5432, 5432)]));
    pair.east.create(service.clone());
    let hosts = |names: &[&str]| {
        let addresses: Vec<_> = (1..=names.len()).map(|n| format!("10.1.1.{n}")).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let mut slice = objects::slice(&service, "1", &addresses);
        for (index, name) in names.iter().enumerate() {
            slice["endpoints"][index]["hostname"] = (*name).into();
        }
        slice
    };
    pair.east.create(hosts(&["db-0", "db-1"]));
    let builder = pair.builder().env("LINKERD_GATEWAY_MIRROR__HEADLESS_SERVICES", "true");
    let _mirror = pair.start_from(builder);
    for host in ["db-0-east", "db-1-east"] {
        pair.wait_ready(host, true);
    }
    pair.west.wait_for("the root", |west| {
        let root = west.get("Service", APPS, "db-east");
        let endpoints = west.get("Endpoints", APPS, "db-east");
        root.is_some_and(|root| root["spec"]["clusterIP"] == "None")
            && endpoints.is_some_and(|endpoints| {
                let addresses = &endpoints["subsets"][0]["addresses"];
                let host = west.get("Service", APPS, "db-0-east").expect("a host's mirror");
                addresses[0]["hostname"] == "db-0"
                    && addresses[0]["ip"] == host["spec"]["clusterIP"]
                    && addresses[1]["hostname"] == "db-1"
            })
    });
    // A gateway that is down is seen at the hosts.
    pair.probe.answers(503);
    pair.wait_ready("db-0-east", false);
    pair.east.apply(hosts(&["db-0"]));
    pair.west.wait_for("the host's end", |west| west.get("Service", APPS, "db-1-east").is_none());
    pair.east.delete("Service", APPS, "db");
    pair.west.wait_for("the end of all", |west| {
        ["db-east", "db-0-east"].iter().all(|name| west.get("Service", APPS, name).is_none())
    });
}

#[test]
fn a_missing_namespace_is_told_and_its_appearance_noticed() {
    let pair = Pair::new();
    pair.west.delete("Namespace", "", APPS);
    pair.export("web");
    let mirror = pair.start();
    mirror
        .eventually("it is told", |mirror| mirror.get("/links").contains("\"MissingNamespace\":1"));
    pair.west.wait_for("an Event", |west| {
        west.events().iter().any(|(_, reason, _)| reason == "ServiceMirroringSkipped")
    });
    pair.west.create(objects::namespace(APPS));
    pair.wait_ready("web-east", true);
    drop(mirror);

    pair.west.delete("Namespace", "", APPS);
    let builder = pair.builder().env("LINKERD_GATEWAY_MIRROR__CREATE_NAMESPACES", "true");
    let _mirror = pair.start_from(builder);
    pair.wait_ready("web-east", true);
    let namespace = pair.west.get("Namespace", "", APPS).expect("it was created");
    assert_eq!(namespace["metadata"]["labels"]["mirror.linkerd.io/cluster-name"], "east");
}

#[test]
fn a_server_that_is_busy_is_left_alone_and_everything_is_written_in_the_end() {
    let pair = Pair::new();
    for index in 0..40 {
        pair.export(&format!("svc-{index}"));
    }
    let busy = Matcher::new("create", "services");
    pair.west.inject(busy, Fault::TooManyRequests(1), Times::Next(20));
    pair.west.inject(Matcher::new("create", "endpoints"), Fault::Status(500), Times::Next(5));
    pair.west.inject(Matcher::new("create", "endpointslices"), Fault::Cut, Times::Next(5));
    let _mirror = pair.start();
    for index in 0..40 {
        pair.wait_ready(&format!("svc-{index}-east"), true);
    }
}

#[test]
fn a_liveness_change_rewrites_each_object_once() {
    let pair = Pair::new();
    for index in 0..10 {
        pair.export(&format!("svc-{index}"));
    }
    let mirror = pair.start();
    for index in 0..10 {
        pair.wait_ready(&format!("svc-{index}-east"), true);
    }
    mirror
        .eventually("nothing is pending", |mirror| mirror.get("/links").contains("\"pending\":0"));
    pair.west.reset_log();
    pair.probe.answers(503);
    for index in 0..10 {
        pair.wait_ready(&format!("svc-{index}-east"), false);
    }
    let lines = pair.west.writes().into_iter().map(|write| write.line());
    let mut lines: Vec<_> = lines.filter(|line| line.contains("svc-")).collect();
    lines.sort();
    let mut expected: Vec<_> = (0..10)
        .flat_map(|index| {
            [
                format!("update endpoints apps/svc-{index}-east"),
                format!("update endpointslices apps/svc-{index}-east-ipv4"),
            ]
        })
        .collect();
    expected.sort();
    assert_eq!(lines, expected);
}
