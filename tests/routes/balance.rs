//! Several endpoints: shares, failures, recovery.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::TARGET;
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, Stream, half_close, header_for, read_all, refusal};
use crate::support::gateway::{Builder, Gateway};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Opens `count` connections, keeps them, and says how many each endpoint has.
fn open(client: &Client, gateway: &Gateway, count: usize) -> (Vec<Stream>, [usize; 3]) {
    let mut counts = [0; 3];
    let streams = (0..count)
        .map(|_| {
            let mut stream = client.open(gateway.address, TARGET);
            let name = read_all(&mut stream);
            let index = NAMES.iter().position(|n| n.as_bytes() == name).expect("an endpoint");
            counts[index] += 1;
            stream
        })
        .collect();
    (streams, counts)
}

fn finish(mut stream: Stream) {
    half_close(&mut stream);
}

#[test]
fn open_connections_are_spread_evenly() {
    let ca = TestCa::new("ca");
    let endpoints = NAMES.map(backend::named);
    let gateway = Builder::new(&ca).route(TARGET, &endpoints).start();
    let (_streams, counts) = open(&Client::new(&ca), &gateway, 30);
    assert!(counts.iter().all(|count| (6..=14).contains(count)), "{counts:?}");
}

#[test]
fn a_weight_is_a_share_of_the_open_connections() {
    let ca = TestCa::new("ca");
    let [heavy, light] = ["a", "b"].map(backend::named);
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = \
         [{{ address = \"{heavy}\", weight = 3 }}, \"{light}\"]"
    );
    let gateway = Builder::new(&ca).configure(&route).start();
    let (_streams, counts) = open(&Client::new(&ca), &gateway, 40);
    assert!((24..=36).contains(&counts[0]), "{counts:?}");
}

#[test]
fn a_weight_of_0_is_used_only_when_nothing_else_is_left() {
    let ca = TestCa::new("ca");
    let (socket, closed) = backend::reserved_port();
    let spare = backend::named("b");
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = \
         [{{ address = \"{spare}\", weight = 0 }}, \"{closed}\"]"
    );
    let gateway = Builder::new(&ca).configure(&route).start();
    let client = Client::new(&ca);
    assert_eq!(open(&client, &gateway, 5).1, [0, 5, 0]);
    serve_at(socket);
    gateway.eventually("the return of the weighted one", |gateway| {
        open(&client, gateway, 1).1 == [1, 0, 0]
    });
    assert_eq!(open(&client, &gateway, 10).1, [10, 0, 0]);
}

/// Serves `a` at a reserved port.
fn serve_at(socket: Socket) {
    use std::io::Write;
    socket.listen(128).expect("listening");
    let listener = TcpListener::from(socket);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.write_all(b"a");
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
}

#[test]
fn clients_notice_nothing_of_an_endpoint_that_refuses_and_it_is_ejected_and_returns() {
    let ca = TestCa::new("ca");
    let (socket, closed) = backend::reserved_port();
    let mut gateway = Builder::new(&ca).route(TARGET, &[closed, backend::named("b")]).start();
    let client = Client::new(&ca);
    for _ in 0..20 {
        let (streams, counts) = open(&client, &gateway, 1);
        assert_eq!(counts, [0, 1, 0]);
        streams.into_iter().for_each(finish);
        gateway.expect("closed");
    }
    let ejected = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|message| message.starts_with("endpoint ejected"))
    };
    let line = gateway.line("the ejection", ejected);
    assert_eq!(line["endpoint"], closed.to_string());
    serve_at(socket);
    gateway.eventually("the recovery", |gateway| open(&client, gateway, 1).1 == [1, 0, 0]);
}

#[test]
fn a_silent_endpoint_is_passed_over_within_the_connect_timeout() {
    let ca = TestCa::new("ca");
    let (silent, _sockets) = backend::black_hole();
    let gateway = Builder::new(&ca).route(TARGET, &[silent, backend::named("b")]).start();
    let client = Client::new(&ca);
    for _ in 0..6 {
        let start = Instant::now();
        assert_eq!(open(&client, &gateway, 1).1, [0, 1, 0]);
        assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
    }
}

#[test]
fn when_all_are_ejected_they_are_tried_nevertheless() {
    let ca = TestCa::new("ca");
    let (socket, closed) = backend::reserved_port();
    let mut gateway = Builder::new(&ca).route(TARGET, &[closed]).start();
    let client = Client::new(&ca);
    for _ in 0..8 {
        refusal(&client, gateway.address, &header_for(TARGET, None));
        gateway.expect("connect_failed");
    }
    serve_at(socket);
    // At once, although the ejection would last for 16 s and more.
    assert_eq!(open(&client, &gateway, 1).1, [1, 0, 0]);
}
