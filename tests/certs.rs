//! `certs` on the real binary: what it writes works, and nothing is overwritten unasked.

#![allow(clippy::expect_used, reason = "test code")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use support::certs::{Key, TestCa, TestLeaf};
use support::cli::{field, gateway, openssl, refused, succeeds, text};

mod support;

const GATEWAY: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";
const FILES: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "client/tls.crt",
    "client/tls.key",
    "gateway/tls.crt",
    "gateway/tls.key",
    "issuer.crt",
    "issuer.key",
];

fn certs(out: &Path, arguments: &[&str]) -> Output {
    let out = out.to_str().expect("UTF-8");
    gateway(&[&["certs", "--out", out], arguments].concat(), b"")
}

/// Every file below `root` with its content.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned();
            match path.is_dir() {
                true => pending.push(path),
                false => drop(files.insert(name, fs::read(&path).expect("a file"))),
            }
        }
    }
    files
}

fn verify(directory: &Path, leaf: &str) {
    let chain = ["-CAfile", "ca.crt", "-untrusted", "issuer.crt"];
    for purpose in ["sslserver", "sslclient"] {
        let strict = ["-x509_strict", "-purpose", purpose, leaf];
        openssl(directory, &[&["verify"], &chain[..], &strict[..]].concat());
    }
}

fn identity_of(path: &Path) -> Vec<String> {
    let explained = succeeds(&gateway(&["inspect", "cert", path.to_str().expect("UTF-8")], b""));
    assert_eq!(field(&explained, "refused"), [] as [&str; 0], "{explained}");
    field(&explained, "identity")
}

#[test]
fn writes_all_files_and_keeps_keys_private() {
    let directory = TempDir::new().expect("a directory");
    let out = directory.path().join("new/certs");
    let printed = succeeds(&certs(&out, &[]));
    assert!(tree(&out).keys().map(String::as_str).eq(FILES), "{:?}", tree(&out).keys());
    for name in FILES {
        assert!(printed.contains(&format!("wrote {}\n", out.join(name).display())), "{printed}");
        let mode = fs::metadata(out.join(name)).expect("a file").permissions().mode() & 0o777;
        match name.ends_with(".key") {
            true => assert_eq!(mode, 0o600, "{name}"),
            false => assert_eq!(mode & 0o444, 0o444, "{name}"),
        }
    }
    assert_eq!(printed.lines().filter(|line| line.starts_with("next: ")).count(), 1);
}

#[test]
fn openssl_verifies_the_chain_and_the_keys() {
    let directory = TempDir::new().expect("a directory");
    let out = directory.path();
    succeeds(&certs(out, &[]));
    for leaf in ["gateway", "client"] {
        verify(out, &format!("{leaf}/tls.crt"));
        let own = openssl(out, &["pkey", "-in", &format!("{leaf}/tls.key"), "-pubout"]);
        let certified =
            openssl(out, &["x509", "-in", &format!("{leaf}/tls.crt"), "-noout", "-pubkey"]);
        assert_eq!(own, certified);
        let chain = fs::read_to_string(out.join(leaf).join("tls.crt")).expect("a file");
        assert!(chain.ends_with(&fs::read_to_string(out.join("issuer.crt")).expect("a file")));
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    }
    let shown = openssl(out, &["x509", "-in", "client/tls.crt", "-noout", "-text"]);
    for part in [
        "ASN1 OID: prime256v1",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "CA:FALSE",
        "Digital Signature",
        &format!("DNS:{CLIENT}\n"),
        &format!("Subject: CN = {CLIENT}\n"),
    ] {
        let spaces_differ = part.replace(" = ", "=");
        assert!(shown.contains(part) || shown.contains(&spaces_differ), "{part} in {shown}");
    }
    let issuer = openssl(out, &["x509", "-in", "issuer.crt", "-noout", "-text"]);
    assert!(issuer.contains("CA:TRUE, pathlen:0"), "{issuer}");
    assert!(issuer.contains("identity.linkerd.cluster.local"), "{issuer}");
}

