//! What is not ours, and what has a name that cannot be.

use serde_json::json;

use crate::support::kubernetes::{Fault, Matcher, Times, objects};
use crate::world::{APPS, CLUSTER, GATEWAY, SYSTEM, World, exported, link, shown, wait};

/// On export: neither adopted nor, when the target withdraws it, deleted.
#[test]
fn a_foreign_service_with_the_name_of_a_mirror_is_never_touched() {
    let world = World::joined();
    let foreign = world.west.create(objects::service(APPS, "web-remote", &[("http", 1, 1)]));
    let endpoints = world.west.create(objects::endpoints(&foreign, &["10.2.0.1"]));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    let message = world.said("web", "Conflict");
    assert!(message.contains("web-remote"), "{message}");
    world.west.wait_for("the Event", |west| {
        west.events().iter().any(|(of, reason, _)| of == CLUSTER && reason == "Conflict")
    });
    world.east.delete("Service", APPS, "web");
    world.settle();
    assert_eq!(world.west.get("Service", APPS, "web-remote"), Some(foreign));
    assert_eq!(world.west.get("Endpoints", APPS, "web-remote"), Some(endpoints));
}

/// Endpoints of somebody else, with the name of a mirror that has none yet.
#[test]
fn foreign_endpoints_are_never_touched() {
    let world = World::joined();
    let of = objects::service(APPS, "web-remote", &[("http", 1, 1)]);
    let foreign = world.west.create(objects::endpoints(&of, &["10.2.0.1"]));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.said("web", "Conflict");
    world.settle();
    assert_eq!(world.west.get("Endpoints", APPS, "web-remote"), Some(foreign));
}

/// Between the look and the write.
#[test]
fn a_foreign_object_that_appears_between_check_and_write_is_never_touched() {
    for kind in ["services", "endpoints", "endpointslices"] {
        let world = World::joined();
        let of = objects::service(APPS, "web-remote", &[("http", 1, 1)]);
        let object = match kind {
            "services" => of.clone(),
            "endpoints" => objects::endpoints(&of, &["10.2.0.1"]),
            _ => objects::slice(&of, "ipv4", &["10.2.0.1"]),
        };
        let made = object.clone();
        world.west.before(Matcher::new("create", kind).namespace(APPS), move |west| {
            west.create(made);
        });
        world.serve(exported("web"), &["10.1.0.1"]);
        let _mirror = world.start("");
        world.said("web", "Conflict");
        world.settle();
        let name = object["metadata"]["name"].as_str().expect("a name");
        let found = world.west.get(kind, APPS, name).expect("there");
        for field in ["metadata/labels", "spec/ports", "subsets", "endpoints"] {
            let at = format!("/{field}");
            if let Some(stated) = object.pointer(&at).filter(|stated| !stated.is_null()) {
                let found = found.pointer(&at).expect(field);
                assert!(found.to_string().len() >= stated.to_string().len(), "{kind} {found}");
            }
        }
        assert!(!found.to_string().contains(GATEWAY), "{kind}: {found}");
        assert!(found["metadata"]["annotations"].is_null(), "{kind}: {found}");
    }
}

/// Ours is deleted and somebody else's has its name: a delete that was decided before spares it.
#[test]
fn a_service_that_took_the_place_of_a_mirror_survives_its_deletion() {
    let (world, _mirror) = World::mirroring(&["web"]);
    world.west.before(Matcher::new("delete", "services").name("web-remote"), |west| {
        west.delete("Service", APPS, "web-remote");
        west.create(objects::service(APPS, "web-remote", &[("theirs", 1, 1)]));
    });
    world.east.delete("Service", APPS, "web");
    world.settle();
    let found = world.west.get("Service", APPS, "web-remote").expect("spared");
    assert_eq!(found["spec"]["ports"][0]["name"], "theirs");
}

