//! Thousands of connections that say nothing, or a hello and then nothing, do not slow good ones.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::backend;
use super::support::certs::TestCa;
use super::support::client::{Client, half_close, read_all};
use super::support::gateway::Builder;

const ECHO: &str = "echo.test.svc.cluster.local:7";
const SILENT: usize = 5000;
const SAMPLES: usize = 300;
/// What a busy machine adds to one in a hundred, flood or not.
const NOISE: Duration = Duration::from_millis(1);

/// The time of a whole conversation, handshake included.
fn conversation(client: &Client, address: SocketAddr) -> Duration {
    let begun = Instant::now();
    let mut stream = client.open(address, ECHO);
    stream.write_all(b"ping").expect("sent");
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"ping");
    begun.elapsed()
}

/// The one that 99 % do not exceed.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Opens connections that say nothing.
fn flood(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).expect("the queue has room")).collect()
}

#[test]
fn five_thousand_silent_clients_leave_good_handshakes_within_twice_their_time() {
    let ca = TestCa::new("root");
    let limits = "[limits]\nhandshake_timeout = \"1m\"\nmax_silent_connections = 2000";
    let gateway = || {
        let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
        builder.configure(limits).configure("[log]\naccess = false").start()
    };
    let (quiet, flooded) = (gateway(), gateway());
    let client = Client::new(&ca);
    let silent = flood(flooded.address, SILENT);
    let dropped = "gateway_connections_total{outcome=\"silent_limit\"}";
    flooded.eventually("the flood is bounded", |g| g.metric(dropped) >= 3000.0);
    // In turns, so that the machine's other work meets both; it is shared, so one of three runs
    // must show it. None may lose a connection.
    let mut runs = Vec::new();
    for _ in 0..3 {
        let pair =
            |_| (conversation(&client, quiet.address), conversation(&client, flooded.address));
        let (without, with): (Vec<_>, Vec<_>) = (0..SAMPLES).map(pair).unzip();
        let (without, with) = (p99(without), p99(with));
        eprintln!("p99 {without:?} without, {with:?} with {SILENT} silent clients");
        runs.push((without, with));
        if with <= 2 * without + NOISE {
            drop(silent);
            return;
        }
    }
    panic!("p99 without and with silent clients: {runs:?}");
}
