//! Good certificates of every kind carry bytes.

use super::support::certs::{Key, TestCa, Usage};
use super::support::client::{Client, header_for};
use super::support::gateway::CLIENT;
use super::support::probe::{ECHO, Probe};

const NO_HEADER: &[u8] = b"";

#[test]
fn clients_with_keys_of_every_kind_are_served() {
    let mut probe = Probe::new();
    for key in Key::ALL {
        let leaf = probe.ca.leaf().dns(CLIENT).key(key).issue();
        let client = Client::with(&probe.ca, Some(&leaf));
        let line = probe.carries(&client, &header_for(ECHO, None));
        assert_eq!(line["identity"], CLIENT, "{key:?}");
        assert_eq!(line["transport_header"], true);
    }
}

#[test]
fn authorities_with_keys_of_every_kind_vouch() {
    let others = Key::ALL.map(|key| TestCa::with(&format!("{key:?}"), 1, key));
    let mut probe = Probe::with(|builder, _| {
        let anchors = others.iter().map(|ca| ca.anchor.as_str()).collect::<String>();
        std::fs::write(builder.path().join("others.crt"), anchors).expect("written");
        builder.configure(super::trust::identity(&["ca.crt", "others.crt"]).as_str())
    });
    for other in &others {
        let client = Client::with(&probe.ca, Some(&other.identity(CLIENT)));
        assert_eq!(probe.carries(&client, &header_for(ECHO, None))["identity"], CLIENT);
    }
}

#[test]
fn a_spiffe_id_is_the_identity_whatever_dns_names_stand_beside_it() {
    let mut probe = Probe::new();
    let id = "spiffe://cluster.local/ns/default/sa/client";
    let leaf = probe.ca.leaf().dns("one.example").uri(id).dns("two.example").issue();
    let client = Client::with(&probe.ca, Some(&leaf));
    assert_eq!(probe.carries(&client, &header_for(ECHO, None))["identity"], id);
}

#[test]
fn a_usage_that_allows_clients_is_enough_and_none_limits_nothing() {
    let mut probe = Probe::new();
    for usage in [Usage::Both, Usage::Client, Usage::NotLimited] {
        let leaf = probe.ca.leaf().dns(CLIENT).usage(usage).issue();
        let client = Client::with(&probe.ca, Some(&leaf));
        assert_eq!(probe.carries(&client, &header_for(ECHO, None))["identity"], CLIENT);
    }
}

#[test]
fn a_dns_identity_is_compared_in_lower_case() {
    let mut probe = Probe::new();
    let client = Client::with(&probe.ca, Some(&probe.ca.identity(&CLIENT.to_uppercase())));
    assert_eq!(probe.carries(&client, &header_for(ECHO, None))["identity"], CLIENT);
}

#[test]
fn a_plain_client_reaches_the_route_of_its_server_name_with_that_routes_certificate() {
    let public = TestCa::new("public");
    let mut probe = Probe::with(|builder, echo| {
        let leaf = public.leaf().dns("echo.example.com").issue();
        leaf.write_to(&builder.path().join("route"));
        builder.configure(&format!(
            "[[route]]\ntarget = \"public.test.svc.cluster.local:7\"\nendpoints = [\"{echo}\"]\n\
             sni = [\"echo.example.com\"]\ncertificate = \"route/tls.crt\"\nkey = \"route/tls.key\""
        ))
    });
    // It trusts the other authority only, so the gateway's own certificate would not do.
    let client = Client::with(&public, Some(&probe.ca.identity(CLIENT)));
    for name in ["echo.example.com", "ECHO.example.COM"] {
        let line = probe.carries(&client.clone().server_name(name).alpn(&[]), NO_HEADER);
        assert_eq!((&line["sni"], &line["identity"]), (&"echo.example.com".into(), &CLIENT.into()));
        assert_eq!(line["route"], "public.test.svc.cluster.local:7");
        assert_eq!(line["transport_header"], false);
    }
    let stranger = probe.client().alpn(&[]);
    probe.refuses_bytes(&stranger, b"", "unknown_target", &super::support::probe::Ending::Reset);
}

#[test]
fn a_plain_client_without_a_route_of_its_own_reaches_the_default_route() {
    let mut probe = Probe::with(|builder, echo| {
        builder.configure(&format!(
            "[[route]]\ntarget = \"default.test.svc.cluster.local:7\"\nendpoints = [\"{echo}\"]\n\
             default = true"
        ))
    });
    // Protocols that are not ours are ignored: nothing is negotiated and nothing refused.
    for protocols in [&[][..], &[b"h2".as_slice()], &[b"http/1.1"], &[b"h2", b"http/1.1"]] {
        let line = probe.carries(&probe.client().alpn(protocols), NO_HEADER);
        assert_eq!(line["route"], "default.test.svc.cluster.local:7");
    }
}
