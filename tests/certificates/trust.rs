//! Anchors bound to trust domains, and what a returning client is believed.

use rustls::AlertDescription as Alert;

use super::support::certs::TestCa;
use super::support::client::{Client, header_for};
use super::support::gateway::CLIENT;
use super::support::probe::{ECHO, Ending, Probe};

const EAST: &str = "web.ns.serviceaccount.identity.linkerd.east.example";
const WEST: &str = "spiffe://west.example/ns/web";

/// An `[identity]` section that trusts these files.
pub fn identity(anchors: &[&str]) -> String {
    format!(
        "[identity]\ncertificate = \"gateway/tls.crt\"\nkey = \"gateway/tls.key\"\n\
         trust_anchors = {anchors:?}\npoll_interval = \"50ms\""
    )
}

#[test]
fn an_anchor_vouches_for_its_own_trust_domains_only() {
    let (east, west) = (TestCa::new("east"), TestCa::new("west"));
    let mut probe = Probe::with(|builder, _| {
        east.write_anchor(builder.path(), "east.crt");
        west.write_anchor(builder.path(), "west.crt");
        builder.configure(&identity(&["ca.crt"])).configure(
            "[[identity.trust]]\nanchors = [\"east.crt\"]\ntrust_domains = [\"east.example\"]\n\
             [[identity.trust]]\nanchors = [\"west.crt\"]\ntrust_domains = [\"west.example\"]",
        )
    });
    for (ca, name) in [(&east, EAST), (&west, WEST)] {
        let client = Client::with(&probe.ca, Some(&ca.identity(name)));
        assert_eq!(probe.carries(&client, &header_for(ECHO, None))["identity"], name);
    }
    let unbound = TestCa::new("unused");
    for (ca, name) in [
        (&east, WEST),
        (&west, EAST),
        (&east, CLIENT),
        (&east, "web.ns.serviceaccount.identity.linkerd.sub.east.example"),
        (&east, "spiffe://noteast.example/a"),
    ] {
        let client = Client::with(&probe.ca, Some(&ca.identity(name)));
        // Twice: a refusal is not remembered as a success.
        for _ in 0..2 {
            let line = probe.refuses(&client, "identity_outside_trust_domain", &Ending::Reset);
            assert!(line["identity"].is_null(), "{line}");
        }
    }
    // The unbound anchor may not vouch for a bound domain either.
    let client = Client::with(&probe.ca, Some(&probe.ca.identity(EAST)));
    probe.refuses(&client, "identity_outside_trust_domain", &Ending::Reset);
    drop(unbound);
    probe.serves();
}

#[test]
fn a_known_chain_is_worth_nothing_without_its_key() {
    let mut probe = Probe::new();
    let leaf = probe.ca.identity(CLIENT);
    let client = Client::with(&probe.ca, Some(&leaf));
    for _ in 0..3 {
        probe.carries(&client, &header_for(ECHO, None));
    }
    let mut stolen = leaf;
    stolen.key = probe.ca.identity(CLIENT).key;
    let thief = Client::with(&probe.ca, Some(&stolen));
    probe.refuses(&thief, "tls_failed", &Ending::Alert(Alert::DecryptError));
    probe.serves();
}

#[test]
fn a_known_leaf_is_worth_nothing_on_another_chain() {
    let mut probe = Probe::new();
    let leaf = probe.ca.identity(CLIENT);
    for _ in 0..2 {
        probe.carries(&Client::with(&probe.ca, Some(&leaf)), &header_for(ECHO, None));
    }
    let mut leaf = leaf;
    for issuers in ["", &TestCa::new("other").issuers, &TestCa::new("ca").issuers] {
        leaf.chain = format!("{}{issuers}", leaf.certificate);
        let client = Client::with(&probe.ca, Some(&leaf));
        probe.refuses(&client, "certificate_untrusted", &Ending::Alert(Alert::UnknownCA));
    }
    probe.serves();
}

#[test]
fn a_known_chain_is_refused_once_its_anchor_is_gone() {
    let other = TestCa::new("other");
    let mut probe = Probe::with(|builder, _| {
        other.write_anchor(builder.path(), "other.crt");
        builder.configure(&identity(&["ca.crt", "other.crt"]))
    });
    let client = Client::with(&probe.ca, Some(&other.identity(CLIENT)));
    for _ in 0..2 {
        probe.carries(&client, &header_for(ECHO, None));
    }
    // The same connection's config would resume if it could: nobody may.
    probe.ca.write_anchor(probe.gateway.directory.path(), "other.crt");
    probe.gateway.line("the reload", |line| line["generation"] == 2);
    let alert = Ending::Alert(Alert::UnknownCA);
    probe.refuses(&client, "certificate_untrusted", &alert);
    probe.serves();
    // And believed again when the anchor is back.
    other.write_anchor(probe.gateway.directory.path(), "other.crt");
    probe.gateway.line("the reload", |line| line["generation"] == 3);
    probe.carries(&client, &header_for(ECHO, None));
}

#[test]
fn no_key_ever_appears_in_log_or_admin() {
    let probe = Probe::new();
    let file = probe.gateway.file("gateway/tls.key");
    let key = std::fs::read_to_string(&file).expect("a key");
    let secret = key.lines().nth(1).expect("base64");
    for broken in [
        key.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY----"),
        key.replace("-----BEGIN PRIVATE KEY-----", ""),
        key.replace("-----END PRIVATE KEY-----", ""),
        key.replace('\n', " "),
        key.replacen(secret, &format!("{secret}!"), 1),
        probe.ca.identity(CLIENT).key,
    ] {
        std::fs::write(&file, &broken).expect("written");
        wait(&probe, "credentials refused");
        let log = format!("{:?}", probe.gateway.lines());
        for text in [log, probe.gateway.get("/certs"), probe.gateway.get("/config_dump")] {
            assert!(!text.contains(&secret[..16]), "{text}");
        }
        std::fs::write(&file, &key).expect("written");
        wait(&probe, "credential files are again those in use");
    }
}

/// Waits until the newest line about credentials begins with `message`.
fn wait(probe: &Probe, message: &str) {
    probe.gateway.eventually(message, |gateway| {
        let lines = gateway.lines();
        let mut messages = lines.iter().rev().filter_map(|line| line["message"].as_str());
        messages.find(|m| m.starts_with("credential")).is_some_and(|m| m.starts_with(message))
    });
}
