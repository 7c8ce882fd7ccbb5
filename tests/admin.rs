//! The admin server in process, over real sockets: its protocols, its rule for other hosts, its
//! bounds and its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use linkerd_gateway::control::admin::{Admin, Scope};
use linkerd_gateway::observe::metrics::Metrics;
use linkerd_gateway::state::State;

/// Longer than anything here may take, the 5 s deadlines under test included.
const PATIENCE: Duration = Duration::from_secs(15);

struct Server {
    state: Arc<State>,
    port: u16,
    stop: CancellationToken,
    tracker: TaskTracker,
    served: JoinHandle<()>,
}

impl Server {
    /// A server on all addresses of this host, as in production.
    async fn start() -> Self {
        let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await {
            Ok(listener) => listener,
            // A host without IPv6.
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap(),
        };
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let admin = Admin {
            state: Arc::clone(&state),
            metrics: Metrics::new(),
            clock: || 0,
            filter: None,
            shutdown: None,
        };
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let served = tracker.spawn(Arc::new(admin).serve(
            listener,
            Scope::Full,
            stop.clone(),
            tracker.clone(),
        ));
        Self { state, port, stop, tracker, served }
    }

    fn loopback(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// An address of this host that is not loopback; connections to it come from itself.
    async fn remote(&self) -> Option<SocketAddr> {
        // Connecting a datagram socket only asks the routing table.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        socket.connect("198.51.100.1:9").await.ok()?;
        let ip = socket.local_addr().unwrap().ip();
        (!ip.is_loopback() && !ip.is_unspecified()).then_some((ip, self.port).into())
    }
}

/// Says why a test did not run; fails where nothing may be skipped.
fn skip(why: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "skipped: {why}");
    println!("skipped: {why}");
}

/// Sends bytes and reads until the server closes.
async fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    // A reset after the answer is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut response)).await.expect("it closes");
    String::from_utf8(response).unwrap()
}

