//! Services behind the gateway: made, changed, withdrawn, and as ready as the gateway is.

use serde_json::json;

use crate::support::kubernetes::objects;
use crate::{APPS, Pair, SYSTEM};

#[test]
fn an_exported_service_is_mirrored_changed_and_withdrawn() {
    let pair = Pair::new();
    let service = pair.export("web");
    let mirror = pair.start();
    pair.wait_ready("web-east", true);

    let copy = pair.west.get("Service", APPS, "web-east").expect("a mirror");
    let labels = &copy["metadata"]["labels"];
    assert_eq!(labels["mirror.linkerd.io/mirrored-service"], "true");
    assert_eq!(labels["mirror.linkerd.io/cluster-name"], "east");
    let annotations = &copy["metadata"]["annotations"];
    let name = "mirror.linkerd.io/remote-svc-fq-name";
    assert_eq!(annotations[name], "web.apps.svc.cluster.local");
    let endpoints = pair.west.get("Endpoints", APPS, "web-east").expect("Endpoints");
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 4143);
    let slice = pair.west.get("EndpointSlice", APPS, "web-east-ipv4").expect("a slice");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], copy["metadata"]["uid"]);

    let mut changed = objects::labelled(service.clone(), "team", "a");
    changed["spec"]["ports"][0]["port"] = 81.into();
    pair.east.apply(changed);
    pair.west.wait_for("the change", |west| {
        let copy = west.get("Service", APPS, "web-east").expect("a mirror");
        copy["spec"]["ports"][0]["port"] == 81 && copy["metadata"]["labels"]["team"] == "a"
    });

    // No pod is ready any more: nobody is sent to the gateway for it.
    let mut slice = objects::slice(&service, "1", &["10.1.1.1"]);
    slice["endpoints"][0]["conditions"]["ready"] = false.into();
    pair.east.apply(slice);
    pair.west.wait_for("no address", |_| pair.addresses("web-east") == Some((vec![], vec![])));

    // Someone's mistake is made good.
    pair.west.delete("Endpoints", APPS, "web-east");
    pair.west.wait_for("the repair", |west| west.get("Endpoints", APPS, "web-east").is_some());

    let mut withdrawn = service;
    withdrawn["metadata"]["labels"] = json!({});
    pair.east.apply(withdrawn);
    pair.west.wait_for("the end", |west| {
        west.get("Service", APPS, "web-east").is_none()
            && west.get("Endpoints", APPS, "web-east").is_none()
            && west.get("EndpointSlice", APPS, "web-east-ipv4").is_none()
    });
    drop(mirror);
}

#[test]
fn a_gateway_that_is_down_is_not_ready_and_one_that_was_down_is_not_believed_at_a_restart() {
    let pair = Pair::new();
    pair.export("web");
    let mirror = pair.start();
    pair.wait_ready("web-east", true);
    pair.probe.answers(503);
    pair.wait_ready("web-east", false);
    pair.west.wait_for("the condition", |west| {
        let link = west.get("Link", SYSTEM, "east").expect("the Link");
        let text = link["status"].to_string();
        text.contains("GatewayAlive") && text.contains("503")
    });
    assert!(pair.west.events().iter().any(|(_, reason, _)| reason == "GatewayDown"));

    // Down before it starts: what was written last is believed until a probe says otherwise.
    drop(mirror);
    pair.west.reset_log();
    let mirror = pair.start();
    mirror.eventually("it leads", |mirror| mirror.get("/links").contains("\"leader\":true"));
    mirror.eventually("it is down", |mirror| mirror.get("/links").contains("\"down\""));
    let touched = pair.west.writes().into_iter().map(|write| write.line());
    let touched: Vec<_> = touched.filter(|line| line.contains("web-east")).collect();
    assert_eq!(touched, Vec::<String>::new());
    pair.probe.answers(200);
    pair.wait_ready("web-east", true);
}

#[test]
fn a_steady_state_writes_nothing_but_leases() {
    let pair = Pair::new();
    for index in 0..20 {
        pair.export(&format!("svc-{index}"));
    }
    let mirror = pair.start();
    for index in 0..20 {
        pair.wait_ready(&format!("svc-{index}-east"), true);
    }
    mirror
        .eventually("nothing is pending", |mirror| mirror.get("/links").contains("\"pending\":0"));
    // The status is written once more after the last change.
    std::thread::sleep(std::time::Duration::from_secs(4));
    pair.west.reset_log();
    std::thread::sleep(std::time::Duration::from_secs(5));
    let writes: Vec<_> = pair.west.writes().iter().map(|write| write.line()).collect();
    assert_eq!(writes, Vec::<String>::new());
    assert!(!pair.west.writes_and_leases().is_empty(), "leases are renewed");
}
