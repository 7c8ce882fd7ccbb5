//! Peers whose network is gone: no FIN, no reset, only silence. In namespaces of the test's own.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::fixture::TARGET;
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, PATIENCE};
use crate::support::namespace::{inside, link, run};
use crate::support::tcp::read_to_fault;

/// The client is on one network of the gateway, the backend on another; `cut` goes down, the other
/// one's peer hears of it by a reset.
fn lose(cut: &str, outcome: &str, idle: bool) {
    let ca = TestCa::new("ca");
    let (backend, connections) = backend::handed_over_at("0.0.0.0:0");
    let route = format!(
        "[gateway]\nlisten = [\"0.0.0.0:0\"]\n\
         [limits]\ntcp_user_timeout = \"2s\"\nkeepalive = \"1s\"\n\
         [[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"10.77.2.1:{}\"]",
        backend.port()
    );
    let mut gateway = Builder::new(&ca).configure(&route).through(&["unshare", "-n"]).start();
    link(gateway.pid(), 1);
    link(gateway.pid(), 2);
    let address = ([10, 77, 1, 2], gateway.address.port()).into();
    let mut client = Client::new(&ca).open(address, TARGET);
    let mut backend = connections
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("the backend was not reached: {}", gateway.outcome()));
    client.write_all(b"ping").and_then(|()| client.flush()).expect("sent");
    backend.read_exact(&mut [0; 4]).expect("relayed");
    run(&format!("ip link set {cut} down"));
    let start = Instant::now();
    let (bytes, fault) = if cut == "v1" {
        if !idle {
            backend.write_all(b"for nobody").expect("sent");
        }
        read_to_fault(&mut backend)
    } else {
        if !idle {
            client.write_all(b"for nobody").and_then(|()| client.flush()).expect("sent");
        }
        read_to_fault(&mut client)
    };
    assert_eq!((bytes.len(), fault), (0, Some(std::io::ErrorKind::ConnectionReset)));
    let took = start.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&took), "{took:?}");
    gateway.expect(outcome);
}

#[test]
fn a_client_that_stops_acknowledging_data_is_given_up() {
    if inside("unreachable::a_client_that_stops_acknowledging_data_is_given_up") {
        lose("v1", "client_unreachable", false);
    }
}

#[test]
fn an_idle_client_that_vanished_is_given_up() {
    if inside("unreachable::an_idle_client_that_vanished_is_given_up") {
        lose("v1", "client_unreachable", true);
    }
}

#[test]
fn an_endpoint_that_stops_acknowledging_data_is_given_up() {
    if inside("unreachable::an_endpoint_that_stops_acknowledging_data_is_given_up") {
        lose("v2", "endpoint_unreachable", false);
    }
}
