//! `connect` against the gateway: what it carries, what it shows, and how it says that it failed.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::backend;
use support::certs::{TestCa, TestLeaf};
use support::cli::text;
use support::gateway::{Builder, CLIENT, GATEWAY, Gateway, PATIENCE};

const ECHO: &str = "echo.test.svc.cluster.local:7";

/// A gateway and the files of its clients.
struct World {
    gateway: Gateway,
    ca: TestCa,
}

impl World {
    fn new(endpoint: SocketAddr) -> Self {
        Self::with(|builder| builder.route(ECHO, &[endpoint]))
    }

    fn with(configure: impl FnOnce(Builder) -> Builder) -> Self {
        let ca = TestCa::new("ca");
        let gateway = configure(Builder::new(&ca)).start();
        ca.identity(CLIENT).write_to(&gateway.file("client"));
        Self { gateway, ca }
    }

    /// `connect` to the gateway with `more` arguments, and nothing else but the anchor.
    fn bare(&self, more: &[&str]) -> Command {
        let address = self.gateway.address.to_string();
        connect(self.gateway.directory.path(), &[&[&address, "--ca", "ca.crt"], more].concat())
    }

    /// With a client certificate and the gateway's identity.
    fn connect(&self, more: &[&str]) -> Command {
        self.bare(&[&["--certs", "client", "--identity", GATEWAY], more].concat())
    }

    /// The same, to the echo service.
    fn echo(&self, more: &[&str]) -> Command {
        self.connect(&[&["--target", ECHO], more].concat())
    }
}

fn connect(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"));
    command.arg("connect").args(arguments).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with `input`, which ends.
fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // A command that was refused does not read on.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("it ends")
    })
}

/// Runs it with an input that never ends, as a terminal's.
fn run_open(mut command: Command) -> Output {
    let mut child = command.spawn().expect("the binary starts");
    let stdin = child.stdin.take();
    let output = ended(child);
    drop(stdin);
    output
}

