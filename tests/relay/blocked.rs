//! Endpoints that refuse, are silent or do not read, and readers that take a break.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::fixture::{TARGET, parties, parties_with};
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, Stream, half_close, header_for, read_all, refusal};
use crate::support::gateway::Gateway;
use crate::support::process::{cpu_time, resident};
use crate::support::tcp::{pattern, reset};

/// More than all buffers on the way take.
const TOO_MUCH: usize = 64 << 20;

#[test]
fn a_refused_connect_is_a_reset_and_says_why() {
    let ca = TestCa::new("ca");
    let mut gateway = Gateway::with_route(&ca, TARGET, backend::closed_port());
    refusal(&Client::new(&ca), gateway.address, &header_for(TARGET, None));
    let line = gateway.expect("connect_failed");
    assert!(line["detail"].as_str().is_some_and(|d| d.contains("refused")), "{line}");
}

#[test]
fn a_silent_endpoint_is_given_up_after_the_connect_timeout() {
    let ca = TestCa::new("ca");
    let (address, _sockets) = backend::black_hole();
    let mut gateway = Gateway::with_route(&ca, TARGET, address);
    let start = Instant::now();
    refusal(&Client::new(&ca), gateway.address, &header_for(TARGET, None));
    let took = start.elapsed();
    gateway.expect("connect_timeout");
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

/// A lost SYN is repeated after a second, as long as one attempt usually may take.
#[test]
fn the_only_endpoint_may_answer_to_a_repeated_syn() {
    let ca = TestCa::new("ca");
    let (address, mut sockets) = backend::black_hole();
    let mut gateway = Gateway::with_route(&ca, TARGET, address);
    let mut client = Client::new(&ca).open(gateway.address, TARGET);
    gateway.eventually("it connects", |gateway| gateway.get("/connections").contains("connect\""));
    // From here on there is room in the endpoint's queue, where no SYN is kept.
    let listener = TcpListener::from(sockets.remove(0));
    sockets.clear();
    std::thread::spawn(move || {
        let serve = |stream: TcpStream| {
            drop((&stream).write_all(b"late").map(|()| stream.shutdown(Shutdown::Write)))
        };
        listener.incoming().map_while(Result::ok).for_each(serve);
    });
    assert_eq!(read_all(&mut client), b"late");
    half_close(&mut client);
    gateway.expect("closed");
}

/// Writes until nothing more fits.
fn fill(stream: &mut impl Write) -> usize {
    let (block, mut total) = (pattern(64 << 10), 0);
    while total < TOO_MUCH {
        match stream.write(&block) {
            Ok(count) => total += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return total;
            }
            Err(error) => panic!("{error} after {total} bytes"),
        }
    }
    panic!("{total} bytes were taken by nobody")
}

fn fill_client(stream: &mut Stream) -> usize {
    stream.sock.set_write_timeout(Some(Duration::from_millis(300))).expect("set");
    // rustls reads when it cannot write.
    stream.sock.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
    fill(stream)
}

fn fill_backend(stream: &mut TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("set");
    fill(stream)
}

#[test]
fn peers_that_never_read_cost_bounded_memory_and_no_cpu() {
    const EACH: usize = 10;
    let parties = parties();
    let pid = parties.gateway.pid();
    // The first connections warm buffers that every worker keeps.
    let warm: Vec<_> = (0..4).map(|_| parties.pair()).collect();
    let before = resident(pid);
    let mut pairs: Vec<_> = (0..2 * EACH).map(|_| parties.pair()).collect();
    std::thread::scope(|scope| {
        for (index, (client, backend)) in pairs.iter_mut().enumerate() {
            match index % 2 {
                0 => scope.spawn(|| fill_client(client)),
                _ => scope.spawn(|| fill_backend(backend)),
            };
        }
    });
    let each = resident(pid).saturating_sub(before) / (2 * EACH as u64);
    eprintln!("{} KiB per blocked connection", each >> 10);
    // 64 KiB of ours, 64 KiB of TLS, a record in each direction, and allocator slack.
    assert!(each < 400 << 10, "{each} bytes each");
    let start = cpu_time(pid);
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_time(pid) - start;
    assert!(used < Duration::from_millis(100), "{used:?} of CPU while blocked");
    drop((warm, pairs));
}

