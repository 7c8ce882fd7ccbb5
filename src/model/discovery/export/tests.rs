use super::*;
use crate::model::discovery::object::Mesh;
use crate::model::kubernetes::object::EndpointPort;

fn rules(zone: Option<&str>) -> Rules {
    Rules {
        cluster_domain: "east.local".into(),
        trust_domain: "trust.local".into(),
        zone: zone.map(Into::into),
        suffixes: None,
    }
}

fn service_port(name: &str, port: u16, protocol: Protocol) -> ServicePort {
    ServicePort { name: name.into(), protocol, port, target_port: None }
}

fn service(ports: &[(&str, u16)]) -> Service {
    let ports = ports.iter().map(|(name, port)| service_port(name, *port, Protocol::Tcp));
    Service { uid: "s".into(), ports: ports.collect(), ..Service::default() }
}

fn slice(ports: &[(&str, u16)], endpoints: Vec<SliceEndpoint>) -> Slice {
    let port = |(name, port): &(&str, u16)| EndpointPort {
        name: (*name).into(),
        protocol: Protocol::Tcp,
        port: *port,
    };
    Slice { service: "web".into(), ports: ports.iter().map(port).collect(), endpoints }
}

fn endpoint(address: &str) -> SliceEndpoint {
    SliceEndpoint {
        address: address.parse().expect("an address"),
        readiness: Readiness::Ready,
        hostname: None,
        pod: None,
        zones: None,
    }
}

fn of_pod(address: &str, pod: &str, uid: &str) -> SliceEndpoint {
    let pod = PodRef { name: pod.into(), uid: uid.into() };
    SliceEndpoint { pod: Some(pod), ..endpoint(address) }
}

fn with(endpoint: SliceEndpoint, readiness: Readiness) -> SliceEndpoint {
    SliceEndpoint { readiness, ..endpoint }
}

fn in_zone(endpoint: SliceEndpoint, zones: &[&str]) -> SliceEndpoint {
    let zones = zones.iter().map(|zone| Arc::from(*zone)).collect();
    SliceEndpoint { zones: Some(zones), ..endpoint }
}

fn plain_pod(uid: &str, address: &str) -> Pod {
    let addresses = vec![address.parse().expect("an address")];
    Pod { uid: uid.into(), addresses, mesh: None }
}

fn meshed_pod(uid: &str, address: &str, port: u16) -> Pod {
    let mesh = Mesh {
        service_account: "web".into(),
        control_plane: "linkerd".into(),
        port: Port::new(port).expect("not 0"),
    };
    Pod { mesh: Some(mesh), ..plain_pod(uid, address) }
}

fn export(service: &Service, slices: &[Slice], pods: &[(&str, Pod)], zone: Option<&str>) -> Export {
    let key = ObjectKey::new("ns", "web");
    let pod = |name: &str| pods.iter().find(|(pod, _)| *pod == name).map(|(_, pod)| pod);
    Export::new(&key, service, slices.iter(), pod, &rules(zone), None)
}

/// Each route in a line: `target -> address address@identity`, in short.
fn lines(export: &Export) -> Vec<String> {
    let route = |route: &Arc<Route>| {
        assert_eq!(route.source, RouteSource::Kubernetes);
        let mut line = format!("{} ->", route.target).replace(".ns.svc.east.local", "");
        for endpoint in &route.endpoints {
            line.push_str(&format!(" {}", endpoint.address));
            if let Some(onward) = &endpoint.onward {
                let account = onward.identity.as_str().split('.').next().unwrap_or_default();
                line.push_str(&format!("@{account}:{}", onward.port));
            }
        }
        line
    };
    export.routes.iter().map(route).collect()
}

