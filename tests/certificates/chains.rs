//! Chains that lead nowhere, have expired or break a rule: refused in the handshake, with an alert.

use rustls::AlertDescription as Alert;

use super::support::certs::{Key, TestCa, TestLeaf, Usage};
use super::support::client::{Client, header_for};
use super::support::gateway::CLIENT;
use super::support::probe::{ECHO, Ending, Probe};
use super::trust::identity;

const HOUR: i64 = 3600;

#[test]
fn a_client_without_a_certificate_is_refused() {
    let mut probe = Probe::new();
    let client = Client::with(&probe.ca, None);
    let alert = Ending::Alert(Alert::CertificateRequired);
    probe.refuses(&client, "certificate_missing", &alert);
    probe.refuses_bytes(&client.alpn(&[]), b"", "certificate_missing", &alert);
    probe.serves();
}

#[test]
fn another_authority_is_not_believed_even_under_the_same_name() {
    let mut probe = Probe::new();
    for other in [TestCa::new("other"), TestCa::new("ca"), TestCa::with_depth("ca", 0)] {
        let client = Client::with(&probe.ca, Some(&other.identity(CLIENT)));
        let alert = Ending::Alert(Alert::UnknownCA);
        let line = probe.refuses(&client, "certificate_untrusted", &alert);
        assert!(line["identity"].is_null(), "an unproven name is not logged as identity: {line}");
    }
    probe.serves();
}

#[test]
fn another_authority_is_not_believed_for_its_anchor_in_the_chain() {
    let mut probe = Probe::new();
    let other = TestCa::new("other");
    let mut leaf = other.identity(CLIENT);
    leaf.chain += &other.anchor;
    leaf.chain += &probe.ca.issuers;
    leaf.chain += &probe.ca.anchor;
    let client = Client::with(&probe.ca, Some(&leaf));
    probe.refuses(&client, "certificate_untrusted", &Ending::Alert(Alert::UnknownCA));
    probe.serves();
}

#[test]
fn a_leaf_without_its_intermediates_leads_to_no_anchor() {
    let mut probe = Probe::new();
    let leaf = probe.ca.leaf().dns(CLIENT).without_issuers().issue();
    let client = Client::with(&probe.ca, Some(&leaf));
    probe.refuses(&client, "certificate_untrusted", &Ending::Alert(Alert::UnknownCA));
    probe.serves();
}

#[test]
fn certificates_outside_their_validity_are_refused() {
    let mut probe = Probe::new();
    let expired = probe.ca.leaf().dns(CLIENT).expired().issue();
    let future = probe.ca.leaf().dns(CLIENT).not_yet_valid().issue();
    let alert = Ending::Alert(Alert::CertificateExpired);
    probe.refuses(&client(&probe, &expired), "certificate_expired", &alert);
    probe.refuses(&client(&probe, &future), "certificate_not_yet_valid", &alert);
    probe.serves();
}

#[test]
fn issuers_and_anchors_outside_their_validity_are_refused() {
    let (good, expired, future) = ((-HOUR, HOUR), (-2 * HOUR, -HOUR), (HOUR, 2 * HOUR));
    let old_issuer = TestCa::with_validity("a", &[good], expired);
    let future_issuer = TestCa::with_validity("b", &[good], future);
    let old_anchor = TestCa::with_validity("c", &[expired], good);
    let future_anchor = TestCa::with_validity("d", &[future], good);
    let mut probe = Probe::with(|builder, _| {
        let all = [&old_issuer, &future_issuer, &old_anchor, &future_anchor];
        let anchors: String = all.iter().map(|ca| ca.anchor.as_str()).collect();
        std::fs::write(builder.path().join("odd.crt"), anchors).expect("written");
        builder.configure(&identity(&["ca.crt", "odd.crt"]))
    });
    let alert = Ending::Alert(Alert::CertificateExpired);
    for (ca, label) in [
        (&old_issuer, "certificate_expired"),
        (&future_issuer, "certificate_not_yet_valid"),
        (&old_anchor, "certificate_expired"),
        (&future_anchor, "certificate_not_yet_valid"),
    ] {
        probe.refuses(&client(&probe, &ca.identity(CLIENT)), label, &alert);
    }
    probe.serves();
}

