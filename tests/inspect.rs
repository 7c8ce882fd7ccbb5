//! `inspect` on the real binary: it explains what the gateway would do with a certificate or a
//! header, and nothing that a peer made reaches the terminal unescaped.

use support::certs::{DNS, IP, Key, TestCa, TestLeaf, Usage};
use support::cli::{field, gateway, inspect, openssl, refused, succeeds};

mod support;

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
        (named().authority().issue(), "authority's certificate"),
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
        .raw_name(IP, b"\x1b\n")
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