#[test]
fn exactly_the_tcp_ports_are_exported_with_the_numbers_of_the_pods() {
    let mut service = service(&[("http", 80), ("metrics", 9090)]);
    service.ports.push(service_port("dns", 53, Protocol::Udp));
    // A named target port may have another number in other pods: they are in a slice of their own.
    let slices = [
        slice(&[("http", 8080), ("metrics", 9090), ("dns", 53)], vec![endpoint("10.0.0.1")]),
        slice(&[("http", 8081)], vec![endpoint("10.0.0.2")]),
    ];
    assert_eq!(
        lines(&export(&service, &slices, &[], None)),
        ["web:80 -> 10.0.0.1:8080 10.0.0.2:8081", "web:9090 -> 10.0.0.1:9090"]
    );
}

#[test]
fn a_port_without_a_name_is_that_without_a_name() {
    let slices = [slice(&[("", 8080)], vec![endpoint("10.0.0.1")])];
    let found = export(&service(&[("", 80)]), &slices, &[], None);
    assert_eq!(lines(&found), ["web:80 -> 10.0.0.1:8080"]);
    let found = export(&service(&[("http", 80)]), &slices, &[], None);
    assert_eq!(lines(&found), ["web:80 ->"]);
}

#[test]
fn both_families_are_endpoints() {
    let slices = [
        slice(&[("", 80)], vec![endpoint("10.0.0.1")]),
        slice(&[("", 80)], vec![endpoint("fd00::1")]),
    ];
    let found = export(&service(&[("", 80)]), &slices, &[], None);
    assert_eq!(lines(&found), ["web:80 -> 10.0.0.1:80 [fd00::1]:80"]);
}

#[test]
fn those_that_end_are_used_only_while_none_is_ready() {
    let ending = with(endpoint("10.0.0.1"), Readiness::Terminating);
    let down = with(endpoint("10.0.0.2"), Readiness::NotReady);
    let service = service(&[("", 80)]);
    let slices = [slice(&[("", 80)], vec![ending.clone(), down.clone()])];
    assert_eq!(lines(&export(&service, &slices, &[], None)), ["web:80 -> 10.0.0.1:80"]);
    let slices = [slice(&[("", 80)], vec![ending, down, endpoint("10.0.0.3")])];
    assert_eq!(lines(&export(&service, &slices, &[], None)), ["web:80 -> 10.0.0.3:80"]);
}

#[test]
fn hints_count_when_every_ready_endpoint_has_them_and_one_is_for_our_zone() {
    let service = service(&[("", 80)]);
    let a = || in_zone(endpoint("10.0.0.1"), &["a"]);
    let b = || in_zone(endpoint("10.0.0.2"), &["b", "c"]);
    let line =
        |endpoints, zone| lines(&export(&service, &[slice(&[("", 80)], endpoints)], &[], zone));
    assert_eq!(line(vec![a(), b()], Some("c")), ["web:80 -> 10.0.0.2:80"]);
    assert_eq!(line(vec![a(), b()], None), ["web:80 -> 10.0.0.1:80 10.0.0.2:80"]);
    assert_eq!(line(vec![a(), b()], Some("d")), ["web:80 -> 10.0.0.1:80 10.0.0.2:80"]);
    let without = endpoint("10.0.0.3");
    assert_eq!(
        line(vec![a(), b(), without], Some("a")),
        ["web:80 -> 10.0.0.1:80 10.0.0.2:80 10.0.0.3:80"]
    );
    // One that is not ready does not vouch for its zone.
    let down = with(a(), Readiness::NotReady);
    assert_eq!(line(vec![down, b()], Some("a")), ["web:80 -> 10.0.0.2:80"]);
}

