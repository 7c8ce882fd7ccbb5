//! Watches: what is shown, from which version on, how they end; and how the client that the gateway
//! uses gets along with that.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{ListParams, PartialObjectMeta};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::client::{PATIENCE, Plain, SERVICES, config_map, create_maps, web};
use crate::support::http::run;
use crate::support::kubernetes::{Fault, Matcher, Options, Times, objects};

const MAPS: &str = "/api/v1/namespaces/test/configmaps";

fn label(api: &Plain, name: &str, value: Option<&str>) {
    api.patch("ConfigMap", "test", name, &json!({ "metadata": { "labels": { "x": value } } }));
}

#[test]
fn a_watch_shows_what_comes_after_its_version() {
    let api = Plain::start();
    api.create(config_map("a"));
    let version = api.version();
    api.create(config_map("b"));
    api.create(web());
    let mut watch = api.watch(&format!("{MAPS}?watch=true&resourceVersion={version}"));
    let (line, object) = watch.next();
    assert_eq!(line, "ADDED b");
    assert_eq!(object["kind"], "ConfigMap");
    api.patch("ConfigMap", "test", "a", &json!({ "data": { "a": "2" } }));
    let (line, object) = watch.next();
    assert_eq!((line.as_str(), &object["data"]["a"]), ("MODIFIED a", &json!("2")));
    api.api.delete("ConfigMap", "test", "a");
    let (line, object) = watch.next();
    assert_eq!(line, "DELETED a");
    assert_eq!(object["metadata"]["resourceVersion"], api.version().to_string());
    let mut all = config_map("elsewhere");
    all["metadata"]["namespace"] = "default".into();
    api.create(all);
    assert!(watch.is_quiet(), "another namespace");
}

#[test]
fn a_watch_from_nowhere_begins_with_everything() {
    let api = Plain::start();
    api.create(config_map("a"));
    for version in ["", "&resourceVersion=0"] {
        let mut watch = api.watch(&format!("{MAPS}?watch=1{version}"));
        assert_eq!(watch.line(), "ADDED a");
    }
}

#[test]
fn what_leaves_the_selector_is_deleted() {
    let api = Plain::start();
    api.create(config_map("a"));
    let version = api.version();
    let path = format!("{MAPS}?watch=true&labelSelector=x%3D1&resourceVersion={version}");
    let mut watch = api.watch(&path);
    label(&api, "a", Some("1"));
    assert_eq!(watch.line(), "ADDED a");
    api.patch("ConfigMap", "test", "a", &json!({ "data": { "a": "2" } }));
    assert_eq!(watch.line(), "MODIFIED a");
    label(&api, "a", Some("2"));
    let (line, object) = watch.next();
    assert_eq!(line, "DELETED a");
    // The last state that was selected, at the version that ended it.
    assert_eq!(object["metadata"]["labels"]["x"], "1");
    assert_eq!(object["metadata"]["resourceVersion"], api.version().to_string());
    label(&api, "a", None);
    api.api.delete("ConfigMap", "test", "a");
    assert!(watch.is_quiet());
}

#[test]
fn bookmarks_and_the_timeout() {
    let options = Options { bookmark_interval: Duration::from_millis(50), ..Options::default() };
    let api = Plain::with(options);
    let path = format!("{MAPS}?watch=true&resourceVersion={}", api.version());
    let mut watch = api.watch(&format!("{path}&allowWatchBookmarks=true&timeoutSeconds=1"));
    api.create(web());
    let mut versions = Vec::new();
    while let Some(event) = watch.try_next().expect("a clean end") {
        assert_eq!(event["type"], "BOOKMARK");
        assert_eq!(event["object"]["kind"], "ConfigMap");
        versions.push(event["object"]["metadata"]["resourceVersion"].clone());
    }
    assert!(versions.len() > 2, "{versions:?}");
    assert_eq!(versions.last(), Some(&api.version().to_string().into()));
    let mut watch = api.watch(&format!("{path}&timeoutSeconds=1"));
    assert_eq!(watch.try_next(), Ok(None), "none that was not asked for");
}

#[test]
fn a_forgotten_version_is_gone() {
    let api = Plain::start();
    let path = format!("{MAPS}?watch=true&resourceVersion={}", api.version());
    api.create(config_map("a"));
    api.compact();
    let mut watch = api.watch(&path);
    let (line, status) = watch.next();
    assert_eq!(
        (line.as_str(), &status["code"], &status["reason"]),
        ("ERROR", &json!(410), &json!("Expired"))
    );
    assert_eq!(watch.try_next(), Ok(None));

    let api = Plain::with(Options { gone_is_status: true, history: 2, ..Options::default() });
    let path = format!("{MAPS}?watch=true&resourceVersion={}", api.version());
    create_maps(&api, &["a", "b"]);
    assert_eq!(api.watch(&path).line(), "ADDED a", "the last two are remembered");
    api.create(config_map("c"));
    assert_eq!(api.get(&path).why(), (410, "Expired".into()));
}

#[test]
fn open_watches_are_cut_or_told_to_begin_anew() {
    let api = Plain::start();
    let path = format!("{MAPS}?watch=true&resourceVersion={}", api.version());
    let mut watch = api.watch(&path);
    api.create(config_map("a"));
    assert_eq!(watch.line(), "ADDED a");
    api.cut_watches();
    assert_eq!(watch.try_next(), Err(()));
    let mut watch = api.watch(&path);
    assert_eq!(watch.line(), "ADDED a");
    api.expire_watches();
    assert_eq!(watch.line(), "ERROR");
    assert_eq!(watch.try_next(), Ok(None));
}

