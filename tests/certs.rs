//! `certs` and `inspect` on the real binary: what they write works, nothing is overwritten
//! unasked, and nothing that a peer made reaches the terminal unescaped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use support::certs::{DNS, Key, TestCa, TestLeaf, Usage};

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

fn gateway(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input closes the pipe early.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends")
}

fn certs(out: &Path, arguments: &[&str]) -> Output {
    let out = out.to_str().expect("UTF-8");
    gateway(&[&["certs", "--out", out], arguments].concat(), b"")
}

fn inspect(what: &str, input: &[u8]) -> (String, String, Option<i32>) {
    text(&gateway(&["inspect", what, "-"], input))
}

fn text(output: &Output) -> (String, String, Option<i32>) {
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (utf8(&output.stdout), utf8(&output.stderr), output.status.code())
}

fn succeeds(output: &Output) -> String {
    let (out, error, code) = text(output);
    assert_eq!((error.as_str(), code), ("", Some(0)), "{out}");
    out
}

fn refused(output: &Output, reason: &str) {
    let (out, error, code) = text(output);
    assert_eq!((out.as_str(), code), ("", Some(64)), "{error}");
    assert!(error.contains(reason), "{error:?} does not say {reason:?}");
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

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {:?}", text(&output));
    text(&output).0
}

fn verify(directory: &Path, leaf: &str) {
    let chain = ["-CAfile", "ca.crt", "-untrusted", "issuer.crt"];
    for purpose in ["sslserver", "sslclient"] {
        let strict = ["-x509_strict", "-purpose", purpose, leaf];
        openssl(directory, &[&["verify"], &chain[..], &strict[..]].concat());
    }
}