#[test]
fn inspect_reads_back_the_identity_that_was_asked_for() {
    let directory = TempDir::new().expect("a directory");
    let read = |out: &str| {
        let at = directory.path().join(out);
        [identity_of(&at.join("gateway/tls.crt")), identity_of(&at.join("client/tls.crt"))]
    };
    succeeds(&certs(&directory.path().join("default"), &[]));
    assert_eq!(read("default"), [[GATEWAY], [CLIENT]]);
    succeeds(&certs(&directory.path().join("domain"), &["--trust-domain", "east.example"]));
    assert_eq!(
        read("domain"),
        [
            ["linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.east.example"],
            ["client.default.serviceaccount.identity.linkerd.east.example"]
        ]
    );
    let spiffe = ["--spiffe", "--trust-domain", "east.example"];
    succeeds(&certs(&directory.path().join("spiffe"), &spiffe));
    assert_eq!(
        read("spiffe"),
        [
            ["spiffe://east.example/ns/linkerd-multicluster/sa/linkerd-gateway"],
            ["spiffe://east.example/ns/default/sa/client"]
        ]
    );
    verify(&directory.path().join("spiffe"), "gateway/tls.crt");
    let chosen = ["--identity", "GW.Example", "--client-identity", "spiffe://td/a"];
    succeeds(&certs(&directory.path().join("chosen"), &chosen));
    assert_eq!(read("chosen"), [["gw.example"], ["spiffe://td/a"]]);
}

#[test]
fn a_long_trust_domain_still_verifies() {
    let directory = TempDir::new().expect("a directory");
    let domain = ["long"; 30].join(".");
    succeeds(&certs(directory.path(), &["--trust-domain", &domain]));
    verify(directory.path(), "gateway/tls.crt");
}

#[test]
fn overwrites_nothing_without_force() {
    let directory = TempDir::new().expect("a directory");
    let out = directory.path();
    fs::create_dir(out.join("client")).expect("a directory");
    fs::write(out.join("client/tls.key"), "precious").expect("a file");
    let before = tree(out);
    refused(&certs(out, &[]), "client/tls.key");
    assert_eq!(tree(out), before, "nothing changes");

    succeeds(&certs(out, &["--force"]));
    let first = tree(out);
    refused(&certs(out, &[]), "--force replaces them");
    assert_eq!(tree(out), first);
    succeeds(&certs(out, &["--force"]));
    let second = tree(out);
    assert!(FILES.iter().all(|name| first[*name] != second[*name]));
    verify(out, "gateway/tls.crt");
}

#[test]
fn a_failure_changes_nothing() {
    let directory = TempDir::new().expect("a directory");
    let out = directory.path();
    succeeds(&certs(out, &[]));
    let before = tree(out);
    // The last file of the set cannot be written, although overwriting is allowed.
    fs::write(out.join("web"), "a file where a directory has to be").expect("a file");
    let (_, error, code) =
        text(&certs(out, &["--force", "--leaf", "new/one=a.b", "--leaf", "web=c.d"]));
    assert_eq!(code, Some(70), "{error}");
    assert!(!out.join("new").exists(), "no half of it stays");
    fs::remove_file(out.join("web")).expect("removed");
    assert_eq!(tree(out), before);

    fs::remove_file(out.join("client/tls.key")).expect("removed");
    fs::create_dir(out.join("client/tls.key")).expect("a directory");
    let before = tree(out);
    let (_, error, code) = text(&certs(out, &["--force"]));
    assert_eq!(code, Some(70), "{error}");
    assert!(error.contains("client/tls.key is a directory"), "{error}");
    assert_eq!(tree(out), before);
}

#[test]
fn a_further_leaf_is_signed_by_the_existing_issuer() {
    let directory = TempDir::new().expect("a directory");
    let out = directory.path();
    succeeds(&certs(out, &[]));
    fs::remove_file(out.join("ca.key")).expect("the anchor's key may be elsewhere");
    let before = tree(out);
    let web = "web=web.example,*.web.example";
    let other = "other/one=spiffe://cluster.local/ns/a/sa/b";
    succeeds(&certs(out, &["--leaf", web, "--leaf", other]));
    let mut after = tree(out);
    for name in ["web/tls.crt", "web/tls.key", "other/one/tls.crt", "other/one/tls.key"] {
        assert!(after.remove(name).is_some(), "{name}");
    }
    assert_eq!(after, before, "the authority and its leaves stay");
    verify(out, "web/tls.crt");
    verify(out, "other/one/tls.crt");
    assert_eq!(identity_of(&out.join("other/one/tls.crt")), ["spiffe://cluster.local/ns/a/sa/b"]);
    let shown = openssl(out, &["x509", "-in", "web/tls.crt", "-noout", "-ext", "subjectAltName"]);
    assert!(shown.contains("DNS:web.example, DNS:*.web.example"), "{shown}");

    refused(&certs(out, &["--leaf", web]), "web/tls.crt");
    succeeds(&certs(out, &["--leaf", "gateway=renewed.example", "--force"]));
    assert_eq!(identity_of(&out.join("gateway/tls.crt")), ["renewed.example"]);
    refused(&certs(out, &["--leaf", "x=a.b", "--spiffe"]), "--spiffe is for a new authority");
}

