//! Policy decides on the address that the header names, at first and again after a reload, which
//! may also change who must send one.

use std::fs;
use std::io::{Read, Write};

use super::support::backend;
use super::support::certs::TestCa;
use super::support::client::{Client, Stream, header_for, refusal};
use super::support::gateway::{Builder, Gateway};
use super::{LINE, LISTED, connect, local};

const TARGET: &str = "echo.test.svc.cluster.local:7";

/// Clients of both networks are allowed; the load balancer, which is on loopback, is not.
const RULE: &str = "[[policy.rule]]\nname = \"clients\"\naction = \"allow\"\n\
    networks = [\"192.0.2.0/24\", \"198.51.100.0/24\"]\n";
/// A client of the second network.
const OTHER: &[u8] = b"PROXY TCP4 198.51.100.7 203.0.113.9 1 2\r\n";

fn is_served(stream: &mut Stream) -> bool {
    let mut answer = [0; 4];
    let sent = stream.write_all(b"ping").and_then(|()| stream.flush());
    sent.and_then(|()| stream.read_exact(&mut answer)).is_ok() && &answer == b"ping"
}

fn open(client: &Client, gateway: &Gateway, header: &[u8]) -> Stream {
    let mut stream = connect(client, gateway.address, header);
    stream.write_all(&header_for(TARGET, None)).expect("sent");
    stream
}

fn reload(gateway: &Gateway, old: &str, new: &str, answer: &str) {
    let file = gateway.file("gateway.toml");
    let text = fs::read_to_string(&file).expect("written");
    assert!(text.contains(old), "{text}");
    fs::write(&file, text.replace(old, new)).expect("written");
    gateway.signal("HUP");
    gateway.line(answer, |line| line["message"].as_str().is_some_and(|m| m.contains(answer)));
}

#[test]
fn policy_goes_by_the_headers_source_also_after_a_reload() {
    let ca = TestCa::new("ca");
    let config = format!("{LISTED}{RULE}");
    let mut gateway =
        Builder::new(&ca).configure(&config).route(TARGET, &[backend::echo()]).start();
    let client = Client::new(&ca);
    let mut first = open(&client, &gateway, LINE);
    let mut second = open(&client, &gateway, OTHER);
    assert!(is_served(&mut first) && is_served(&mut second));
    for header in [local(), b"PROXY TCP4 203.0.113.1 203.0.113.9 1 2\r\n".to_vec()] {
        assert!(!is_served(&mut open(&client, &gateway, &header)));
        gateway.expect("denied");
    }
    // The second network stays allowed: exactly the first's connection is cut.
    reload(&gateway, "\"192.0.2.0/24\", ", "", "configuration reloaded");
    assert!(!is_served(&mut first));
    assert_eq!(gateway.expect("no_longer_allowed")["peer"], super::SOURCE);
    assert!(is_served(&mut second));
}

#[test]
fn the_networks_are_reloaded_and_the_addresses_are_not() {
    let ca = TestCa::new("ca");
    let config = LISTED.replace("127.0.0.0/8", "127.9.0.0/16");
    let mut gateway =
        Builder::new(&ca).configure(&config).route(TARGET, &[backend::echo()]).start();
    let client = Client::new(&ca);
    assert!(is_served(&mut client.open(gateway.address, TARGET)));
    gateway.outcome();
    reload(&gateway, "127.9.0.0/16", "127.0.0.0/8", "configuration reloaded");
    refusal(&client, gateway.address, b"");
    gateway.expect("proxy_protocol_missing");
    assert!(is_served(&mut open(&client, &gateway, LINE)));
    reload(&gateway, "\"127.0.0.1:0\", proxy", "\"127.0.0.2:0\", proxy", "gateway.listen changed");
}
