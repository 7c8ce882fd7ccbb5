//! The wall clock jumps an hour forward and back under a running gateway. Certificates are judged by
//! the new time at once, known chains included; nothing else that waits or lives may notice.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::backend;
use support::certs::{TestCa, TestLeaf};
use support::client::{Client, Stream, half_close, read_all, refusal};
use support::dns::{Dns, Mode};
use support::gateway::{Builder, CLIENT, GATEWAY, Gateway};
use support::namespace::skip;
use support::process::replace;

const ECHO: &str = "echo.test.svc.cluster.local:7";
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Debian's libfaketime, which answers for the system's clock.
fn library() -> Option<PathBuf> {
    let directories = std::fs::read_dir("/usr/lib").ok()?;
    let candidate = |entry: std::fs::DirEntry| entry.path().join("faketime/libfaketime.so.1");
    directories.map_while(Result::ok).map(candidate).find(|path| path.exists())
}

/// Lets `offset` seconds pass, or come back, in no time.
fn jump(gateway: &Gateway, offset: i64) {
    replace(&gateway.file("clock"), format!("{offset:+}\n"));
}

fn round(stream: &mut Stream) {
    stream.write_all(b"ping").and_then(|()| stream.flush()).expect("sent");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("the echo");
    assert_eq!(&answer, b"ping");
}

/// A client that presents `leaf` is served.
fn served(client: &Client, gateway: &mut Gateway) {
    let mut stream = client.open(gateway.address, ECHO);
    round(&mut stream);
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
    gateway.expect("closed");
}

fn refused(client: &Client, gateway: &mut Gateway, label: &str) {
    refusal(client, gateway.address, b"");
    gateway.expect(label);
}

fn start(ca: &TestCa, library: &Path, dns: &Dns) -> Gateway {
    let builder = Builder::new(ca).route(ECHO, &[backend::echo()]).configure(&format!(
        "[limits]\nhandshake_timeout = \"60s\"\n[dns]\nservers = [\"{}\"]\n\
         [[route]]\ntarget = \"web.test.svc.cluster.local:80\"\ndns = \"web.example.com:80\"",
        dns.address
    ));
    ca.leaf().dns(GATEWAY).valid(-DAY, DAY).issue().write_to(&builder.path().join("gateway"));
    let clock = builder.path().join("clock");
    replace(&clock, "+0\n");
    builder
        .env("LD_PRELOAD", library.to_str().expect("UTF-8"))
        .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("UTF-8"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
}

#[test]
fn an_hour_forward_and_back_changes_what_is_valid_and_nothing_else() {
    let Some(library) = library() else {
        return skip("clock", "needs Debian's package faketime; tests/setup.sh installs it");
    };
    let ca = TestCa::new("ca");
    let v4 = "10.77.0.1".parse().expect("an address");
    let dns = Dns::start(Mode::Addresses(vec![v4], 1800));
    let mut gateway = start(&ca, &library, &dns);
    let client = |leaf: &TestLeaf| Client::with(&ca, Some(leaf));
    let leaf = |from, until| ca.leaf().dns(CLIENT).valid(from, until).issue();
    let (long, short, young) = (leaf(-DAY, DAY), leaf(-DAY, HOUR / 2), leaf(-60, DAY));
    let (long, short, young) = (client(&long), client(&short), client(&young));
    for client in [&long, &short, &young] {
        served(client, &mut gateway);
    }
    gateway.eventually("DNS", |gateway| gateway.get("/routes").contains("10.77.0.1"));
    let mut live = [&long, &short].map(|client| client.open(gateway.address, ECHO));
    live.iter_mut().for_each(round);
    // It has a minute to speak, by a clock that does not jump.
    let mut silent = TcpStream::connect(gateway.address).expect("accepted");
    let asked = dns.questions();

    for (offset, fine, bad, label) in [
        (HOUR, [&long, &young], &short, "certificate_expired"),
        (0, [&long, &young], &short, "closed"),
        (-HOUR, [&long, &short], &young, "certificate_not_yet_valid"),
        (HOUR, [&long, &young], &short, "certificate_expired"),
    ] {
        jump(&gateway, offset);
        if label == "closed" {
            served(bad, &mut gateway);
        } else {
            refused(bad, &mut gateway, label);
        }
        fine.iter().for_each(|client| served(client, &mut gateway));
        for _ in 0..10 {
            assert_eq!(gateway.request("GET", "/ready").0, 200);
            live.iter_mut().for_each(round);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    silent.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    let error = silent.read(&mut [0]).expect_err("it is still waited for");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    assert_eq!(dns.questions(), asked, "an answer's half hour has not passed");
    assert!(gateway.get("/routes").contains("10.77.0.1"));
    for mut stream in live {
        half_close(&mut stream);
        assert_eq!(read_all(&mut stream), b"");
        gateway.expect("closed");
    }
}