#[test]
fn a_meshed_pod_is_reached_over_mutual_tls_and_one_that_is_not_known_yet_not_at_all() {
    let service = service(&[("", 80)]);
    let slices = [slice(
        &[("", 8080)],
        vec![of_pod("10.0.0.1", "a", "1"), of_pod("10.0.0.2", "b", "2"), endpoint("10.0.0.3")],
    )];
    let a = ("a", meshed_pod("1", "10.0.0.1", 4150));
    let b = ("b", plain_pod("2", "10.0.0.2"));
    let line = |pods: &[(&str, Pod)]| lines(&export(&service, &slices, pods, None)).remove(0);
    assert_eq!(line(&[]), "web:80 -> 10.0.0.3:8080");
    assert_eq!(line(std::slice::from_ref(&b)), "web:80 -> 10.0.0.2:8080 10.0.0.3:8080");
    assert_eq!(
        line(&[a.clone(), b]),
        "web:80 -> 10.0.0.1:8080@web:4150 10.0.0.2:8080 10.0.0.3:8080"
    );
    let found = export(&service, &slices, &[a], None);
    assert_eq!(found.pods.iter().map(|pod| &**pod).collect::<Vec<_>>(), ["a", "b"]);
    let identity = found.routes[0].endpoints[0].onward.as_ref().expect("meshed").identity.clone();
    assert_eq!(identity.as_str(), "web.ns.serviceaccount.identity.linkerd.trust.local");
}

#[test]
fn a_pod_of_the_same_name_that_took_another_s_place_is_not_taken_for_it() {
    let service = service(&[("", 80)]);
    let line = |endpoint, pod| {
        let slices = [slice(&[("", 80)], vec![endpoint])];
        lines(&export(&service, &slices, &[("web-0", pod)], None)).remove(0)
    };
    // The slice is ahead of the pods: the new one may be meshed.
    assert_eq!(line(of_pod("10.0.0.2", "web-0", "2"), plain_pod("1", "10.0.0.1")), "web:80 ->");
    // Without a uid the address tells.
    assert_eq!(line(of_pod("10.0.0.2", "web-0", ""), plain_pod("1", "10.0.0.1")), "web:80 ->");
    let same = line(of_pod("10.0.0.1", "web-0", ""), plain_pod("1", "10.0.0.1"));
    assert_eq!(same, "web:80 -> 10.0.0.1:80");
}

#[test]
fn a_meshed_pod_without_an_identity_gets_nothing_rather_than_plaintext() {
    let mut pod = meshed_pod("1", "10.0.0.1", 4143);
    pod.mesh.as_mut().expect("meshed").control_plane = "not a name".into();
    let slices = [slice(&[("", 80)], vec![of_pod("10.0.0.1", "a", "1")])];
    let found = export(&service(&[("", 80)]), &slices, &[("a", pod)], None);
    assert_eq!(lines(&found), ["web:80 ->"]);
    assert_eq!(found.findings, BTreeSet::from([Finding::NoIdentity("a".into())]));
}

#[test]
fn hosts_of_headless_services_are_reached_by_name() {
    let mut service = service(&[("", 80)]);
    service.kind = ServiceKind::Headless;
    let named = SliceEndpoint { hostname: Some("db-0".into()), ..endpoint("10.0.0.1") };
    let down = SliceEndpoint {
        hostname: Some("db-1".into()),
        readiness: Readiness::NotReady,
        ..endpoint("10.0.0.2")
    };
    let slices = [slice(
        &[("", 80)],
        vec![named, down, of_pod("10.0.0.3", "web-x", "3"), endpoint("10.0.0.4")],
    )];
    let found = export(&service, &slices, &[("web-x", plain_pod("3", "10.0.0.3"))], None);
    assert_eq!(
        lines(&found),
        [
            "web:80 -> 10.0.0.1:80 10.0.0.3:80 10.0.0.4:80",
            "db-0.web:80 -> 10.0.0.1:80",
            "db-1.web:80 ->",
            "web-x.web:80 -> 10.0.0.3:80",
        ]
    );
    // They are no names under another kind of Service.
    service.kind = ServiceKind::Address;
    assert_eq!(export(&service, &slices, &[], None).routes.len(), 1);
}

#[test]
fn a_pod_s_name_with_dots_is_no_host_because_the_end_of_the_export_would_not_reach_it() {
    let service = Service { kind: ServiceKind::Headless, ..service(&[("", 80)]) };
    let slices = [slice(&[("", 80)], vec![of_pod("10.0.0.3", "web.1", "3")])];
    let found = export(&service, &slices, &[("web.1", plain_pod("3", "10.0.0.3"))], None);
    assert_eq!(lines(&found), ["web:80 -> 10.0.0.3:80"]);
}