#[test]
fn an_anchor_renewed_with_its_key_vouches_although_the_expired_one_is_still_listed() {
    let (good, expired) = ((-HOUR, HOUR), (-2 * HOUR, -HOUR));
    for anchors in [[expired, good], [good, expired]] {
        let renewed = TestCa::with_validity("renewed", &anchors, good);
        let mut probe = Probe::with(|builder, _| {
            renewed.write_anchor(builder.path(), "renewed.crt");
            builder.configure(&identity(&["ca.crt", "renewed.crt"]))
        });
        let client = client(&probe, &renewed.identity(CLIENT));
        probe.carries(&client, &header_for(ECHO, None));
    }
}

#[test]
fn certificates_for_another_use_are_refused() {
    let mut probe = Probe::new();
    for usage in [Usage::Server, Usage::CodeSigning] {
        let leaf = probe.ca.leaf().dns(CLIENT).usage(usage).issue();
        invalid(&mut probe, &leaf);
    }
    probe.serves();
}

#[test]
fn an_authority_is_no_client() {
    let mut probe = Probe::new();
    let leaf = probe.ca.leaf().dns(CLIENT).authority().issue();
    invalid(&mut probe, &leaf);
    probe.serves();
}

#[test]
fn a_leaf_is_no_authority() {
    // A leaf that signs: its owner would vouch for anybody.
    let mut probe = Probe::new();
    let (leaf, forged) = probe.ca.leaf().dns(CLIENT).issue_below("somebody.else.example");
    probe.carries(&client(&probe, &leaf), &header_for(ECHO, None));
    let client = client(&probe, &forged);
    let (line, seen) = probe.attack("certificate_invalid", |address| {
        super::support::probe::tls_ending(&client, address, &header_for(ECHO, None))
    });
    assert!(matches!(seen, Ending::Alert(_)), "{seen:?} {line}");
    probe.serves();
}

#[test]
fn a_chain_ten_deep_is_refused_and_one_of_six_is_not() {
    let (six, ten) = (TestCa::with_depth("six", 5), TestCa::with_depth("ten", 9));
    let mut probe = Probe::with(|builder, _| {
        let anchors = format!("{}{}", six.anchor, ten.anchor);
        std::fs::write(builder.path().join("deep.crt"), anchors).expect("written");
        builder.configure(&identity(&["ca.crt", "deep.crt"]))
    });
    invalid(&mut probe, &ten.identity(CLIENT));
    let client = client(&probe, &six.identity(CLIENT));
    probe.carries(&client, &header_for(ECHO, None));
}

#[test]
fn a_certificate_without_its_key_is_worth_nothing() {
    let mut probe = Probe::new();
    for key in Key::ALL {
        let leaf = probe.ca.leaf().dns(CLIENT).key(key).wrong_key().issue();
        let alert = Ending::Alert(Alert::DecryptError);
        probe.refuses(&client(&probe, &leaf), "tls_failed", &alert);
    }
    probe.serves();
}

#[test]
fn a_key_of_another_kind_is_refused_too() {
    let mut probe = Probe::new();
    let mut leaf = probe.ca.identity(CLIENT);
    for key in [Key::Ed25519, Key::P384, Key::Rsa2048] {
        leaf.key = probe.ca.leaf().dns(CLIENT).key(key).issue().key;
        let client = client(&probe, &leaf);
        let (line, seen) = probe.attack("tls_failed", |address| {
            super::support::probe::tls_ending(&client, address, &header_for(ECHO, None))
        });
        assert!(matches!(seen, Ending::Alert(_)), "{seen:?} {line}");
    }
    probe.serves();
}

fn client(probe: &Probe, leaf: &TestLeaf) -> Client {
    Client::with(&probe.ca, Some(leaf))
}

fn invalid(probe: &mut Probe, leaf: &TestLeaf) {
    let client = client(probe, leaf);
    let alert = Ending::Alert(Alert::CertificateUnknown);
    let line = probe.refuses(&client, "certificate_invalid", &alert);
    assert!(line["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{line}");
}
