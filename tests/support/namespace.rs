//! Network namespaces of a test's own: addresses, links and losses that touch nothing else.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::gateway::PATIENCE;

const INSIDE: &str = "INSIDE_TEST_NAMESPACE";

/// Runs the calling test, named `test`, again in a network namespace of its own. True inside; the
/// caller then goes on. False outside, where the test has run or was skipped.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        return true;
    }
    let possible = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        skip(test, "needs unshare, ip, and the right to make a network namespace");
        return false;
    }
    let itself = std::env::current_exe().expect("a path");
    let status = Command::new("unshare")
        .arg("-n")
        .arg(itself)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare runs");
    assert!(status.success(), "{test} failed in its namespace");
    false
}

/// Says why a test does not run; fails when everything must.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "{test}: {why}");
    eprintln!("skipped {test}: {why}");
}

/// Runs a command of words without quotes; it must succeed.
pub fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().expect("a word")).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Joins our namespace with that of process `pid`: 10.77.`network`.1 here, .2 there. The kernel drops
/// what is sent until it has noticed, in a work queue of its own, that both ends are up; so this
/// returns once something has come back.
pub fn link(pid: u32, network: u8) {
    run(&format!("ip link add v{network} type veth peer name w{network}"));
    run(&format!("ip link set w{network} netns {pid}"));
    run(&format!("ip addr add 10.77.{network}.1/24 dev v{network}"));
    run(&format!("ip link set v{network} up"));
    let there = format!("nsenter -t {pid} -n ip");
    run(&format!("{there} addr add 10.77.{network}.2/24 dev w{network}"));
    run(&format!("{there} link set w{network} up"));
    let nobody = SocketAddr::from(([10, 77, network, 2], 1));
    let until = Instant::now() + PATIENCE;
    let answers = || match TcpStream::connect_timeout(&nobody, Duration::from_millis(200)) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    };
    while !answers() {
        assert!(Instant::now() < until, "10.77.{network}.2 never answered");
    }
}
