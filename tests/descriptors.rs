//! The gateway with 64 descriptors: out of them it waits instead of spinning, what lives goes on,
//! and it accepts again as soon as there are some.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::backend;
use support::certs::TestCa;
use support::client::{Client, Stream, half_close, read_all};
use support::gateway::Builder;
use support::process::{cpu_time, descriptors};

const ECHO: &str = "echo.test.svc.cluster.local:7";
const LIMIT: usize = 64;
/// How long the exhaustion is watched.
const WATCHED: Duration = Duration::from_secs(2);

fn round(stream: &mut Stream) {
    stream.write_all(b"ping").and_then(|()| stream.flush()).expect("sent");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("the echo");
    assert_eq!(&answer, b"ping");
}

#[test]
fn sixty_four_descriptors_are_waited_out_without_spinning_and_without_a_victim() {
    let ca = TestCa::new("ca");
    let limited = format!("ulimit -n {LIMIT}; exec \"$@\"");
    let mut gateway = Builder::new(&ca)
        .route(ECHO, &[backend::echo()])
        .configure("[runtime]\nworkers = 2\n[limits]\nhandshake_timeout = \"60s\"")
        .through(&["sh", "-c", &limited, "sh"])
        .start();
    let client = Client::new(&ca);
    let mut live: Vec<_> = (0..3).map(|_| client.open(gateway.address, ECHO)).collect();
    live.iter_mut().for_each(round);

    // More than there is room for; the kernel keeps the rest in its queue.
    let connect = |_| TcpStream::connect(gateway.address).expect("queued");
    let silent: Vec<_> = (0..LIMIT).map(connect).collect();
    let tells = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.contains("out of descriptors"))
    };
    let line = gateway.line("the exhaustion", tells);
    assert_eq!(line["level"], "ERROR");
    assert!(descriptors(gateway.pid()) >= LIMIT);
    let (before, begun) = (cpu_time(gateway.pid()), Instant::now());
    while begun.elapsed() < WATCHED {
        live.iter_mut().for_each(round);
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = cpu_time(gateway.pid()) - before;
    println!("{used:?} of CPU time in {WATCHED:?} without descriptors");
    assert!(used < WATCHED / 4, "it spun for {used:?}");
    // Ten tries a second, a line every 10 s.
    let lines = gateway.lines().iter().filter(|line| tells(line)).count();
    assert!(lines <= 2, "{lines} log lines in {:?}", begun.elapsed());

    let freed = Instant::now();
    drop(silent);
    let mut stream = client.open(gateway.address, ECHO);
    round(&mut stream);
    let took = freed.elapsed();
    println!("accepting again after {took:?}");
    // A second is the promise; the rest is for a busy machine.
    assert!(took < Duration::from_secs(3), "{took:?}");
    for mut stream in live.into_iter().chain([stream]) {
        half_close(&mut stream);
        assert_eq!(read_all(&mut stream), b"");
    }
    assert_eq!(gateway.request("GET", "/ready").0, 200);
    assert!(gateway.metric("gateway_accept_errors_total") >= 1.0);
    gateway.eventually("every outcome", |gateway| {
        gateway.metric("gateway_connections_total{outcome=\"closed\"}") > 3.5
    });
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one_at_start() {
    let ca = TestCa::new("ca");
    let limited = format!("ulimit -S -n {LIMIT}; exec \"$@\"");
    let gateway = Builder::new(&ca).through(&["sh", "-c", &limited, "sh"]).start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid()));
    let limits = limits.expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the limit");
    let numbers: Vec<_> = line.split_whitespace().skip(3).take(2).collect();
    assert!(numbers[0] == numbers[1] && numbers[0] != LIMIT.to_string(), "{line}");
}
