//! Other implementations against the gateway: `openssl s_client` with the transport header, and
//! `curl` on a route with a server name and on the admin port.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::backend;
use support::certs::{TestCa, TestLeaf};
use support::cli::text;
use support::client::header_for;
use support::gateway::{Builder, CLIENT, GATEWAY, Gateway};

const NAMED: &str = "named.test.svc.cluster.local:7";
const WEB: &str = "web.example.com";

struct World {
    gateway: Gateway,
}

impl World {
    fn new() -> Self {
        let ca = TestCa::new("ca");
        let builder = Builder::new(&ca);
        let write = |leaf: &TestLeaf, directory: &str| {
            let directory = builder.path().join(directory);
            leaf.write_to(&directory);
            std::fs::write(directory.join("leaf.crt"), &leaf.certificate).expect("written");
        };
        write(&ca.identity(CLIENT), "client");
        write(&ca.leaf().dns(WEB).issue(), "web");
        write(&TestCa::new("stranger").identity(CLIENT), "stranger");
        write(&ca.leaf().dns(CLIENT).expired().issue(), "expired");
        std::fs::write(builder.path().join("issuers.crt"), &ca.issuers).expect("written");
        let gateway = builder
            .route(NAMED, &[backend::named("hello from the backend")])
            .route("web.test.svc.cluster.local:80", &[http()])
            .configure(&format!(
                "sni = [\"{WEB}\"]\ncertificate = \"web/tls.crt\"\nkey = \"web/tls.key\""
            ))
            .start();
        Self { gateway }
    }

    fn run(&self, program: &str, arguments: &[&str], input: &[u8]) -> Output {
        let directory = self.gateway.directory.path();
        run(directory, program, arguments, input)
    }

    /// `openssl s_client` as a Linkerd client: header first, then whatever the gateway sends.
    fn s_client(&self, more: &[&str]) -> Output {
        let address = self.gateway.address.to_string();
        let common = [
            "s_client",
            "-connect",
            &address,
            "-CAfile",
            "ca.crt",
            "-servername",
            GATEWAY,
            "-verify_hostname",
            GATEWAY,
            "-verify_return_error",
            "-alpn",
            "transport.l5d.io/v1",
            "-ign_eof",
            "-brief",
        ];
        self.run("openssl", &[&common, more].concat(), &header_for(NAMED, None))
    }

    fn curl(&self, more: &[&str]) -> Output {
        let port = self.gateway.address.port();
        let resolve = format!("{WEB}:{port}:127.0.0.1");
        let url = format!("https://{WEB}:{port}/path");
        let common =
            ["--silent", "--show-error", "--cacert", "ca.crt", "--resolve", &resolve, &url];
        self.run("curl", &[&common, more].concat(), b"")
    }
}

