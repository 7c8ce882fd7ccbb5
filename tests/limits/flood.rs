//! Thousands of connections that say nothing, or a hello and then nothing, do not slow good ones.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::backend;
use super::support::certs::TestCa;
use super::support::client::{Client, half_close, read_all};
use super::support::gateway::{Builder, PATIENCE};

const ECHO: &str = "echo.test.svc.cluster.local:7";
const SILENT: usize = 5000;
const SAMPLES: usize = 200;

/// The time of whole conversations, handshake included: the one that 99 % do not exceed.
fn p99(client: &Client, address: SocketAddr) -> Duration {
    let conversation = |_| {
        let begun = Instant::now();
        let mut stream = client.open(address, ECHO);
        stream.write_all(b"ping").expect("sent");
        half_close(&mut stream);
        assert_eq!(read_all(&mut stream), b"ping");
        begun.elapsed()
    };
    let mut times: Vec<_> = (0..SAMPLES).map(conversation).collect();
    times.sort_unstable();
    times[SAMPLES * 99 / 100]
}

/// Opens connections that say nothing.
fn flood(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).expect("the queue has room")).collect()
}

#[test]
fn five_thousand_silent_clients_leave_good_handshakes_within_twice_their_time() {
    let ca = TestCa::new("root");
    let limits = "[limits]\nhandshake_timeout = \"1m\"\nmax_silent_connections = 2000";
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]).configure(limits);
    let gateway = builder.start();
    let client = Client::new(&ca);
    p99(&client, gateway.address);
    // The machine is shared: one of three pairs must show it, and none may lose a connection.
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let before = p99(&client, gateway.address);
        let silent = flood(gateway.address, SILENT);
        let dropped = "gateway_connections_total{outcome=\"silent_limit\"}";
        gateway.eventually("the flood is bounded", |g| g.metric(dropped) >= 2000.0);
        let during = p99(&client, gateway.address);
        drop(silent);
        ratios.push(during.as_secs_f64() / before.as_secs_f64());
        eprintln!("p99 {before:?} before, {during:?} with {SILENT} silent clients");
        if ratios.iter().any(|ratio| *ratio <= 2.0) {
            return;
        }
        let open = "gateway_unauthenticated_connections{waits_for=\"client_hello\"}";
        let until = Instant::now() + PATIENCE;
        while gateway.metric(open) > 0.0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    panic!("p99 with silent clients is {ratios:?} times that without");
}
