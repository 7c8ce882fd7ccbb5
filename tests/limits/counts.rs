//! Numbers of connections: silent ones, handshakes, per source, per identity, in all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::support::backend;
use super::support::certs::TestCa;
use super::support::client::{Client, half_close, header_for, read_all, refusal, tcp};
use super::support::gateway::{Builder, Gateway};

const ECHO: &str = "echo.test.svc.cluster.local:7";

fn gateway(ca: &TestCa, limits: &str) -> Gateway {
    let builder = Builder::new(ca).route(ECHO, &[backend::echo()]);
    builder.configure(&format!("[limits]\n{limits}")).start()
}

/// One whole conversation.
fn serves(client: &Client, address: SocketAddr) {
    let mut stream = client.open(address, ECHO);
    stream.write_all(b"ping").expect("sent");
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"ping");
}

fn hello(client: &Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.session().write_tls(&mut bytes).expect("memory");
    bytes
}

/// `stream` ends in a reset and has been sent nothing by the end.
fn is_reset(stream: &mut TcpStream) {
    let error = loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => panic!("a clean end"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn waiting(gateway: &Gateway, what: &str) -> f64 {
    gateway.metric(&format!("gateway_unauthenticated_connections{{waits_for=\"{what}\"}}"))
}

#[test]
fn of_too_many_silent_connections_the_oldest_goes() {
    let ca = TestCa::new("root");
    let mut gateway = gateway(&ca, "max_silent_connections = 3");
    let client = Client::new(&ca);
    let mut silent: Vec<TcpStream> = Vec::new();
    for count in 1..=3 {
        silent.push(tcp(gateway.address).expect("connected"));
        gateway.eventually("it waits", |g| waiting(g, "client_hello") == f64::from(count));
    }
    serves(&client, gateway.address);
    is_reset(&mut silent.remove(0));
    let line = gateway.expect("silent_limit");
    assert_eq!(line["level"], "DEBUG");
    gateway.expect("closed");
    let notice = gateway.line("a notice", |line| line["dropped"] == 1);
    assert_eq!(notice["level"], "WARN");
    // The others still have their turn: one says hello after all.
    silent[1].write_all(&hello(&client)).expect("sent");
    assert!(silent[1].read(&mut [0; 5]).expect("answered") > 0);
}

#[test]
fn of_too_many_handshakes_the_oldest_goes() {
    let ca = TestCa::new("root");
    let mut gateway = gateway(&ca, "max_handshakes = 2");
    let client = Client::new(&ca);
    let mut stalled: Vec<TcpStream> = Vec::new();
    for count in 1..=2 {
        let mut stream = tcp(gateway.address).expect("connected");
        stream.write_all(&hello(&client)).expect("sent");
        stalled.push(stream);
        gateway.eventually("it waits", |g| waiting(g, "handshake") == f64::from(count));
    }
    serves(&client, gateway.address);
    is_reset(&mut stalled[0]);
    gateway.expect("handshake_limit");
    gateway.expect("closed");
    // Not one of those that have not said hello.
    assert_eq!(waiting(&gateway, "client_hello"), 0.0);
}

#[test]
fn one_source_cannot_crowd_out_another() {
    let ca = TestCa::new("root");
    let mut gateway = gateway(&ca, "max_unauthenticated_per_source = 2");
    let client = Client::new(&ca);
    let mut other = from("127.0.0.9:0", gateway.address);
    gateway.eventually("it waits", |g| waiting(g, "client_hello") == 1.0);
    // Authenticated connections do not count.
    let mut held: Vec<_> = (0..4).map(|_| client.open(gateway.address, ECHO)).collect();
    let mut silent: Vec<TcpStream> = Vec::new();
    for count in 1..=3 {
        silent.push(tcp(gateway.address).expect("connected"));
        let expected = f64::from(count.min(2) + 1);
        gateway.eventually("it waits", |g| waiting(g, "client_hello") == expected);
    }
    is_reset(&mut silent[0]);
    gateway.expect("source_limit");
    for stream in &mut held {
        stream.write_all(b"ping").expect("sent");
        stream.read_exact(&mut [0; 4]).expect("answered");
    }
    other.write_all(&hello(&client)).expect("sent");
    assert!(other.read(&mut [0; 5]).expect("answered") > 0);
}

/// A connection from an address of this host.
fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&source.parse::<SocketAddr>().expect("an address").into()).expect("bound");
    socket.connect(&to.into()).expect("connected");
    socket.into()
}

#[test]
fn one_identity_has_its_number_and_another_its_own() {
    let ca = TestCa::new("root");
    let mut gateway = gateway(&ca, "max_connections_per_identity = 2");
    let client = Client::new(&ca);
    let first = client.open(gateway.address, ECHO);
    let second = client.open(gateway.address, ECHO);
    gateway.eventually("both are in", |g| g.get("/connections").matches("relay").count() == 2);
    refusal(&client, gateway.address, &header_for(ECHO, None));
    let line = gateway.expect("identity_limit");
    assert!(line["identity"].is_string() && line["hint"].is_string(), "{line}");
    let other = ca.identity("other.default.serviceaccount.identity.linkerd.cluster.local");
    serves(&Client::with(&ca, Some(&other)), gateway.address);
    gateway.expect("closed");
    drop(first);
    gateway.outcome();
    serves(&client, gateway.address);
    drop(second);
}

#[test]
fn a_silent_connection_makes_room_when_all_places_are_taken() {
    let ca = TestCa::new("root");
    let mut gateway = gateway(&ca, "max_connections = 2");
    let client = Client::new(&ca);
    let held = client.open(gateway.address, ECHO);
    let mut silent = tcp(gateway.address).expect("connected");
    gateway.eventually("it waits", |g| waiting(g, "client_hello") == 1.0);
    let second = client.open(gateway.address, ECHO);
    is_reset(&mut silent);
    gateway.expect("connection_limit");
    gateway.eventually("both are in", |g| g.get("/connections").matches("relay").count() == 2);
    refusal(&client, gateway.address, &header_for(ECHO, None));
    gateway.expect("connection_limit");
    // A reload raises it.
    let file = gateway.file("gateway.toml");
    let text = std::fs::read_to_string(&file).expect("there");
    std::fs::write(&file, text.replace("max_connections = 2", "max_connections = 3"))
        .expect("written");
    gateway.signal("HUP");
    gateway.line("the reload", |line| line["message"] == "configuration reloaded");
    serves(&client, gateway.address);
    drop((held, second));
}
