//! Who may write: one process of several, and never beside Linkerd's own controller.

use std::time::Duration;

use serde_json::json;

use crate::support::kubernetes::{Fault, Matcher, Times};
use crate::{APPS, Pair, SYSTEM};

#[test]
fn of_two_processes_one_leads_and_the_other_takes_over() {
    let pair = Pair::new();
    pair.export("web");
    let mut first = pair.start();
    pair.wait_ready("web-east", true);
    let second = pair.start();
    second.eventually("it follows", |second| second.get("/links").contains("\"holder\":\""));
    assert_eq!(second.request("GET", "/ready").0, 200);
    first.signal("TERM");
    assert!(first.wait().success());
    let lease = pair.west.get("Lease", SYSTEM, "linkerd-gateway-mirror").expect("a lease");
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    pair.export("later");
    pair.wait_ready("later-east", true);
    let now = pair.west.get("Lease", SYSTEM, "linkerd-gateway-mirror").expect("a lease");
    assert_ne!(now["spec"]["holderIdentity"].as_str().unwrap_or_default(), "");
    assert!(holder.is_empty() || now["spec"]["holderIdentity"] == holder, "released: {holder}");
}

#[test]
fn a_lease_that_cannot_be_renewed_stops_the_writes_before_it_ends() {
    let pair = Pair::new();
    pair.export("web");
    let mirror = pair.start();
    pair.wait_ready("web-east", true);
    let leases = Matcher::new("update", "leases");
    pair.west.inject(leases, Fault::Status(503), Times::Always);
    // Of three seconds two have passed without a renewal.
    mirror.eventually("it stops", |mirror| mirror.get("/links").contains("\"leader\":false"));
    pair.export("later");
    std::thread::sleep(Duration::from_secs(2));
    assert!(pair.west.get("Service", APPS, "later-east").is_none());
    pair.west.clear_faults();
    pair.wait_ready("later-east", true);
}

#[test]
fn a_link_whose_lease_linkerds_controller_renews_is_left_to_it() {
    let pair = Pair::new();
    pair.export("web");
    let lease = |renewed: u64| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "namespace": SYSTEM, "name": "service-mirror-write-east" },
            "spec": { "holderIdentity": "controller-east-1", "leaseDurationSeconds": 5,
                "renewTime": format!("2020-01-01T00:00:{renewed:02}.000000Z") },
        })
    };
    pair.west.create(lease(0));
    let mirror = pair.start();
    mirror.eventually("the holder is named", |mirror| {
        mirror.get("/links").contains("controller-east-1")
    });
    for second in 1..5 {
        std::thread::sleep(Duration::from_secs(1));
        pair.west.apply(lease(second));
        assert!(pair.west.get("Service", APPS, "web-east").is_none());
    }
    pair.west.wait_for("the condition", |west| {
        let link = west.get("Link", SYSTEM, "east").expect("the Link");
        link["status"]["conditions"].to_string().contains("LeaseHeldByOther")
    });
    // It does not renew any more.
    pair.wait_ready("web-east", true);
}

#[test]
fn a_process_without_an_api_server_waits_and_one_that_loses_it_keeps_its_credentials() {
    let pair = Pair::new();
    pair.export("web");
    pair.west.stop();
    let mirror = pair.builder().spawn();
    mirror.line("it waits", |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("the mirror waits"))
    });
    assert_eq!(mirror.request("GET", "/ready").0, 503);
    assert!(mirror.get("/links").contains("Unreachable"));
    pair.west.serve();
    pair.wait_ready("web-east", true);
    assert_eq!(mirror.request("GET", "/ready").0, 200);
    pair.west.stop();
    mirror
        .eventually("it leads no more", |mirror| mirror.get("/links").contains("\"leader\":false"));
    pair.west.serve();
    pair.export("later");
    pair.wait_ready("later-east", true);
    mirror.eventually("the credentials are good", |mirror| {
        let links: serde_json::Value = serde_json::from_str(&mirror.get("/links")).expect("JSON");
        links["links"][0]["credentials"]["status"] == "True"
            && links["links"][0]["target"]["status"] == "True"
    });
}
