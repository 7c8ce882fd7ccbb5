//! TERM: open connections go on, new ones are refused, and the exit code says how it ended.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::fixture::{TARGET, parties};
use crate::support::client::{half_close, header_for, read_all};
use crate::support::gateway::Gateway;
use crate::support::process::descriptors;
use crate::support::tcp::read_to_fault;

fn stopping(gateway: &Gateway) {
    gateway.signal("TERM");
    gateway.line("the stop", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("stopping"))
    });
}

#[test]
fn a_connection_in_flight_finishes_after_term_and_the_exit_code_is_0() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    stopping(&parties.gateway);
    client.write_all(b"late").expect("sent");
    half_close(&mut client);
    let mut request = Vec::new();
    backend.read_to_end(&mut request).expect("a clean end");
    assert_eq!(request, b"late");
    backend.write_all(b"answer").expect("sent");
    backend.shutdown(Shutdown::Write).expect("FIN");
    let start = Instant::now();
    assert_eq!(read_all(&mut client), b"answer");
    parties.gateway.expect("closed");
    assert_eq!(parties.gateway.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn new_connections_are_refused_after_term() {
    let parties = parties();
    let (_client, _backend) = parties.pair();
    stopping(&parties.gateway);
    parties.gateway.eventually("the listener's end", |gateway| {
        TcpStream::connect(gateway.address)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
}

#[test]
fn connections_in_the_accept_queue_at_term_are_served() {
    let mut parties = parties();
    let (address, tls) = (parties.gateway.address, parties.tls().clone());
    // While the process stands still, the kernel goes on completing connections.
    parties.gateway.signal("STOP");
    let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(address).expect("queued")).collect();
    parties.gateway.signal("TERM");
    parties.gateway.signal("CONT");
    for client in clients {
        let mut client = tls.over(client).expect("a handshake");
        client.write_all(&header_for(TARGET, None)).expect("sent");
        client.write_all(b"queued").expect("sent");
        half_close(&mut client);
        let mut backend = parties.backend();
        let mut request = Vec::new();
        backend.read_to_end(&mut request).expect("a clean end");
        assert_eq!(request, b"queued");
        drop(backend);
        assert_eq!(read_all(&mut client), b"");
        parties.gateway.expect("closed");
    }
    assert_eq!(parties.gateway.wait().code(), Some(0));
}

#[test]
fn connections_in_the_accept_queue_at_term_outlast_a_lack_of_descriptors() {
    let mut parties = parties();
    let (address, tls) = (parties.gateway.address, parties.tls().clone());
    let pid = parties.gateway.pid();
    parties.gateway.signal("STOP");
    let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).expect("queued")).collect();
    let all = limit_descriptors(pid, Some(descriptors(pid) as u64));
    parties.gateway.signal("TERM");
    parties.gateway.signal("CONT");
    std::thread::sleep(Duration::from_millis(500));
    limit_descriptors(pid, all);
    for client in clients {
        let mut client = tls.over(client).expect("a handshake");
        client.write_all(&header_for(TARGET, None)).expect("sent");
        half_close(&mut client);
        drop(parties.backend());
        assert_eq!(read_all(&mut client), b"");
        parties.gateway.expect("closed");
    }
    assert_eq!(parties.gateway.wait().code(), Some(0));
}

/// Sets the soft limit of a process and gives the one before.
fn limit_descriptors(pid: u32, soft: Option<u64>) -> Option<u64> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // The gateway has inherited our hard limit.
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: soft, maximum }).expect("set").current
}

#[test]
fn a_connection_that_outlasts_the_deadline_is_reset_and_the_exit_code_is_0() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    client.write_all(b"before").expect("sent");
    backend.read_exact(&mut [0; 6]).expect("relayed");
    let start = Instant::now();
    stopping(&parties.gateway);
    let long = Some(Duration::from_secs(40));
    client.sock.set_read_timeout(long).expect("set");
    backend.set_read_timeout(long).expect("set");
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    assert_eq!(read_to_fault(&mut client), (Vec::new(), reset));
    assert_eq!(read_to_fault(&mut backend), (Vec::new(), reset));
    let took = start.elapsed();
    assert!((Duration::from_secs(19)..Duration::from_secs(25)).contains(&took), "{took:?}");
    parties.gateway.expect("cancelled");
    assert_eq!(parties.gateway.wait().code(), Some(0));
}

#[test]
fn a_second_term_ends_the_process_at_once_with_1() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    stopping(&parties.gateway);
    let start = Instant::now();
    parties.gateway.signal("TERM");
    assert_eq!(parties.gateway.wait().code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    assert_eq!(read_to_fault(&mut client), (Vec::new(), reset));
    assert_eq!(read_to_fault(&mut backend), (Vec::new(), reset));
}
