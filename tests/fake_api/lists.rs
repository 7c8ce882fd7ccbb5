//! Lists: selectors, pieces of one moment, versions, and how fast many objects are.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Plain, SERVICES, config_map, create_maps, web};
use crate::support::kubernetes::objects;

const MAPS: &str = "/api/v1/namespaces/test/configmaps";

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name")).collect()
}

/// A parameter's value as it is sent.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn labels_select() {
    let api = Plain::start();
    for (name, labels) in [
        ("a", json!({})),
        ("b", json!({ "x": "1" })),
        ("c", json!({ "x": "2", "y.io/z": "1" })),
        ("d", json!({ "x": "", "y.io/z": "2" })),
    ] {
        let mut map = config_map(name);
        map["metadata"]["labels"] = labels;
        api.create(map);
    }
    for (selector, expected) in [
        ("", "a b c d"),
        ("x=1", "b"),
        ("x==1", "b"),
        ("x!=1", "a c d"),
        ("x in (1, 2)", "b c"),
        ("x in (1,),y.io/z", "d"),
        ("x notin (1,2)", "a d"),
        ("x", "b c d"),
        ("!x", "a"),
        ("x,y.io/z notin (1)", "b d"),
        ("x=", "d"),
    ] {
        let list = api.get(&format!("{MAPS}?labelSelector={}", encoded(selector))).ok();
        assert_eq!(names(&list).join(" "), expected, "{selector}");
    }
    for bad in ["x in 1", "x like (1)", "a b", "x in (1", "=1"] {
        let answer = api.get(&format!("{MAPS}?labelSelector={}", encoded(bad)));
        assert_eq!(answer.why(), (400, "BadRequest".into()), "{bad}");
    }
    for (selector, expected) in [
        ("metadata.name=b", "b"),
        ("metadata.name!=b,metadata.namespace=test", "a c d"),
        ("metadata.namespace=default", ""),
    ] {
        let list = api.get(&format!("/api/v1/configmaps?fieldSelector={}", encoded(selector))).ok();
        assert_eq!(names(&list).join(" "), expected, "{selector}");
    }
    assert_eq!(api.get(&format!("{MAPS}?fieldSelector=data.a%3D1")).why().0, 400);
}

#[test]
fn items_of_built_in_kinds_do_not_say_their_kind() {
    let api = Plain::start();
    api.create(web());
    api.create(objects::link("test", "east", "192.0.2.1", 4143));
    let list = api.get(SERVICES).ok();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&"ServiceList".into(), &"v1".into()));
    assert!(list["items"][0]["kind"].is_null());
    let links = api.get("/apis/multicluster.linkerd.io/v1alpha3/links").ok();
    assert_eq!(links["items"][0]["kind"], "Link");
}

#[test]
fn pieces_of_a_list_are_of_one_moment() {
    let api = Plain::start();
    create_maps(&api, &["a", "b", "c", "d", "e"]);
    let first = api.get(&format!("{MAPS}?limit=2")).ok();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    api.api.delete("ConfigMap", "test", "c");
    api.create(config_map("bb"));
    api.patch("ConfigMap", "test", "d", &json!({ "data": { "a": "changed" } }));
    let proceed = |list: &Value, limit: usize| {
        let token = list["metadata"]["continue"].as_str().expect("a token");
        api.get(&format!("{MAPS}?limit={limit}&continue={token}"))
    };
    let second = proceed(&first, 2).ok();
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["items"][1]["data"]["a"], "1");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let third = proceed(&second, 2).ok();
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"]["continue"].is_null());
    api.compact();
    assert_eq!(proceed(&first, 2).why(), (410, "Expired".into()));
    assert_eq!(api.get(&format!("{MAPS}?continue=x")).why().0, 400);
    let whole = api.get(&format!("{MAPS}?limit=2&resourceVersion=0")).ok();
    assert_eq!(names(&whole), ["a", "b", "bb", "d", "e"], "the watch cache has no pieces");
}

#[test]
fn a_list_from_the_future_or_a_forgotten_past_is_refused() {
    let api = Plain::start();
    let version = api.version();
    api.get(&format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")).ok();
    let later = api.get(&format!("{MAPS}?resourceVersion={}", version + 1));
    assert_eq!(later.why(), (504, "Timeout".into()));
    assert_eq!(later.json()["details"]["retryAfterSeconds"], 1);
    api.create(web());
    let exact = api.get(&format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact"));
    assert_eq!(exact.why(), (410, "Expired".into()));
    api.get(&format!("{MAPS}?resourceVersion={version}")).ok();
}

#[test]
fn a_collection_is_deleted_by_its_labels() {
    let api = Plain::start();
    api.create(objects::labelled(config_map("a"), "x", "1"));
    api.create(config_map("b"));
    api.delete(&format!("{MAPS}?labelSelector=x"), &Value::Null).ok();
    assert_eq!(api.names("ConfigMap", "test"), ["b"]);
}

#[test]
fn ten_thousand_services_take_seconds() {
    let api = Plain::start();
    let begin = Instant::now();
    for index in 0..10_000 {
        let name = format!("web-{index}");
        api.create(objects::exported("test", &name, &[("http", 80, 8080), ("grpc", 81, 8081)]));
    }
    let made = begin.elapsed();
    let begin = Instant::now();
    let list = api.get(SERVICES);
    let listed = begin.elapsed();
    assert_eq!(names(&list.ok()).len(), 10_000);
    // Far above what it takes, far below what a mistake in it takes.
    assert!(made < Duration::from_secs(30), "created in {made:?}");
    assert!(listed < Duration::from_secs(10), "listed in {listed:?}");
    println!("created in {made:?}, listed in {listed:?}");
}
