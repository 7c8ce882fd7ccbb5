//! Certificates of a trusted authority that name nobody, several, or something that is no name.
//! TLS has nothing against them, so their owners see a reset.

use rustls::AlertDescription;

use super::support::certs::{DNS, EMAIL, IP, LeafBuilder, URI};
use super::support::client::Client;
use super::support::gateway::CLIENT;
use super::support::probe::{Ending, Probe};

#[test]
fn a_certificate_without_a_name_is_refused() {
    let mut probe = Probe::new();
    refuse(
        &mut probe,
        "identity_missing",
        &[
            &|leaf| leaf,
            &|leaf| leaf.common_name(CLIENT),
            &|leaf| leaf.raw_name(EMAIL, b"client@example.com"),
            &|leaf| leaf.raw_name(IP, &[127, 0, 0, 1]),
            &|leaf| leaf.uri("https://cluster.local/client"),
            &|leaf| leaf.raw_names_extension(&[0x30, 0]),
        ],
    );
}

#[test]
fn a_certificate_with_two_names_is_refused() {
    let mut probe = Probe::new();
    refuse(
        &mut probe,
        "identity_ambiguous",
        &[
            &|leaf| leaf.dns(CLIENT).dns("other.example"),
            &|leaf| leaf.dns(CLIENT).dns(CLIENT),
            &|leaf| leaf.uri("spiffe://td/a").uri("spiffe://td/b"),
            &|leaf| leaf.uri("spiffe://td/a").uri("https://td/b").dns(CLIENT),
        ],
    );
}

#[test]
fn a_wildcard_is_nobody() {
    let mut probe = Probe::new();
    refuse(
        &mut probe,
        "identity_malformed",
        &[
            &|leaf| leaf.dns("*.default.serviceaccount.identity.linkerd.cluster.local"),
            &|leaf| leaf.dns("*"),
            &|leaf| leaf.dns("client.*.cluster.local"),
            &|leaf| leaf.uri("spiffe://*/ns/a"),
        ],
    );
}

#[test]
fn a_malformed_name_is_refused_also_beside_a_good_one() {
    let mut probe = Probe::new();
    refuse(
        &mut probe,
        "identity_malformed",
        &[
            &|leaf| leaf.raw_name(DNS, b"\xff\xfe\x00\x01"),
            &|leaf| leaf.raw_name(DNS, "clïent.example".as_bytes()),
            &|leaf| leaf.raw_name(DNS, b"client.example\0.evil.example"),
            &|leaf| leaf.raw_name(DNS, b""),
            &|leaf| leaf.dns(&format!("{CLIENT}.")),
            &|leaf| leaf.dns("client..example"),
            &|leaf| leaf.dns("10.0.0.1"),
            &|leaf| leaf.dns(&"a".repeat(64)),
            &|leaf| leaf.dns(&["a"; 200].join(".")),
            &|leaf| leaf.dns(CLIENT).raw_name(DNS, b"\xff"),
            &|leaf| leaf.raw_name(DNS, b"\xff").dns(CLIENT),
            &|leaf| leaf.dns(CLIENT).raw_name(URI, b"\xff"),
            &|leaf| leaf.uri("spiffe://td/a/../b"),
            &|leaf| leaf.uri("spiffe://td/a").raw_name(DNS, b"\xff"),
            &|leaf| leaf.uri("SPIFFE://td/a").dns(CLIENT),
            &|leaf| leaf.uri("spiffe://td:443/a"),
            &|leaf| leaf.uri("spiffe:td"),
        ],
    );
}

#[test]
fn a_names_extension_that_is_no_list_of_names_is_refused() {
    let mut probe = Probe::new();
    let null = Client::with(&probe.ca, Some(&probe.ca.leaf().raw_names_extension(&[5, 0]).issue()));
    let alert = Ending::Alert(AlertDescription::BadCertificate);
    probe.refuses(&null, "certificate_invalid", &alert);
    // An element of another kind; one cut off after a good one; a length that is no length.
    let odd =
        [&[0x30, 2, 0x05, 0][..], &[0x30, 5, 0x82, 1, b'a', 0x82, 9], &[0x30, 3, 0x82, 0x80, 0]];
    for (value, label) in
        odd.into_iter().zip(["identity_missing", "identity_malformed", "identity_malformed"])
    {
        let leaf = probe.ca.leaf().raw_names_extension(value).issue();
        let client = Client::with(&probe.ca, Some(&leaf));
        probe.refuses(&client, label, &Ending::Reset);
    }
    probe.serves();
}

#[test]
fn a_name_cannot_forge_a_log_line() {
    let mut probe = Probe::new();
    let name = b"a\n{\"target\":\"access\",\"outcome\":\"closed\"}\x1b[2J";
    let leaf = probe.ca.leaf().raw_name(DNS, name).common_name("forged\nname").issue();
    let client = Client::with(&probe.ca, Some(&leaf));
    probe.refuses(&client, "identity_malformed", &Ending::Reset);
    probe.serves();
    let closed = probe.gateway.lines().into_iter().filter(|line| line["outcome"] == "closed");
    assert_eq!(closed.count(), 1);
}

type Describe<'d> = &'d dyn for<'c> Fn(LeafBuilder<'c>) -> LeafBuilder<'c>;

fn refuse(probe: &mut Probe, label: &str, leaves: &[Describe<'_>]) {
    for describe in leaves {
        let leaf = describe(probe.ca.leaf()).issue();
        let client = Client::with(&probe.ca, Some(&leaf));
        let line = probe.refuses(&client, label, &Ending::Reset);
        assert!(line["identity"].is_null(), "{line}");
    }
    probe.serves();
}
