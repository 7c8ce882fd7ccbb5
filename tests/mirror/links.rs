//! Links come and go, are wrong, slow or twice; none of them disturbs another.

use std::time::Duration;

use serde_json::json;

use crate::support::kubernetes::{FakeApi, Fault, Matcher, Rules, Times, objects};
use crate::{APPS, Pair, SYSTEM};

#[test]
fn a_link_that_is_deleted_leaves_its_mirrors_and_one_made_anew_takes_them_up() {
    let pair = Pair::new();
    pair.export("web");
    let mirror = pair.start();
    pair.wait_ready("web-east", true);
    let before = pair.west.get("Service", APPS, "web-east").expect("a mirror");
    pair.west.delete("Link", SYSTEM, "east");
    let series = "gateway_alive{target_cluster_name=\"east\"}";
    mirror.eventually("its metrics go", |mirror| !mirror.get("/metrics").contains(series));
    pair.east.delete("Service", APPS, "web");
    std::thread::sleep(Duration::from_millis(500));
    let after = pair.west.get("Service", APPS, "web-east").expect("it stays");
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    pair.west.create(pair.link());
    pair.west.wait_for("the orphan's end", |west| west.get("Service", APPS, "web-east").is_none());
}

#[test]
fn a_slow_cluster_and_a_broken_secret_delay_nobody_else() {
    let pair = Pair::new();
    pair.export("web");
    let slow = FakeApi::start();
    slow.inject(Matcher::any(), Fault::Hang, Times::Always);
    let kubeconfig = slow.kubeconfig(&slow.token("mirror", Rules::all()));
    pair.west.create(objects::credentials(SYSTEM, "cluster-credentials-slow", &kubeconfig));
    pair.west.create(objects::link(SYSTEM, "slow", "gateway.invalid", 4143));
    pair.west.create(objects::credentials(SYSTEM, "cluster-credentials-bad", "{"));
    pair.west.create(objects::link(SYSTEM, "bad", "192.0.2.1", 4143));
    let mirror = pair.start();
    pair.wait_ready("web-east", true);
    mirror.eventually("the bad one is told", |mirror| {
        mirror.get("/links").contains("KubeconfigInvalid")
    });
    pair.west.wait_for("its condition", |west| {
        let link = west.get("Link", SYSTEM, "bad").expect("the Link");
        link["status"]["conditions"].to_string().contains("KubeconfigInvalid")
    });
}

#[test]
fn of_two_links_with_one_target_the_older_works_and_the_other_says_so() {
    let pair = Pair::new();
    pair.export("web");
    std::thread::sleep(Duration::from_millis(1100));
    let mut second = pair.link();
    second["metadata"]["name"] = "another".into();
    second["spec"]["gatewayAddress"] = "192.0.2.9".into();
    pair.west.create(second);
    let _mirror = pair.start();
    pair.wait_ready("web-east", true);
    pair.west.wait_for("the condition", |west| {
        let link = west.get("Link", SYSTEM, "another").expect("the Link");
        link["status"]["conditions"].to_string().contains("DuplicateTarget")
    });
    pair.west.delete("Link", SYSTEM, "east");
    pair.west.wait_for("the other takes over", |_| {
        let addresses = pair.addresses("web-east");
        addresses.is_some_and(|(ready, not)| [ready, not].concat() == ["192.0.2.9"])
    });
}

#[test]
fn a_cluster_without_the_crd_is_waited_for() {
    let pair = Pair::without_link(false);
    pair.west.remove_crd("links.multicluster.linkerd.io");
    pair.export("web");
    let mirror = pair.start();
    mirror.eventually("it is told", |mirror| mirror.get("/links").contains("install the CRD"));
    let crd = include_str!("../../config/crds/link.yaml");
    pair.west.install_crd(&serde_yaml_ng::from_str(crd).expect("YAML"));
    pair.west.create(pair.link());
    pair.wait_ready("web-east", true);
}

#[test]
fn a_crd_that_prunes_conditions_is_not_written_for_ever() {
    let pair = Pair::without_link(false);
    pair.west.create(pair.link());
    pair.export("web");
    let _mirror = pair.start();
    pair.wait_ready("web-east", true);
    std::thread::sleep(Duration::from_secs(4));
    pair.west.reset_log();
    std::thread::sleep(Duration::from_secs(4));
    let writes: Vec<_> = pair.west.writes().iter().map(|write| write.line()).collect();
    assert_eq!(writes, Vec::<String>::new());
    let link = pair.west.get("Link", SYSTEM, "east").expect("the Link");
    let item = &link["status"]["mirrorServices"][0];
    assert_eq!(item["remoteRef"]["name"], "web");
    assert_eq!(item["conditions"][0]["status"], "True");
}

#[test]
fn a_change_of_the_gateway_changes_addresses_and_nothing_else() {
    let pair = Pair::new();
    pair.export("web");
    let _mirror = pair.start();
    pair.wait_ready("web-east", true);
    let before = pair.west.get("Service", APPS, "web-east").expect("a mirror");
    pair.east.reset_log();
    pair.west.patch("Link", SYSTEM, "east", &json!({ "spec": { "gatewayPort": "4144" } }));
    pair.west.wait_for("the port", |west| {
        let endpoints = west.get("Endpoints", APPS, "web-east").expect("Endpoints");
        endpoints["subsets"][0]["ports"][0]["port"] == 4144
    });
    let after = pair.west.get("Service", APPS, "web-east").expect("a mirror");
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    let lists = pair.east.requests().into_iter().filter(|request| request.line().contains("list"));
    assert_eq!(lists.count(), 0, "the target is not listed again");
}

#[test]
fn members_of_a_cluster_whose_link_is_gone_leave_federated_services() {
    let pair = Pair::new();
    let shared = objects::service(APPS, "shared", &[("http", 80, 80)]);
    let shared = objects::labelled(shared, "mirror.linkerd.io/federated", "member");
    pair.east.create(shared.clone());
    let mirror = pair.start();
    pair.west.wait_for("the federated Service", |west| {
        west.get("Service", APPS, "shared-federated").is_some()
    });
    pair.west.create(shared);
    let annotation = "multicluster.linkerd.io/remote-discovery";
    let local = "multicluster.linkerd.io/local-discovery";
    pair.west.wait_for("both members", |west| {
        let service = west.get("Service", APPS, "shared-federated").expect("it is there");
        let annotations = &service["metadata"]["annotations"];
        annotations[annotation] == "shared@east" && annotations[local] == "shared"
    });
    drop(mirror);
    // Unlinked while nobody looked.
    pair.west.delete("Link", SYSTEM, "east");
    let mirror = pair.start();
    mirror.eventually("the lists", |mirror| {
        let links: serde_json::Value = serde_json::from_str(&mirror.get("/links")).expect("JSON");
        let mut watches = links["watches"].as_array().into_iter().flatten();
        links["leader"] == true && watches.all(|watch| watch["complete"] == true)
    });
    std::thread::sleep(Duration::from_secs(1));
    // Where there never was a Link it may look in the wrong namespace.
    let service = pair.west.get("Service", APPS, "shared-federated").expect("it is there");
    assert_eq!(service["metadata"]["annotations"][annotation], "shared@east");
    pair.west.create(objects::link(SYSTEM, "north", "192.0.2.9", 4143));
    pair.west.wait_for("the entry's end", |west| {
        let service = west.get("Service", APPS, "shared-federated").expect("it is there");
        let annotations = &service["metadata"]["annotations"];
        annotations[annotation].is_null() && annotations[local] == "shared"
    });
}