fn run(directory: &Path, program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is installed: {error}"));
    // It may have ended already.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// An HTTP/1.1 server that answers every request with its request line.
fn http() -> std::net::SocketAddr {
    backend::serve(|mut stream| {
        let mut request = BufReader::new(stream.try_clone().expect("a socket"));
        let mut first = String::new();
        let mut line = String::new();
        while request.read_line(&mut line).is_ok_and(|count| count > 0) {
            if first.is_empty() {
                first.clone_from(&line);
            }
            if line == "\r\n" {
                let (length, body) = (first.len(), std::mem::take(&mut first));
                let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                let _ = stream.write_all(response.as_bytes());
            }
            line.clear();
        }
    })
}

const PAIR: [&str; 6] =
    ["-cert", "client/leaf.crt", "-cert_chain", "issuers.crt", "-key", "client/tls.key"];

#[test]
fn openssl_speaks_every_group_and_suite() {
    let mut world = World::new();
    let suites =
        ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
    let groups = [("X25519", "X25519"), ("P-256", "prime256v1"), ("P-384", "secp384r1")];
    for suite in suites {
        for (group, shown) in groups {
            let more = [&PAIR[..], &["-curves", group, "-ciphersuites", suite]].concat();
            let (out, error, code) = text(&world.s_client(&more));
            assert_eq!((out.as_str(), code), ("hello from the backend", Some(0)), "{error}");
            for words in ["TLSv1.3", "Verification: OK", suite, shown] {
                assert!(error.contains(words), "{words:?} is not in {error}");
            }
            let line = world.gateway.expect("closed");
            assert_eq!(line["identity"], CLIENT);
            assert_eq!(line["route"], NAMED);
        }
    }
}

#[test]
fn openssl_is_refused_without_a_certificate_of_ours() {
    let mut world = World::new();
    let mut refused = |arguments: &[&str], alert: &str, outcome: &str| {
        let (out, error, _) = text(&world.s_client(arguments));
        assert_eq!(out, "", "{error}");
        assert!(error.contains(alert), "{alert:?} is not in {error}");
        world.gateway.expect(outcome);
    };
    refused(&[], "alert certificate required", "certificate_missing");
    let stranger = ["-cert", "stranger/leaf.crt", "-key", "stranger/tls.key"];
    refused(&stranger, "alert unknown ca", "certificate_untrusted");
    let expired =
        ["-cert", "expired/leaf.crt", "-cert_chain", "issuers.crt", "-key", "expired/tls.key"];
    refused(&expired, "alert certificate expired", "certificate_expired");
    refused(&[&PAIR[..], &["-tls1_2"]].concat(), "alert protocol version", "tls_version");
}

#[test]
fn curl_reaches_a_route_by_server_name_and_verifies_it() {
    let mut world = World::new();
    let pair = ["--cert", "client/tls.crt", "--key", "client/tls.key"];
    for version in [&[][..], &["--http1.1"], &["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"]] {
        let (out, error, code) = text(&world.curl(&[&pair[..], version].concat()));
        assert_eq!((out.as_str(), error.as_str(), code), ("GET /path HTTP/1.1\r\n", "", Some(0)));
        let line = world.gateway.expect("closed");
        assert_eq!(line["sni"], WEB);
    }
}

#[test]
fn curl_is_refused_without_a_certificate_of_ours() {
    let mut world = World::new();
    let mut refused = |arguments: &[&str], alert: &str, outcome: &str| {
        let (out, error, code) = text(&world.curl(arguments));
        assert_eq!((out.as_str(), code), ("", Some(56)), "{error}");
        assert!(error.contains(alert), "{alert:?} is not in {error}");
        world.gateway.expect(outcome);
    };
    refused(&[], "certificate required", "certificate_missing");
    let stranger = ["--cert", "stranger/tls.crt", "--key", "stranger/tls.key"];
    refused(&stranger, "unknown ca", "certificate_untrusted");
    let expired = ["--cert", "expired/tls.crt", "--key", "expired/tls.key"];
    refused(&expired, "certificate expired", "certificate_expired");
}

#[test]
fn curl_asks_the_admin_port_over_tls_and_over_plain_http2() {
    let world = World::new();
    let admin = world.gateway.admin;
    let resolve = format!("{GATEWAY}:{}:127.0.0.1", admin.port());
    let tls = format!("https://{GATEWAY}:{}/ready", admin.port());
    let plain = format!("http://{admin}/ready");
    let show = ["--silent", "--show-error", "--write-out", "%{http_code} %{http_version}"];
    let ask = |more: &[&str]| {
        let (out, error, code) = text(&world.run("curl", &[&show, more].concat(), b""));
        assert_eq!((error.as_str(), code), ("", Some(0)));
        out
    };
    let secure = ["--cacert", "ca.crt", "--resolve", &resolve, "--http1.1", &tls];
    assert_eq!(ask(&secure), "ready\n200 1.1");
    // A client certificate is neither needed nor an obstacle.
    let pair = ["--cert", "client/tls.crt", "--key", "client/tls.key"];
    assert_eq!(ask(&[&secure[..], &pair].concat()), "ready\n200 1.1");
    assert_eq!(ask(&["--http2-prior-knowledge", &plain]), "ready\n200 2");
    assert_eq!(ask(&["--http1.1", &plain]), "ready\n200 1.1");
}
