//! Endpoints that are meshed are reached over mutual TLS as who they must be, and one of which that is
//! not known yet is not dialled.

use serde_json::Value;

use crate::fixture::{
    FIRST, Open, PORT, WEB, addresses, cluster, ended, endpoint, exported, leads_to,
    nothing_was_denied, pods, reached, route, slice, start,
};
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, GATEWAY, Gateway};
use crate::support::http;
use crate::support::kubernetes::{FakeApi, objects};
use crate::support::namespace::inside;

/// The proxy of a meshed pod: a gateway of its own that passes on to the pod's port.
fn proxy(ca: &TestCa, identity: &str) -> Gateway {
    let builder = Builder::new(ca).configure(&format!(
        "[gateway]\nlisten = [\"{FIRST}:4143\"]\nlocal_ports = [{PORT}]\nlocal_address = \"{FIRST}\""
    ));
    ca.identity(identity).write_to(&builder.path().join("gateway"));
    builder.start()
}

/// The pod `web-0` of the account `web`, meshed.
fn pod(api: &FakeApi) -> Value {
    api.create(objects::meshed(objects::pod("test", "web-0", "web", FIRST), true))
}

const WEB_0: &str = "web.test.serviceaccount.identity.linkerd.cluster.local";

#[test]
fn a_meshed_pod_is_reached_as_itself_and_not_before_it_is_known() {
    if inside("mesh::a_meshed_pod_is_reached_as_itself_and_not_before_it_is_known") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let mut proxy = proxy(&ca, WEB_0);
        api.create(exported());
        // The slice is there before the pod is seen: as Kubernetes may have it.
        let mut unknown = endpoint(FIRST, None);
        unknown["targetRef"] =
            serde_json::json!({ "kind": "Pod", "namespace": "test", "name": "web-0" });
        api.create(slice(&exported(), vec![unknown]));
        let gateway = start(&ca, &api);
        assert_eq!(addresses(&gateway, WEB), [""; 0]);
        assert_eq!(reached(&ca, &gateway, WEB), "");
        ended(&gateway, "no_endpoints");

        pod(&api);
        leads_to(&gateway, WEB, &[&format!("{FIRST}:4143")]);
        assert_eq!(route(&gateway, WEB)["endpoints"][0]["tls_identity"], WEB_0);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        assert!(open.is_alive());
        drop(open);
        assert_eq!(proxy.outcome()["identity"], GATEWAY);
        nothing_was_denied(&api);
    }
}

#[test]
fn a_pod_that_is_not_who_it_must_be_gets_nothing() {
    if inside("mesh::a_pod_that_is_not_who_it_must_be_gets_nothing") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let _proxy = proxy(&ca, "db.test.serviceaccount.identity.linkerd.cluster.local");
        api.create(exported());
        let pod = pod(&api);
        api.create(slice(&exported(), vec![endpoint(FIRST, Some(&pod))]));
        let gateway = start(&ca, &api);
        assert_eq!(reached(&ca, &gateway, WEB), "");
        ended(&gateway, "onward_tls_failed");
    }
}

#[test]
fn a_pod_that_takes_another_s_place_is_not_taken_for_it() {
    if inside("mesh::a_pod_that_takes_another_s_place_is_not_taken_for_it") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        api.create(exported());
        let pod = api.create(objects::pod("test", "web-0", "web", FIRST));
        api.create(slice(&exported(), vec![endpoint(FIRST, Some(&pod))]));
        let gateway = start(&ca, &api);
        leads_to(&gateway, WEB, &[&format!("{FIRST}:{PORT}")]);
        // Its successor has another uid, and the slice does not know yet.
        api.delete("Pod", "test", "web-0");
        leads_to(&gateway, WEB, &[]);
        let next = api.create(objects::meshed(objects::pod("test", "web-0", "web", FIRST), false));
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert_eq!(addresses(&gateway, WEB), [""; 0]);
        api.apply(slice(&exported(), vec![endpoint(FIRST, Some(&next))]));
        leads_to(&gateway, WEB, &[&format!("{FIRST}:4143")]);
    }
}

#[test]
fn requests_to_a_meshed_pod_go_over_mutual_tls_too() {
    if inside("mesh::requests_to_a_meshed_pod_go_over_mutual_tls_too") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        api.create(exported());
        let mut pod = objects::meshed(objects::pod("test", "web-0", "web", FIRST), true);
        let meshed = http::meshed::Meshed::start_at(&ca.identity(WEB_0), FIRST, PORT);
        pod["spec"]["initContainers"][0]["ports"] = serde_json::json!([
            { "name": "linkerd-admin", "containerPort": 4191 },
            { "name": "linkerd-proxy", "containerPort": meshed.address.port() },
        ]);
        let pod = api.create(pod);
        api.create(slice(&exported(), vec![endpoint(FIRST, Some(&pod))]));
        let gateway = start(&ca, &api);
        let session =
            http::run(http::linkerd::Session::open_to(&Client::new(&ca), gateway.address, WEB));
        let answer = http::run(session.get("/")).expect("a response");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"meshed"[..]));
        assert_eq!(meshed.seen().len(), 1);
    }
}