/// Mirrors of Linkerd's own controller are taken over as they are.
#[test]
fn mirrors_of_linkerds_controller_are_taken_over() {
    let world = World::joined();
    let remote = world.serve(exported("web"), &["10.1.0.1"]);
    let mut theirs = objects::service(APPS, "web-remote", &[("http", 80, 8080)]);
    theirs["spec"].as_object_mut().expect("a map").remove("selector");
    theirs["metadata"]["labels"] = crate::whole::labels(json!({}));
    let name = "web.test.svc.cluster.local";
    let version = crate::world::version(&remote);
    theirs["metadata"]["annotations"] = crate::whole::annotations(name, &version, json!({}));
    let theirs = world.west.create(theirs);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.settle();
    let found = world.west.get("Service", APPS, "web-remote").expect("kept");
    assert_eq!(found["metadata"]["uid"], theirs["metadata"]["uid"]);
}

/// Over 63 characters: cut, with a hash, distinct for distinct Services, and the full name said.
#[test]
fn issue_7390_a_name_of_more_than_63_characters_is_hashed() {
    let world = World::joined();
    let long = "a".repeat(60);
    let (one, two) = (format!("{long}-1"), format!("{long}-2"));
    for name in [&one, &two] {
        world.serve(exported(name), &["10.1.0.1"]);
    }
    let mirror = world.start("");
    world.said(&one, "Mirrored");
    world.said(&two, "Mirrored");
    let names = world.west.names("Service", APPS);
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.len() <= 63 && name.starts_with("aaaa")), "{names:?}");
    for name in &names {
        world.wait_addresses(name, &[GATEWAY], &[]);
    }
    let full = |name: &String| {
        let service = world.west.get("Service", APPS, name).expect("there");
        crate::world::text(
            &service["metadata"]["annotations"]["mirror.linkerd.io/remote-svc-fq-name"],
        )
    };
    let mut found: Vec<_> = names.iter().map(full).collect();
    found.sort();
    assert_eq!(found, [one, two].map(|name| format!("{name}.{APPS}.svc.cluster.local")));
    // A restart finds the same names.
    world.settle();
    drop(mirror);
    world.west.reset_log();
    let mirror = world.start("");
    mirror.eventually("the restart", |mirror| {
        shown(mirror, CLUSTER).is_some_and(|link| link["services"]["Mirrored"] == 2)
    });
    world.settle();
    let writes = world.west.writes();
    assert!(writes.iter().all(|write| write.access.namespace != APPS), "{writes:?}");
}

/// `group/*` is that group and no other; what is excluded is not copied, but opaque ports always.
#[test]
fn excluded_groups_match_at_the_slash() {
    let world = World::new();
    let mut link = link();
    link["spec"]["excludedLabels"] = json!(["evil.linkerd/*", "evil"]);
    link["spec"]["excludedAnnotations"] = json!(["evil.linkerd/*", "evil", "config.linkerd.io/*"]);
    world.join(link);
    let mut service = exported("web");
    let keys = json!({ "evil.linkerd/a": "1", "evil.linkerdx/a": "2", "evil": "3", "evil2": "4" });
    let mut labels = keys.clone();
    labels["mirror.linkerd.io/exported"] = "true".into();
    let mut annotations = keys;
    annotations["config.linkerd.io/opaque-ports"] = "80".into();
    annotations["service.kubernetes.io/topology-mode"] = "Auto".into();
    service["metadata"]["labels"] = labels;
    service["metadata"]["annotations"] = annotations;
    let remote = world.serve(service, &["10.1.0.1"]);
    let _mirror = world.start("");
    let mirror = wait(&world.west, "Service", "web-remote");
    let copied = json!({ "evil.linkerdx/a": "2", "evil2": "4" });
    assert_eq!(mirror["metadata"]["labels"], crate::whole::labels(copied.clone()));
    let mut copied = copied;
    copied["config.linkerd.io/opaque-ports"] = "80".into();
    let name = "web.test.svc.cluster.local";
    let version = crate::world::version(&remote);
    assert_eq!(
        mirror["metadata"]["annotations"],
        crate::whole::annotations(name, &version, copied)
    );
}