fn ended(mut child: Child) -> Output {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > until {
            child.kill().expect("killed");
            panic!("it did not end: {:?}", text(&child.wait_with_output().expect("ended")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("ended")
}

/// It failed with `code` and said all of `words`.
#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let (out, error, actual) = text(output);
    assert_eq!((out.as_str(), actual), ("", Some(code)), "{error}");
    words.iter().for_each(|word| assert!(error.contains(word), "{error:?} lacks {word:?}"));
}

#[test]
fn an_answer_that_comes_after_the_end_of_the_request_arrives_whole() {
    let answer: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    let expected = answer.clone();
    let world = World::new(backend::serve(move |mut stream| {
        let mut request = Vec::new();
        stream.read_to_end(&mut request).expect("the request and its end");
        assert_eq!(request, b"all of it");
        stream.write_all(&answer).expect("sent");
        stream.shutdown(Shutdown::Write).expect("ended");
    }));
    let output = run(world.echo(&[]), b"all of it");
    assert_eq!(output.status.code(), Some(0), "{:?}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == expected, "{} bytes came", output.stdout.len());
}

#[test]
fn ten_mebibytes_go_there_and_back_unchanged() {
    let mut world = World::new(backend::echo());
    let input: Vec<u8> = (0..10 << 20).map(|_| fastrand::u8(..)).collect();
    let output = run(world.echo(&[]), &input);
    assert_eq!(output.status.code(), Some(0), "{:?}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == input, "{} bytes came", output.stdout.len());
    let line = world.gateway.expect("closed");
    assert_eq!(line["bytes_to_client"].as_u64(), Some(10 << 20));
}

#[test]
fn verbose_shows_the_handshake() {
    let world = World::new(backend::echo());
    let (out, error, code) = text(&run(world.echo(&["--verbose"]), b"hello"));
    assert_eq!((out.as_str(), code), ("hello", Some(0)), "{error}");
    for shown in [
        &format!("connected to {}, server name {GATEWAY}", world.gateway.address),
        "TLS 1.3, TLS13_AES_",
        "X25519MLKEM768",
        "ALPN transport.l5d.io/v1",
        &format!("server identity {GATEWAY}, 2 certificates"),
    ] {
        assert!(error.contains(shown), "{error:?} lacks {shown:?}");
    }
    assert!(!error.contains("warning"), "{error}");
    // Quiet is silent.
    assert_eq!(text(&run(world.echo(&[]), b"hello")).1, "");
}

#[test]
fn without_an_expected_identity_it_warns_and_names_who_answered() {
    let world = World::new(backend::echo());
    let command = world.bare(&["--certs", "client", "--target", ECHO]);
    let (out, error, code) = text(&run(command, b"hello"));
    assert_eq!((out.as_str(), code), ("hello", Some(0)));
    assert!(error.contains("warning") && error.contains(GATEWAY), "{error}");
}

#[test]
fn another_identity_than_the_expected_is_refused() {
    let mut world = World::new(backend::echo());
    let other = "other.ns.serviceaccount.identity.linkerd.cluster.local";
    let command = world.bare(&["--certs", "client", "--target", ECHO, "--identity", other]);
    fails(&run(command, b"hello"), 69, &[GATEWAY, other]);
    // Nothing was sent to the one who is not the expected.
    let line = world.gateway.outcome();
    assert_eq!(line["bytes_from_client"].as_u64(), Some(0), "{line}");
}

#[test]
fn a_gateway_under_another_anchor_is_refused() {
    let world = World::new(backend::echo());
    TestCa::new("stranger").write_anchor(world.gateway.directory.path(), "stranger.crt");
    let address = world.gateway.address.to_string();
    let arguments = ["--ca", "stranger.crt", "--certs", "client", "--target", ECHO];
    let command =
        connect(world.gateway.directory.path(), &[&[address.as_str()], &arguments[..]].concat());
    fails(&run(command, b"hello"), 69, &[&address, "UnknownIssuer"]);
}

#[test]
fn a_refusal_is_told_by_its_alert_also_while_standard_input_stays_open() {
    let mut world = World::new(backend::echo());
    let without = ["--identity", GATEWAY, "--target", ECHO];
    fails(&run(world.bare(&without), b"hello"), 69, &["CertificateRequired"]);
    world.gateway.expect("certificate_missing");
    fails(&run_open(world.bare(&without)), 69, &["CertificateRequired"]);
    world.gateway.expect("certificate_missing");

    TestCa::new("stranger").identity(CLIENT).write_to(&world.gateway.file("stranger"));
    let stranger = [&["--certs", "stranger"], &without[..]].concat();
    fails(&run_open(world.bare(&stranger)), 69, &["UnknownCA"]);
    world.gateway.expect("certificate_untrusted");
}

#[test]
fn a_refused_target_is_a_reset_and_explained() {
    let mut world = World::new(backend::echo());
    let target = ["--target", "unknown.test.svc.cluster.local:7"];
    fails(&run_open(world.connect(&target)), 69, &["refused the request", "access log"]);
    world.gateway.expect("unknown_target");
}

#[test]
fn who_cannot_be_reached_is_named_with_the_reason() {
    let world = World::new(backend::echo());
    let closed = backend::closed_port().to_string();
    let command = connect(world.gateway.directory.path(), &[&closed, "--ca", "ca.crt"]);
    fails(&run(command, b""), 69, &[&closed, "cannot connect", "refused"]);
    let nowhere = "nowhere.invalid:4143";
    let command = connect(world.gateway.directory.path(), &[nowhere, "--ca", "ca.crt"]);
    fails(&run(command, b""), 69, &[nowhere]);
}

#[test]
fn a_silent_server_is_given_up_in_time() {
    let world = World::new(backend::echo());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let arguments = [&address, "--ca", "ca.crt", "--timeout", "300ms"];
    let begun = Instant::now();
    let output = run_open(connect(world.gateway.directory.path(), &arguments));
    fails(&output, 69, &[&address, "300ms"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_local_port_is_reached_when_it_is_listed() {
    let echo = backend::echo();
    let mut world = World::with(|builder| {
        let ports = format!("listen = [\"127.0.0.1:0\"]\nlocal_ports = [{}]", echo.port());
        builder.configure(&format!("[gateway]\n{ports}"))
    });
    let listed = echo.port().to_string();
    let (out, error, code) = text(&run(world.connect(&["--local-port", &listed]), b"hello"));
    assert_eq!((out.as_str(), code), ("hello", Some(0)), "{error}");
    world.gateway.expect("closed");
    fails(&run(world.connect(&["--local-port", "9"]), b"hello"), 69, &["refused the request"]);
    world.gateway.expect("local_port_refused");
}

#[test]
fn a_session_protocol_goes_into_the_header() {
    let endpoint = backend::echo();
    let mut world = World::with(|builder| {
        builder.route(ECHO, &[endpoint]).configure("session = \"passthrough\"")
    });
    for (session, label) in [("http1", "http/1"), ("http2", "http/2")] {
        let (out, error, code) = text(&run(world.echo(&["--session", session]), b"hello"));
        assert_eq!((out.as_str(), code), ("hello", Some(0)), "{error}");
        assert_eq!(world.gateway.expect("closed")["session"], label);
    }
}

#[test]
fn a_plain_connection_asks_by_server_name() {
    let ca = TestCa::new("ca");
    let name = "web.example.com";
    let builder = Builder::new(&ca);
    let web: TestLeaf = ca.leaf().dns(name).issue();
    web.write_to(&builder.path().join("web"));
    ca.identity(CLIENT).write_to(&builder.path().join("client"));
    let gateway = builder
        .route(ECHO, &[backend::echo()])
        .configure(&format!(
            "sni = [\"{name}\"]\ncertificate = \"web/tls.crt\"\nkey = \"web/tls.key\""
        ))
        .start();
    let world = World { gateway, ca };
    let arguments = ["--certs", "client", "--identity", name, "--verbose"];
    let (out, error, code) = text(&run(world.bare(&arguments), b"hello"));
    assert_eq!((out.as_str(), code), ("hello", Some(0)), "{error}");
    assert!(error.contains("ALPN (none)"), "{error}");
    // The same server, asked for by nothing.
    let output =
        run(world.bare(&["--certs", "client", "--identity", GATEWAY, "--sni", "a.b"]), b"");
    fails(&output, 69, &["refused the request"]);
}

#[test]
fn unusable_files_and_arguments_exit_64_and_are_named() {
    let world = World::new(backend::echo());
    let file = |name: &str, content: &str| {
        std::fs::write(world.gateway.file(name), content).expect("written");
    };
    let leaf = world.ca.leaf().dns(CLIENT).wrong_key().issue();
    leaf.write_to(&world.gateway.file("mismatch"));
    file("garbage", "no PEM");
    let certs = |certs| ["--certs", certs, "--target", ECHO];
    fails(&run(world.bare(&certs("none")), b""), 64, &["none/tls.crt", "No such file"]);
    fails(&run(world.bare(&certs("mismatch")), b""), 64, &["mismatch/tls.key", "not the key"]);
    let garbage = ["--certificate", "garbage", "--key", "client/tls.key"];
    fails(&run(world.bare(&garbage), b""), 64, &["garbage", "no certificate"]);
    fails(&run(world.bare(&["--ca", "garbage"]), b""), 64, &["garbage", "no certificate"]);
    fails(&run(world.bare(&["--certificate", "client/tls.crt"]), b""), 64, &["--key"]);
    fails(&run(world.bare(&["--session", "http1"]), b""), 64, &["--target", "--local-port"]);
    fails(&run(world.bare(&["--sni", "not a name"]), b""), 64, &["--sni", "DNS name"]);
    for address in ["localhost", "localhost:", ":1", "localhost:70000"] {
        let command = connect(world.gateway.directory.path(), &[address, "--ca", "ca.crt"]);
        fails(&run(command, b""), 64, &["host:port"]);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world =
        World::new(backend::serve(|mut stream| while stream.write_all(&[b'x'; 65536]).is_ok() {}));
    let mut child = world.echo(&[]).spawn().expect("the binary starts");
    let stdin = child.stdin.take();
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0; 10]).expect("the first bytes");
    drop(stdout);
    let (_, error, code) = text(&ended(child));
    assert_eq!((error.as_str(), code), ("", Some(0)));
    drop(stdin);
}
