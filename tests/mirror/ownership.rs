//! What is not ours is never written, whenever it appears.

use crate::support::kubernetes::{Matcher, objects};
use crate::{APPS, Pair, SYSTEM};

#[test]
fn a_foreign_service_that_appears_between_check_and_write_is_not_touched() {
    let pair = Pair::new();
    pair.export("web");
    let foreign = objects::service(APPS, "web-east", &[("http", 1, 1)]);
    let created = foreign.clone();
    // A POST has no name in its path: it is the first Service that is created there.
    let matcher = Matcher::new("create", "services").namespace(APPS);
    pair.west.before(matcher, move |west| drop(west.create(created)));
    let mirror = pair.start();
    mirror.eventually("the conflict", |mirror| mirror.get("/links").contains("\"Conflict\":1"));
    pair.west.wait_for("the condition", |west| {
        let link = west.get("Link", SYSTEM, "east").expect("the Link");
        link["status"]["mirrorServices"].to_string().contains("Conflict")
    });
    let kept = pair.west.get("Service", APPS, "web-east").expect("still there");
    assert_eq!(kept["spec"]["ports"][0]["port"], 1);
    assert!(kept["metadata"]["labels"]["mirror.linkerd.io/mirrored-service"].is_null());
    pair.east.delete("Service", APPS, "web");
    mirror.eventually("it is withdrawn", |mirror| !mirror.get("/links").contains("\"Conflict\""));
    assert!(pair.west.get("Service", APPS, "web-east").is_some());
}

#[test]
fn a_target_that_cannot_be_reached_takes_nothing_away() {
    let pair = Pair::new();
    pair.export("web");
    let mirror = pair.start();
    pair.wait_ready("web-east", true);
    pair.east.unseen(|east| east.delete("Service", APPS, "web"));
    pair.east.change_certificate();
    pair.east.disconnect();
    mirror.eventually("it is told", |mirror| mirror.get("/links").contains("\"Unreachable\""));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(pair.west.get("Service", APPS, "web-east").is_some());

    // New credentials, by which the target is reached again: what vanished meanwhile is found.
    let kubeconfig =
        pair.east.kubeconfig(&pair.east.token("rotated", crate::support::kubernetes::Rules::all()));
    pair.west.apply(objects::credentials(SYSTEM, "cluster-credentials-east", &kubeconfig));
    pair.west.wait_for("the end", |west| west.get("Service", APPS, "web-east").is_none());
}