/// Two Links to one target: the older works, the other says why it does not.
#[test]
fn of_two_links_to_one_target_the_older_works() {
    let world = World::joined();
    let mut second = link();
    second["metadata"]["name"] = "second".into();
    // Names decide between Links of one second.
    world.west.create(second);
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    mirror.eventually("both", |mirror| {
        shown(mirror, "second").is_some_and(|link| link["duplicate_of"] == CLUSTER)
    });
    world.west.wait_for("a condition that names the older", |west| {
        let link = west.get("Link", SYSTEM, "second").expect("there");
        let conditions = link["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["status"] == "False"
                && condition["message"].as_str().is_some_and(|text| text.contains(CLUSTER))
        })
    });
    world.settle();
    world.west.reset_log();
    world.west.delete("Link", SYSTEM, CLUSTER);
    mirror.eventually("the other takes over", |mirror| {
        shown(mirror, "second")
            .is_some_and(|link| link["duplicate_of"].is_null() && link["services"]["Mirrored"] == 1)
    });
    world.settle();
    let writes = world.west.writes();
    assert!(writes.iter().all(|write| write.access.namespace != APPS), "{writes:?}");
}

/// Deleted and created again: the mirrors stay all the time.
#[test]
fn a_link_that_is_deleted_and_created_again_goes_on() {
    let (world, mirror) = World::mirroring(&["web", "gone"]);
    world.settle();
    mirror.eventually("it is shown", |mirror| shown(mirror, CLUSTER).is_some());
    world.west.delete("Link", SYSTEM, CLUSTER);
    mirror.eventually("its end", |mirror| shown(mirror, CLUSTER).is_none());
    world.east.delete("Service", APPS, "gone");
    world.west.reset_log();
    world.west.create(link());
    world.wait_gone("Service", "gone-remote");
    world.serve(exported("new"), &["10.1.0.1"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    world.settle();
    let writes = world.west.writes();
    assert!(!writes.iter().any(|write| write.line().contains("/web-remote")), "{writes:?}");
}

/// The API server refuses for longer than Linkerd's whole retry budget of some 35 ms.
#[test]
fn a_write_is_tried_until_it_is_done() {
    let world = World::joined();
    world.west.inject(
        Matcher::new("create", "services").namespace(APPS),
        Fault::Status(500),
        Times::Next(4),
    );
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.said("web", "Error");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.said("web", "Mirrored");
    let errors = shown(&mirror, CLUSTER).expect("shown")["errors"].clone();
    assert!(errors.to_string().contains("web-remote"), "{errors}");
}

/// A selector, another type or an external name would lead clients elsewhere, and the cluster's own
/// controllers would write to its Endpoints.
#[test]
fn a_mirror_that_was_made_something_else_is_made_a_mirror_again() {
    let (world, _mirror) = World::mirroring(&["web", "shop", "mail"]);
    for (name, spec) in [
        ("web-remote", json!({ "selector": { "a": "b" } })),
        ("shop-remote", json!({ "type": "NodePort" })),
        (
            "mail-remote",
            json!({ "type": "ExternalName", "externalName": "other.example.com",
            "clusterIP": null, "clusterIPs": null }),
        ),
    ] {
        world.west.patch("Service", APPS, name, &json!({ "spec": spec }));
        world.west.wait_for(&format!("{name} as it was"), |west| {
            let service = west.get("Service", APPS, name);
            service.is_some_and(|service| {
                let spec = &service["spec"];
                spec["type"] == "ClusterIP"
                    && spec["clusterIP"].is_string()
                    && spec.get("selector").is_none()
                    && spec.get("externalName").is_none()
            })
        });
    }
    world.settle();
}
