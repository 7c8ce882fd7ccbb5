use super::*;
use crate::model::discovery::object::{PodRef, Readiness, SliceEndpoint};
use crate::model::kubernetes::object::{EndpointPort, Protocol, ServicePort};

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn catalog(selectors: usize) -> Catalog {
    let rules =
        Rules { cluster_domain: "c".into(), trust_domain: "c".into(), zone: None, suffixes: None };
    Catalog::new(rules, selectors)
}

fn service(version: u64, port: u16) -> Service {
    let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port, target_port: None };
    Service { uid: "u".into(), version, ports: vec![port], ..Service::default() }
}

fn slice(service: &str, address: &str, pod: Option<&str>) -> Slice {
    let endpoint = SliceEndpoint {
        address: address.parse().expect("an address"),
        readiness: Readiness::Ready,
        hostname: None,
        pod: pod.map(|name| PodRef { name: name.into(), uid: "p".into() }),
        zones: None,
    };
    let port = EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 80 };
    Slice { service: service.into(), ports: vec![port], endpoints: vec![endpoint] }
}

fn list<T>(objects: Vec<(&str, T)>) -> Vec<WatchEvent<T>> {
    let listed = objects.into_iter().map(|(name, object)| WatchEvent::Listed(key(name), object));
    let mut events = vec![WatchEvent::ListBegins];
    events.extend(listed);
    events.push(WatchEvent::ListEnds);
    events
}

/// A catalog in which one Service is exported that has one endpoint.
fn complete() -> Catalog {
    let mut catalog = catalog(1);
    for event in list(vec![("web", service(1, 80))]) {
        catalog.service(0, event);
    }
    for event in list(vec![("web-1", slice("web", "10.0.0.1", Some("pod")))]) {
        catalog.slice(event);
    }
    let pod = Pod { uid: "p".into(), ..Pod::default() };
    list(vec![("pod", pod)]).into_iter().for_each(|event| catalog.pod(event));
    let changes = catalog.refresh();
    assert_eq!(changes.exported, [key("web")]);
    catalog
}

fn endpoints(catalog: &Catalog) -> Vec<String> {
    let routes = catalog.routes().flat_map(|route| &route.endpoints);
    routes.map(|endpoint| endpoint.address.to_string()).collect()
}

fn target(text: &str) -> Target {
    Target::parse(text).expect("a target")
}

#[test]
fn nothing_is_exported_before_every_list_is_complete() {
    let mut catalog = catalog(2);
    for event in list(vec![("web", service(1, 80))]) {
        catalog.service(0, event);
    }
    list(vec![]).into_iter().for_each(|event| catalog.slice(event));
    list(vec![]).into_iter().for_each(|event| catalog.pod(event));
    assert!(!catalog.is_complete() && !catalog.refresh().has_routes);
    list(vec![]).into_iter().for_each(|event| catalog.service(1, event));
    assert!(catalog.is_complete() && catalog.refresh().has_routes);
    assert_eq!(catalog.exported(), 1);
}

#[test]
fn a_list_that_breaks_takes_nothing_away_and_a_complete_one_does() {
    let mut catalog = complete();
    catalog.service(0, WatchEvent::ListBegins);
    catalog.service(0, WatchEvent::ListBegins);
    assert!(catalog.refresh().gone.is_empty() && catalog.exported() == 1);
    catalog.service(0, WatchEvent::ListEnds);
    let changes = catalog.refresh();
    assert_eq!(changes.unexported, [key("web")]);
    assert!(changes.gone.has(&target("web.ns.svc.c:80")));
    assert!(changes.gone.has(&target("host.web.ns.svc.c:80")), "and its hosts");
    assert!(!changes.gone.has(&target("web.ns.svc.c:81")));
    assert_eq!(catalog.exported(), 0);
    assert!(catalog.users_of.is_empty());
}

#[test]
fn a_service_is_exported_while_any_selector_has_it_in_its_newest_state() {
    let mut catalog = catalog(2);
    for selector in 0..2 {
        for event in list(vec![("web", service(1, 80))]) {
            catalog.service(selector, event);
        }
    }
    list(vec![]).into_iter().for_each(|event| catalog.slice(event));
    list(vec![]).into_iter().for_each(|event| catalog.pod(event));
    catalog.refresh();
    // The other watch is behind, and is not believed.
    catalog.service(1, WatchEvent::Applied(key("web"), service(2, 81)));
    let changes = catalog.refresh();
    assert!(changes.gone.has(&target("web.ns.svc.c:80")) && changes.unexported.is_empty());
    catalog.service(1, WatchEvent::Deleted(key("web")));
    assert!(catalog.refresh().unexported.is_empty());
    catalog.service(0, WatchEvent::Deleted(key("web")));
    assert_eq!(catalog.refresh().unexported, [key("web")]);
}

#[test]
fn an_endpoint_that_is_gone_takes_no_target_away() {
    let mut catalog = complete();
    assert_eq!(endpoints(&catalog), ["10.0.0.1:80"]);
    catalog.slice(WatchEvent::Deleted(key("web-1")));
    let changes = catalog.refresh();
    assert!(changes.has_routes && changes.gone.is_empty());
    assert!(endpoints(&catalog).is_empty() && catalog.slices_of.is_empty());
}

#[test]
fn a_pod_is_looked_at_for_the_services_that_name_it_only() {
    let mut catalog = complete();
    catalog.pod(WatchEvent::Applied(key("other"), Pod::default()));
    assert!(catalog.touched.is_empty());
    catalog.pod(WatchEvent::Deleted(key("pod")));
    assert!(catalog.refresh().has_routes && endpoints(&catalog).is_empty());
    let pod = Pod { uid: "p".into(), ..Pod::default() };
    catalog.pod(WatchEvent::Applied(key("pod"), pod));
    assert!(catalog.refresh().has_routes);
    assert_eq!(endpoints(&catalog), ["10.0.0.1:80"]);
}

#[test]
fn a_slice_may_change_its_service_and_those_of_others_touch_nothing() {
    let mut catalog = complete();
    catalog.slice(WatchEvent::Applied(key("x-1"), slice("x", "10.0.0.9", None)));
    assert!(catalog.touched.is_empty());
    catalog.slice(WatchEvent::Applied(key("web-1"), slice("x", "10.0.0.1", None)));
    catalog.refresh();
    assert!(endpoints(&catalog).is_empty());
    catalog.service(0, WatchEvent::Applied(key("x"), service(1, 80)));
    catalog.refresh();
    assert_eq!(endpoints(&catalog), ["10.0.0.1:80", "10.0.0.9:80"]);
}

#[test]
fn a_finding_is_told_once_and_again_when_it_changes() {
    let mut catalog = complete();
    let mut told = |allowed: &str, version| {
        let allowed_identities = Some(allowed.into());
        let service = Service { allowed_identities, ..service(version, 80) };
        catalog.service(0, WatchEvent::Applied(key("web"), service));
        let changes = catalog.refresh();
        (changes.findings.len(), changes.has_restrictions)
    };
    assert_eq!(told("a..b", 2), (1, true));
    assert_eq!(told("a..b", 3), (0, false));
    assert_eq!(told("a..c", 4), (1, false), "another mistake, and still nobody");
    assert_eq!(told("a.b", 5), (0, true));
    assert_eq!(told("a..c", 6), (1, true));
}