#[test]
fn changes_can_be_missed_and_seen_twice() {
    let api = Plain::start();
    api.create(config_map("a"));
    let path = format!("{MAPS}?watch=true&resourceVersion={}", api.version());
    api.inject(Matcher::new("watch", "configmaps"), Fault::Doubled, Times::Next(1));
    let mut watch = api.watch(&path);
    api.unseen(|api| api.delete("ConfigMap", "test", "a"));
    api.create(config_map("b"));
    assert_eq!([watch.line(), watch.line()], ["ADDED b", "ADDED b"]);
    api.inject(Matcher::new("watch", ""), Fault::Silent, Times::Next(1));
    let mut watch = api.watch(&path);
    assert!(watch.is_quiet(), "although b is new");
    assert_eq!(api.watch(&path).line(), "ADDED b");
}

#[test]
fn a_list_by_watch_is_refused_unless_it_is_known() {
    let query = "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                 &allowWatchBookmarks=true";
    let api = Plain::start();
    assert_eq!(api.get(&format!("{MAPS}{query}")).why(), (422, "Invalid".into()));
    let api = Plain::with(Options { streams_lists: true, ..Options::default() });
    api.create(config_map("a"));
    let mut watch = api.watch(&format!("{MAPS}{query}"));
    assert_eq!(watch.line(), "ADDED a");
    let (line, bookmark) = watch.next();
    assert_eq!(line, "BOOKMARK");
    let annotations = &bookmark["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
}

#[test]
fn a_watch_from_the_future_waits_for_it() {
    let api = Plain::start();
    let version = api.version() + 2;
    let mut watch = api.watch(&format!("{MAPS}?watch=true&resourceVersion={version}"));
    create_maps(&api, &["a", "b", "c"]);
    assert_eq!(watch.line(), "ADDED c");
}

/// The next event of kube's watcher, errors included.
async fn next<S>(stream: &mut S) -> Result<Event<ConfigMap>, watcher::Error>
where
    S: StreamExt<Item = Result<Event<ConfigMap>, watcher::Error>> + Unpin,
{
    let next = tokio::time::timeout(PATIENCE, stream.next()).await;
    next.expect("an event in time").expect("an event")
}

/// `init`, `apply a`: an event as text.
fn text(event: &Event<ConfigMap>) -> String {
    match event {
        Event::Apply(object) => format!("apply {}", object.name_any()),
        Event::Delete(object) => format!("delete {}", object.name_any()),
        Event::Init => "init".into(),
        Event::InitApply(object) => format!("init {}", object.name_any()),
        Event::InitDone => "done".into(),
    }
}

#[test]
fn the_gateways_client_lists_in_pieces_watches_and_lists_again() {
    let api = Plain::start();
    create_maps(&api, &["a", "b", "c", "d", "e"]);
    let maps: Api<ConfigMap> = Api::namespaced(api.client(), "test");
    run(async {
        let config = watcher::Config::default().page_size(2);
        let mut stream = Box::pin(watcher(maps, config));
        for expected in ["init", "init a", "init b", "init c", "init d", "init e", "done"] {
            assert_eq!(text(&next(&mut stream).await.expect("no error")), expected);
        }
        api.create(config_map("f"));
        assert_eq!(text(&next(&mut stream).await.expect("no error")), "apply f");
        // A deletion that nobody hears of, then the version is forgotten.
        api.unseen(|api| api.delete("ConfigMap", "test", "a"));
        api.expire_watches();
        let error = next(&mut stream).await.expect_err("410");
        assert!(
            matches!(&error, watcher::Error::WatchError(status) if status.code == 410),
            "{error}"
        );
        for expected in ["init", "init b", "init c", "init d", "init e", "init f", "done"] {
            assert_eq!(text(&next(&mut stream).await.expect("no error")), expected);
        }
    });
    let lists = api.requests().iter().filter(|entry| entry.access.verb == "list").count();
    assert_eq!(lists, 6, "three pieces, twice");
}

#[test]
fn the_gateways_client_reads_types_and_metadata() {
    let api = Plain::start();
    api.create(web());
    let services: Api<Service> = Api::namespaced(api.client(), "test");
    let partial: Api<PartialObjectMeta<Service>> = Api::namespaced(api.client(), "test");
    run(async {
        let list = services.list(&ListParams::default()).await.expect("a list");
        assert_eq!(list.items.len(), 1);
        let list = partial.list(&ListParams::default()).await.expect("metadata");
        assert_eq!(list.items[0].name_any(), "web");
        assert!(partial.get("web").await.expect("metadata").metadata.uid.is_some());
        let config = watcher::Config::default();
        let mut stream = Box::pin(watcher(partial, config));
        let mut names = Vec::new();
        while let Some(event) = stream.try_next().await.expect("no error") {
            match event {
                Event::InitApply(object) | Event::Apply(object) => names.push(object.name_any()),
                Event::InitDone => drop(api.create(objects::service("test", "b", &[("a", 1, 1)]))),
                _ => {}
            }
            if names.len() == 2 {
                break;
            }
        }
        assert_eq!(names, ["web", "b"]);
    });
    assert_eq!(api.counts()["list services test"], 3);
    assert!(api.get(SERVICES).ok()["items"].as_array().is_some_and(|items| items.len() == 2));
}