/// The value of a line of `inspect cert` in its first certificate.
fn field(explained: &str, name: &str) -> Vec<String> {
    let first = explained.split("\ncertificate 2").next().unwrap_or_default();
    let lines = first.lines().filter_map(|line| line.strip_prefix("  "));
    let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.map(|value| value.trim_start().to_owned()).collect()
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
fn inspect_explains_every_kind_of_key_and_the_chain() {
    for (key, name) in
        Key::ALL.into_iter().zip(["Ed25519", "ECDSA P-256", "ECDSA P-384", "RSA 2048"])
    {
        let ca = TestCa::with_depth("east", 2);
        let leaf = ca.leaf().dns("web.ns").common_name("web, O=Evil").key(key).issue();
        let (explained, error, code) = inspect("cert", leaf.chain.as_bytes());
        assert_eq!((error.as_str(), code), ("", Some(0)));
        assert_eq!(field(&explained, "key"), [name]);
        assert_eq!(field(&explained, "identity"), ["web.ns"]);
        assert_eq!(field(&explained, "subject"), ["CN=web\\, O=Evil"]);
        assert_eq!(field(&explained, "issuer"), ["CN=issuer2.east"]);
        assert_eq!(field(&explained, "authority"), ["no"]);
        assert_eq!(field(&explained, "usage"), ["server authentication, client authentication"]);
        assert_eq!(field(&explained, "refused"), [] as [&str; 0]);
        assert_eq!(explained.matches("\n  identity ").count(), 1, "only the leaf has one");
        assert!(explained.contains("certificate 3 of 3\n"), "{explained}");
        let (from_der, _, _) = inspect("cert", &leaf.der);
        assert_eq!(field(&from_der, "sha256"), field(&explained, "sha256"));
        let file = leaf.write();
        let path = file.certificate.to_str().expect("UTF-8");
        let shown = openssl(
            file.directory.path(),
            &["x509", "-in", path, "-noout", "-fingerprint", "-sha256"],
        );
        let shown = shown.trim().rsplit('=').next().unwrap_or_default().to_lowercase();
        assert_eq!(field(&explained, "sha256"), [shown]);
    }
}

#[test]
fn inspect_says_why_the_gateway_would_refuse() {
    let ca = TestCa::new("east");
    let named = || ca.leaf().dns("a.b");
    let cases: [(TestLeaf, &str); 11] = [
        (ca.leaf().issue(), "no subject alternative name"),
        (named().dns("c.d").issue(), "more than one identity"),
        (ca.leaf().dns("*.b").issue(), "wildcard"),
        (named().raw_name(DNS, b"c\xff.d").issue(), "malformed"),
        (ca.leaf().raw_names_extension(b"\x30\x05\x82").issue(), "malformed"),
        (named().expired().issue(), "expired"),
        (named().not_yet_valid().issue(), "not valid yet"),
        (named().is_ca().issue(), "authority's certificate"),
        (named().usage(Usage::Server).issue(), "lacks client authentication"),
        (named().usage(Usage::CodeSigning).issue(), "lacks client authentication"),
        (ca.leaf().uri("spiffe://TD/a").issue(), "malformed"),
    ];
    for (leaf, reason) in cases {
        let (explained, error, code) = inspect("cert", leaf.chain.as_bytes());
        assert_eq!((error.as_str(), code), ("", Some(0)));
        assert!(field(&explained, "refused").concat().contains(reason), "{reason}: {explained}");
    }
    for usage in [Usage::Client, Usage::NotLimited] {
        let (explained, _, _) = inspect("cert", named().usage(usage).issue().chain.as_bytes());
        assert_eq!(field(&explained, "refused"), [] as [&str; 0], "{explained}");
    }
    let (explained, _, _) = inspect("cert", named().expired().issue().chain.as_bytes());
    assert!(field(&explained, "not after").concat().contains("(expired less than a day ago)"));
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let ca = TestCa::new("east\x1b]0;title\x07");
    let hostile = "evil\x1b[2J\r\nidentity     admin\u{202e}\u{9b}2J";
    let leaf = ca
        .leaf()
        .common_name(hostile)
        .uri("http://x/\x1b[31m\u{0}")
        .dns("a\nb")
        .raw_name(DNS, b"\x1b\xff\n")
        .raw_name(7, b"\x1b\n")
        .issue();
    let with_comment = format!("{hostile}\n{}", leaf.chain);
    let header = |message: &[u8]| {
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        [&b"transport.l5d.io/v1\r\n\r\n"[..], &length[..], message].concat()
    };
    let name = header(b"\x08\x50\x12\x05a\x1b[2J");
    let follows = [&header(b"\x08\x50")[..], &b"\x1b[2J\r\n\xff\x9b"[..]].concat();
    for (what, input) in [
        ("cert", with_comment.as_bytes()),
        ("cert", b"-----BEGIN CERTIFICATE-----\n\x1b[2J\n-----END CERTIFICATE-----\n"),
        ("cert", b"\x1b[2J"),
        ("header", &name),
        ("header", &follows),
        ("header", hostile.as_bytes()),
    ] {
        let (out, error, _) = inspect(what, input);
        let allowed = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
        assert!(out.chars().chain(error.chars()).all(allowed), "{out:?} {error:?}");
    }
    let (out, _, code) = inspect("cert", with_comment.as_bytes());
    assert_eq!(code, Some(0));
    assert!(out.contains("CN=evil\\u{1b}[2J\\r\\nidentity"), "{out}");
    assert_eq!(field(&out, "identity"), ["none"], "{out}");
}

#[test]
fn bad_certificate_files_exit_64() {
    let ca = TestCa::new("east");
    let leaf = ca.identity("a.b");
    let cut = &leaf.der[..leaf.der.len() - 1];
    let trailing = [&leaf.der[..], b"x"].concat();
    for input in [
        b"".as_slice(),
        b"no certificate",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAA",
        leaf.key.as_bytes(),
        cut,
        &trailing,
        &vec![b'a'; 4 * 1024 * 1024 + 1],
    ] {
        let (out, error, code) = inspect("cert", input);
        assert_eq!(code, Some(64), "{out} {error}");
        assert!(error.starts_with("linkerd-gateway: "), "{error}");
        assert!(!out.contains("PRIVATE") && !error.contains("PRIVATE"));
    }
    refused(&gateway(&["inspect", "cert", "/nonexistent"], b""), "cannot read /nonexistent");
    refused(&gateway(&["inspect", "cert"], b""), "Usage");
}

#[test]
fn a_header_that_is_encoded_decodes_to_the_same() {
    for (target, session, expected) in [
        (
            ["--target", "Web.ns.svc.cluster.local.:8080"],
            None,
            ["web.ns.svc.cluster.local", "8080", "none: opaque bytes"],
        ),
        (["--target", "web:1"], Some("http1"), ["web", "1", "http/1"]),
        (["--target", "web:65535"], Some("http2"), ["web", "65535", "http/2"]),
        (
            ["--port", "4143"],
            Some("http2"),
            ["none: a port of the gateway's own host", "4143", "http/2"],
        ),
    ] {
        let mut arguments = vec!["inspect", "header", "--encode", target[0], target[1]];
        arguments.extend(session.iter().flat_map(|session| ["--session", session]));
        let encoded = gateway(&arguments, b"");
        assert_eq!((encoded.status.code(), encoded.stderr.len()), (Some(0), 0));
        let line = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let (plain, error, code) = inspect("header", &encoded.stdout);
        assert_eq!((error.as_str(), code), ("", Some(0)));
        let [name, port, session] = expected;
        assert_eq!(line(&plain, "name "), name);
        assert_eq!(line(&plain, "port "), port);
        assert_eq!(line(&plain, "session "), session);
        assert_eq!(line(&plain, "header "), format!("{} bytes", encoded.stdout.len()));
        assert_eq!(line(&plain, "follows "), "nothing");

        let hex: Vec<String> = encoded.stdout.iter().map(|b| format!("{b:02X}")).collect();
        let hex = gateway(&["inspect", "header", "--hex", &hex.join(" : ")], b"");
        assert_eq!(succeeds(&hex), plain);
        let followed = [&encoded.stdout[..], b"GET / HTTP/1.1\r\n"].concat();
        let (followed, _, _) = inspect("header", &followed);
        assert_eq!(line(&followed, "follows "), "16 bytes: \"GET / HTTP/1.1\\r\\n\"");
    }
}

#[test]
fn inspect_says_where_a_header_goes_wrong() {
    let preface = b"transport.l5d.io/v1\r\n\r\n";
    let with = |rest: &[u8]| [&preface[..], rest].concat();
    for (input, reason) in [
        (b"".to_vec(), "ends in the preface, after 0 of 23 bytes"),
        (preface[..7].to_vec(), "ends in the preface, after 7 of 23 bytes"),
        (b"transport.l5d.io/v2\r\n\r\n".to_vec(), "the preface differs at offset 18"),
        (b"GET / HTTP/1.1\r\n".to_vec(), "(HTTP without a header)"),
        (b"\x16\x03\x01\x02\x00\x01".to_vec(), "(a TLS handshake"),
        (with(b"\0\0"), "ends in the length, after 2 of 4 bytes"),
        (with(b"\0\0\0\x09abc"), "ends in the message, after 3 of 9 bytes"),
        (with(b"\xff\xff\xff\xff"), "the length at offset 23 says 4294967295 bytes"),
        (
            with(b"\0\0\0\x02\x08\x00rest"),
            "port is not between 1 and 65535: the message at offset 27 is 2 bytes, \"\\x08\\x00\"\n",
        ),
        (with(b"\0\0\0\0"), "port is not between 1 and 65535"),
        (with(b"\0\0\0\x05\x08\x50\x12\x01*"), "not a DNS name"),
        (with(b"\0\0\0\x01\x08"), "message is malformed"),
    ] {
        let (out, error, code) = inspect("header", &input);
        assert_eq!((out.as_str(), code), ("", Some(64)), "{error}");
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }
}

#[test]
fn bad_header_arguments_exit_64() {
    for (arguments, reason) in [
        (vec!["--hex", "0"], "odd number"),
        (vec!["--hex", "0\u{1b}"], "'\\u{1b}' is not a hexadecimal digit"),
        (vec!["--hex", "00", "file"], "cannot be used with"),
        (vec!["--encode"], "--target"),
        (vec!["--target", "web:80"], "--encode"),
        (vec!["--encode", "--target", "web"], "name:port"),
        (vec!["--encode", "--target", "10.0.0.1:80"], "DNS name"),
        (vec!["--encode", "--port", "0"], "1 to 65535"),
        (vec!["--encode", "--port", "65536"], "1 to 65535"),
        (vec!["--encode", "--port", "1", "--target", "web:80"], "cannot be used with"),
        (vec!["--encode", "--port", "1", "--session", "http3"], "http3"),
        (vec!["--encode", "--port", "1", "--hex", "00"], "cannot be used with"),
        (vec!["/nonexistent"], "cannot read /nonexistent"),
    ] {
        refused(&gateway(&[&["inspect", "header"], &arguments[..]].concat(), b""), reason);
    }
}