#[test]
fn an_authority_that_does_not_fit_signs_nothing() {
    let directory = TempDir::new().expect("a directory");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    succeeds(&certs(&one, &[]));
    succeeds(&certs(&two, &[]));
    let leaf = ["--leaf", "web=web.example"];
    for file in ["issuer.key", "ca.crt"] {
        let own = fs::read(one.join(file)).expect("a file");
        fs::copy(two.join(file), one.join(file)).expect("copied");
        refused(&certs(&one, &leaf), "does not verify");
        fs::write(one.join(file), "no PEM").expect("a file");
        refused(&certs(&one, &leaf), &format!("{file} is malformed"));
        fs::remove_file(one.join(file)).expect("removed");
        refused(&certs(&one, &leaf), &format!("cannot read {}", one.join(file).display()));
        fs::write(one.join(file), own).expect("a file");
    }
    assert!(!one.join("web").exists());
    succeeds(&certs(&one, &leaf));
}

#[test]
fn no_certificate_outlives_its_issuer() {
    let directory = TempDir::new().expect("a directory");
    let days = ["--anchor-days", "3", "--issuer-days", "9", "--leaf-days", "5"];
    succeeds(&certs(directory.path(), &days));
    let end = |name: &str| {
        let name = directory.path().join(name);
        let output = gateway(&["inspect", "cert", name.to_str().expect("UTF-8")], b"");
        field(&succeeds(&output), "not after").concat()
    };
    assert!(end("ca.crt").contains("(3 days left)"), "{}", end("ca.crt"));
    assert_eq!(end("issuer.crt"), end("ca.crt"));
    assert_eq!(end("client/tls.crt"), end("ca.crt"));
}

#[test]
fn bad_arguments_exit_64() {
    let directory = TempDir::new().expect("a directory");
    let out = directory.path().join("none");
    for (arguments, reason) in [
        (vec!["--identity", "bad name"], "malformed"),
        (vec!["--identity", "*.example"], "malformed"),
        (vec!["--client-identity", "spiffe://td"], "malformed"),
        (vec!["--trust-domain", "Upper.Case"], "trust domain"),
        (vec!["--leaf", "web"], "DIR=NAME"),
        (vec!["--leaf", "../web=a.b"], "plain relative path"),
        (vec!["--leaf", "web=a.b,spiffe://td/a"], "DNS name"),
        (vec!["--leaf", "web=a.b", "--leaf", "./web/=c.d"], "plain relative path"),
        (vec!["--leaf", "web=a.b", "--leaf", "web/=c.d"], "two leaves"),
        (vec!["--leaf", "client=a.b"], "two leaves"),
        (vec!["--leaf-days", "0"], "0"),
        (vec!["--anchor-days", "36501"], "36501"),
    ] {
        refused(&certs(&out, &arguments), reason);
    }
    assert!(!out.exists());
    fs::write(&out, "").expect("a file");
    refused(&certs(&out, &[]), "is not a directory");
    refused(&gateway(&["certs"], b""), "--out");
}

#[test]
fn the_test_factory_makes_what_it_says() {
    let verify = |ca: &TestCa, leaf: &TestLeaf| {
        let files = leaf.write();
        ca.write_anchor(files.directory.path(), "ca.crt");
        fs::write(files.directory.path().join("issuers.crt"), &ca.issuers).expect("a file");
        let mut arguments = vec!["verify", "-CAfile", "ca.crt"];
        if !ca.issuers.is_empty() {
            arguments.extend(["-untrusted", "issuers.crt"]);
        }
        arguments.push("tls.crt");
        openssl(files.directory.path(), &arguments);
        let public = |arguments: &[&str]| openssl(files.directory.path(), arguments);
        public(&["pkey", "-in", "tls.key", "-pubout"])
            == public(&["x509", "-in", "tls.crt", "-noout", "-pubkey"])
    };
    for key in Key::ALL {
        let ca = TestCa::with("east", 1, key);
        assert!(verify(&ca, &ca.leaf().dns("a.b").key(key).issue()), "{key:?}");
        assert!(!verify(&ca, &ca.leaf().dns("a.b").key(key).wrong_key().issue()), "{key:?}");
    }
    for issuers in [0, 1, 9] {
        let ca = TestCa::with_depth("east", issuers);
        let leaf = ca.identity("spiffe://td/a");
        assert!(verify(&ca, &leaf));
        assert_eq!(leaf.chain.matches("BEGIN CERTIFICATE").count(), issuers + 1);
    }
    let alone = TestCa::new("east").leaf().without_issuers().issue();
    assert_eq!(alone.chain, alone.certificate);
}