#[test]
fn an_alias_has_no_route_and_says_why() {
    let service = Service { kind: ServiceKind::ExternalName, ..service(&[("", 80)]) };
    let found = export(&service, &[], &[], None);
    assert!(found.routes.is_empty() && found.findings.contains(&Finding::ExternalName));
}

#[test]
fn addresses_that_lead_back_to_the_host_are_left_out() {
    let slices = [slice(&[("", 80)], vec![endpoint("127.0.0.1"), endpoint("10.0.0.1")])];
    let found = export(&service(&[("", 80)]), &slices, &[], None);
    assert_eq!(lines(&found), ["web:80 -> 10.0.0.1:80"]);
    let findings: Vec<_> = found.findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings, ["endpoint 127.0.0.1 is left out because it is a loopback address"]);
}

#[test]
fn annotations_narrow_and_a_wrong_one_denies_everybody() {
    let mut service = service(&[("http", 80), ("metrics", 9090), ("", 7)]);
    service.exported_ports = Some("http, 7".into());
    service.allowed_identities = Some("*.west".into());
    let found = export(&service, &[], &[], None);
    assert_eq!(lines(&found), ["web:80 ->", "web:7 ->"]);
    let who = crate::model::identity::Identity::parse("a.west").expect("an identity");
    let restriction = found.restriction().expect("one");
    assert!(restriction.allows(&who) && found.findings.is_empty());

    for (ports, identities, annotation) in [
        ("http, htpp", "*", EXPORTED_PORTS),
        ("81", "*", EXPORTED_PORTS),
        (" ", "*", EXPORTED_PORTS),
        ("http", "*.", ALLOWED_IDENTITIES),
        ("http", "", ALLOWED_IDENTITIES),
    ] {
        service.exported_ports = Some(ports.into());
        service.allowed_identities = Some(identities.into());
        let found = export(&service, &[], &[], None);
        assert!(!found.routes.is_empty());
        for route in &found.routes {
            assert!(!route.restriction.as_ref().expect("one").allows(&who), "{ports} {identities}");
        }
        let is_it = |finding: &Finding| matches!(finding, Finding::InvalidAnnotation { annotation: a, .. } if **a == *annotation);
        assert!(found.findings.iter().any(is_it), "{ports} {identities}");
    }
}

#[test]
fn what_did_not_change_is_the_same_route_and_endpoints_keep_their_state() {
    let service = service(&[("", 80), ("more", 81)]);
    let ports = [("", 80), ("more", 81)];
    let key = ObjectKey::new("ns", "web");
    let first = [slice(&ports, vec![endpoint("10.0.0.1")])];
    let old = Export::new(&key, &service, first.iter(), |_| None, &rules(None), None);
    old.routes[0].endpoints[0].state.opened();
    let again = Export::new(&key, &service, first.iter(), |_| None, &rules(None), Some(&old));
    assert!(Arc::ptr_eq(&again.routes[0], &old.routes[0]));
    let more = [slice(&ports, vec![endpoint("10.0.0.2"), endpoint("10.0.0.1")])];
    let new = Export::new(&key, &service, more.iter(), |_| None, &rules(None), Some(&old));
    assert!(!Arc::ptr_eq(&new.routes[0], &old.routes[0]));
    let open: Vec<_> = new.routes[0].endpoints.iter().map(|e| e.state.open()).collect();
    assert_eq!(open, [1, 0]);
}

#[test]
fn suffixes_end_at_a_label() {
    let rules = Rules { suffixes: Some(vec!["ns.svc.east.local".into()]), ..rules(None) };
    assert!(rules.may_export("web.ns.svc.east.local"));
    assert!(
        !rules.may_export("web.xns.svc.east.local")
            && !rules.may_export("web.other.svc.east.local")
    );
}