#[test]
fn idle_and_half_closed_connections_cost_no_cpu() {
    let parties = parties();
    let mut pairs: Vec<_> = (0..30).map(|_| parties.pair()).collect();
    for (index, (client, backend)) in pairs.iter_mut().enumerate() {
        match index % 3 {
            0 => {}
            1 => half_close(client),
            _ => backend.shutdown(Shutdown::Write).expect("FIN"),
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let start = cpu_time(parties.gateway.pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_time(parties.gateway.pid()) - start;
    assert!(used < Duration::from_millis(100), "{used:?} of CPU while idle");
}

#[test]
fn a_client_that_resets_while_its_backend_does_not_read_is_noticed() {
    let mut parties = parties();
    let (mut client, backend) = parties.pair();
    fill_client(&mut client);
    reset(client.sock);
    parties.gateway.expect("client_reset");
    drop(backend);
}

#[test]
fn a_client_that_resets_after_its_half_close_is_noticed() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    half_close(&mut client);
    assert_eq!(backend.read(&mut [0; 1]).expect("a clean end"), 0);
    reset(client.sock);
    parties.gateway.expect("client_reset");
    drop(backend);
}

#[test]
fn a_backend_that_resets_while_its_client_does_not_read_is_noticed() {
    let mut parties = parties();
    let (client, mut backend) = parties.pair();
    fill_backend(&mut backend);
    reset(backend);
    parties.gateway.expect("endpoint_reset");
    drop(client);
}

#[test]
fn a_reader_that_pauses_for_20_seconds_loses_nothing() {
    const LONG: usize = 24 << 20;
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    let (mut other_client, mut other_backend) = parties.pair();
    let bytes = pattern(LONG);
    std::thread::scope(|scope| {
        let long = Some(Duration::from_secs(60));
        backend.set_write_timeout(long).expect("set");
        other_client.sock.set_write_timeout(long).expect("set");
        scope.spawn(|| {
            backend.write_all(&bytes).expect("sent");
            backend.shutdown(Shutdown::Write).expect("FIN");
        });
        scope.spawn(|| {
            other_client.write_all(&bytes).expect("sent");
            half_close(&mut other_client);
        });
        std::thread::sleep(Duration::from_secs(20));
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("a clean end");
        assert!(got == bytes);
        got.clear();
        other_backend.read_to_end(&mut got).expect("a clean end");
        assert!(got == bytes);
    });
    half_close(&mut client);
    drop(other_backend);
    parties.gateway.expect("closed");
    parties.gateway.expect("closed");
}

#[test]
fn a_reader_that_pauses_longer_than_the_user_timeout_loses_nothing() {
    let mut parties = parties_with("[limits]\ntcp_user_timeout = \"2s\"");
    // What fits into the kernels' buffers and what does not: in the first case the relay has
    // nothing to do but wait.
    let mut pairs: Vec<_> = [8 << 20, 24 << 20]
        .into_iter()
        .flat_map(|length| [(parties.pair(), length, true), (parties.pair(), length, false)])
        .collect();
    std::thread::scope(|scope| {
        for ((client, backend), length, is_answer) in &mut pairs {
            scope.spawn(move || {
                let bytes = pattern(*length);
                match is_answer {
                    true => paused(backend, client, &bytes),
                    false => paused(client, backend, &bytes),
                }
            });
        }
    });
    for ((mut client, backend), _, is_answer) in pairs {
        match is_answer {
            true => half_close(&mut client),
            false => drop(backend),
        }
        parties.gateway.expect("closed");
    }
}

/// One side sends and ends, the other one begins to read after 7 s.
fn paused(from: &mut (impl Write + End + Send), to: &mut (impl Read + Send), bytes: &[u8]) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            from.write_all(bytes).expect("sent");
            from.end();
        });
        std::thread::sleep(Duration::from_secs(7));
        let mut got = Vec::new();
        to.read_to_end(&mut got).expect("a clean end");
        assert!(got == bytes);
    });
}

/// Ends our direction.
trait End {
    fn end(&mut self);
}

impl End for Stream {
    fn end(&mut self) {
        half_close(self);
    }
}

impl End for TcpStream {
    fn end(&mut self) {
        self.shutdown(Shutdown::Write).expect("FIN");
    }
}