async fn get(address: SocketAddr, path: &str) -> String {
    talk(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

async fn h2(server: &Server, address: SocketAddr) -> http2::SendRequest<Empty<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    server.tracker.spawn(connection);
    sender
}

async fn h2_get(sender: &mut http2::SendRequest<Empty<Bytes>>, path: &str) -> (u16, String) {
    let uri = format!("http://probe{path}");
    let request = Request::get(uri).header("l5d-orig-proto", "HTTP/1.1").body(Empty::new());
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["l5d-orig-proto"], "HTTP/1.1");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn http1_and_prior_knowledge_http2_share_the_port() {
    let server = Server::start().await;
    let response = get(server.loopback(), "/ready").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nready\n"), "{response}");
    let mut sender = h2(&server, server.loopback()).await;
    assert_eq!(h2_get(&mut sender, "/ready").await, (200, "ready\n".into()));
    assert_eq!(h2_get(&mut sender, "/connections").await, (200, "[]\n".into()));
    let head = "HEAD /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let response = talk(server.loopback(), head).await;
    assert!(response.contains("content-length: 5\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn other_hosts_get_probes_only() {
    let server = Server::start().await;
    let Some(remote) = server.remote().await else {
        return skip("this host has no address besides loopback");
    };
    assert!(get(remote, "/ready").await.starts_with("HTTP/1.1 200 "));
    // A header never makes a client local.
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 127.0.0.1\r\n\
        forwarded: for=127.0.0.1\r\nconnection: close\r\n\r\n";
    assert!(talk(remote, request).await.starts_with("HTTP/1.1 403 "));
    for command in
        ["DELETE /connections/1", "PUT /proxy-log-level", "POST /shutdown", "POST /ready"]
    {
        let request = format!(
            "{command} HTTP/1.1\r\nhost: localhost\r\nx-real-ip: ::1\r\nconnection: close\r\n\r\n"
        );
        let refused = if command.ends_with("ready") { 405 } else { 403 };
        let answer = talk(remote, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {refused} ")), "{command}: {answer}");
    }
    let mut sender = h2(&server, remote).await;
    assert_eq!(h2_get(&mut sender, "/ready").await.0, 200);
    assert_eq!(h2_get(&mut sender, "/certs").await.0, 403);
    let metrics = get(server.loopback(), "/metrics").await;
    assert!(metrics.contains("admin_requests_total{path=\"/metrics\",code=\"403\"} 1\n"));
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_thousand_idle_connections_stop_no_probe_and_no_operator() {
    let server = Server::start().await;
    let remote = server.remote().await;
    if remote.is_none() {
        skip("this host has no address besides loopback; idle connections come from there");
    }
    let from = remote.unwrap_or(server.loopback());
    // Silent; in the middle of a request, of an HTTP/2 preface, of a TLS record.
    let beginnings: [&[u8]; 4] = [b"", b"GET /rea", b"PRI * HT", b"\x16\x03\x01"];
    let mut idle = Vec::new();
    for beginning in beginnings.iter().cycle().take(1000) {
        let mut stream = TcpStream::connect(from).await.unwrap();
        let _ = stream.write_all(beginning).await;
        idle.push(stream);
    }
    for address in [Some(server.loopback()), remote].into_iter().flatten() {
        let start = Instant::now();
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200 "));
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
    drop(idle);
}

#[tokio::test]
async fn a_prober_that_keeps_asking_outlives_idle_connections() {
    let server = Server::start().await;
    let mut sender = h2(&server, server.loopback()).await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        for _ in 0..50 {
            idle.push(TcpStream::connect(server.loopback()).await.unwrap());
        }
        // Its probe makes it the youngest again, so the idle ones give way.
        assert_eq!(h2_get(&mut sender, "/ready").await.0, 200);
    }
}

#[tokio::test]
async fn whoever_says_nothing_useful_is_closed_after_five_seconds() {
    let server = Server::start().await;
    let beginnings: [&[u8]; 5] = [
        b"",
        b"GET /ready HTTP/1.1\r\nhost: ",
        b"PRI * HTTP/2.0\r\n",
        b"\x16",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let start = Instant::now();
    let mut streams = Vec::new();
    for beginning in beginnings {
        let mut stream = TcpStream::connect(server.loopback()).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        streams.push(stream);
    }
    for mut stream in streams {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it closes");
    }
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}

#[tokio::test]
async fn oversized_and_malformed_requests_are_refused() {
    let server = Server::start().await;
    let long = format!("GET /ready HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(20_000));
    let many = format!("GET /ready HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
    for request in [long.as_str(), many.as_str()] {
        let response = talk(server.loopback(), request).await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 431 "), "{response}");
    }
    let response = talk(server.loopback(), "\0\u{1}\u{2}\r\n\r\n").await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(get(server.loopback(), "/live").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn not_ready_ends_a_kept_connection() {
    let server = Server::start().await;
    let gate = server.state.readiness.latch("credentials");
    let mut sender = h2(&server, server.loopback()).await;
    assert_eq!(h2_get(&mut sender, "/ready").await, (503, "not ready\ncredentials\n".into()));
    timeout(PATIENCE, async {
        while !sender.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the connection ends");
    // The request does not ask for the end.
    let response = talk(server.loopback(), "GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
    gate.open();
    assert!(get(server.loopback(), "/ready").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn stop_ends_every_connection_and_the_listener() {
    let mut server = Server::start().await;
    let mut sender = h2(&server, server.loopback()).await;
    assert_eq!(h2_get(&mut sender, "/live").await.0, 200);
    let mut kept = TcpStream::connect(server.loopback()).await.unwrap();
    kept.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let silent = TcpStream::connect(server.loopback()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    server.stop.cancel();
    timeout(PATIENCE, &mut server.served).await.expect("it returns").expect("without panic");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.expect("a clean end");
    assert!(answer.ends_with("live\n"), "{answer}");
    assert!(TcpStream::connect(server.loopback()).await.is_err());
    drop(silent);
}
