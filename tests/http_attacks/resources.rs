//! Processor, memory and descriptors: who does nothing costs nothing, and who goes leaves nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use linkerd_gateway::model::header::SessionProtocol;

use crate::fixture::{Parties, parties_with, scripted, scripted_with};
use crate::support::backend::serve;
use crate::support::client::{Stream, half_close, header_for};
use crate::support::gateway::Gateway;
use crate::support::http::TARGET;
use crate::support::http::frames::{self, DATA, Peer, frame, get, post, rst_stream};
use crate::support::http::scripted::{body, head, next_head, ok, say};
use crate::support::process::{cpu_time, descriptors, replace, resident};
use crate::support::tcp::reset;

fn client(parties: &Parties) -> Stream {
    let mut stream = parties.client.connect(parties.gateway.address).expect("a handshake");
    let header = header_for(TARGET, Some(SessionProtocol::Http1));
    stream.write_all(&header).and_then(|()| stream.flush()).expect("sent");
    stream
}

fn sum(gateway: &Gateway, series: &str) -> f64 {
    let text = gateway.get("/metrics");
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn at_rest(gateway: &Gateway) -> bool {
    [
        "gateway_http_requests_in_flight",
        "gateway_http_sessions{",
        "gateway_http_windows_bytes",
        "tcp_open_connections",
    ]
    .iter()
    .all(|series| sum(gateway, series).abs() < 0.5)
}

#[test]
fn who_waits_costs_no_processor() {
    let parties = scripted();
    let (gateway, who) = (&parties.parties.gateway, &parties.parties.client);
    let idle: Vec<_> = (0..5).map(|_| Peer::connect(who, gateway.address).greet(&[])).collect();
    // Nobody answers.
    let mut stalled = Peer::connect(who, gateway.address).greet(&[]);
    for stream in 0..5 {
        stalled.send(&get(stream * 2 + 1, "/stalled"));
    }
    let mut backends: Vec<_> = (0..5).map(|_| parties.backend()).collect();
    // Nobody takes the response.
    let mut blocked = client(&parties.parties);
    say(&mut blocked, "GET /long HTTP/1.1\r\n\r\n");
    let mut long = parties.backend();
    head(&mut long);
    long.set_write_timeout(Some(Duration::from_millis(500))).expect("set");
    say(&mut long, "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n");
    while long.write_all(&[7; 65_536]).is_ok() {}
    // Nobody takes the upload, and nobody the response that goes with it.
    let mut both = Peer::connect(who, gateway.address).greet(&[(frames::SETTING_WINDOW, 10)]);
    both.limit_writes(Duration::from_millis(500));
    both.send(&post(1, "/both"));
    let mut unread = parties.backend();
    say(&mut unread, "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\nabcdefghijklmnop");
    for _ in 0..200 {
        both.send(&frame(DATA, 0, 1, &[7; 16_000]));
    }
    // A client that has ended its half with a request under way, and one that has none.
    let mut halves: Vec<_> = (0..2).map(|_| client(&parties.parties)).collect();
    say(&mut halves[0], "GET /half HTTP/1.1\r\n\r\n");
    backends.push(parties.backend());
    for half in &mut halves {
        half_close(half);
    }
    std::thread::sleep(Duration::from_millis(3500));
    let before = cpu_time(gateway.pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_time(gateway.pid()) - before;
    assert!(used < Duration::from_millis(60), "{used:?}");
    drop((idle, stalled, backends, blocked, long, both, unread, halves));
    gateway.eventually("rest", at_rest);
}

#[test]
fn who_goes_at_whatever_point_leaves_nothing() {
    // A service that stops at a point that its path names.
    let address = serve(|mut stream: TcpStream| {
        while let Some(request) = next_head(&mut stream) {
            let path = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
            let hold = Duration::from_millis(1500);
            match &path[1..] {
                "nothing" => std::thread::sleep(hold),
                "head" => {
                    say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-");
                    std::thread::sleep(hold);
                }
                "body" => {
                    say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
                    std::thread::sleep(hold);
                }
                "chunk" => {
                    say(
                        &mut stream,
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
                    );
                    std::thread::sleep(hold);
                }
                "endless" => {
                    say(&mut stream, "HTTP/1.1 200 OK\r\n\r\n");
                    while stream.write_all(&[7; 65_536]).is_ok() {}
                    return;
                }
                "gone" => return reset(stream),
                _ => {
                    say(&mut stream, &ok("ok"));
                    continue;
                }
            }
            return;
        }
    });
    let parties = parties_with(&[address], "[http]\npool_idle_timeout = \"100ms\"");
    let gateway = &parties.gateway;
    gateway.get("/metrics");
    gateway.eventually("rest", at_rest);
    let before = descriptors(gateway.pid());
    let mut sent = 0;
    for round in 0..30_u64 {
        let mut peer = Peer::connect(&parties.client, gateway.address).greet(&[]);
        peer.limit_writes(Duration::from_secs(1));
        let paths = ["/nothing", "/head", "/body", "/chunk", "/endless", "/gone", "/fine"];
        let mut id = 1;
        for path in paths.iter().cycle().take(28) {
            if round % 2 == 0 || id % 4 == 1 {
                peer.send(&get(id, path));
            } else {
                peer.send(&[post(id, path), frame(DATA, 0, id, &[7; 1000])].concat());
            }
            if (u64::from(id) + round) % 5 == 0 {
                peer.send(&rst_stream(id, frames::CANCEL));
            }
            (id, sent) = (id + 2, sent + 1);
        }
        std::thread::sleep(Duration::from_millis(round % 7 * 10));
        drop(peer);
    }
    gateway.eventually("rest", at_rest);
    gateway.eventually("as few descriptors", |gateway| descriptors(gateway.pid()) <= before + 1);
    let text = gateway.get("/metrics");
    assert!(
        !text.lines().any(|line| line.ends_with(" 18446744073709551615")),
        "a count below zero"
    );
    assert!(sent > 0);
}

#[test]
fn messages_of_a_byte_that_nobody_reads_cost_little_memory() {
    let parties = scripted();
    let (gateway, who) = (&parties.parties.gateway, &parties.parties.client);
    let mut peer = Peer::connect(who, gateway.address).greet(&[]);
    peer.send(&post(1, "/up"));
    let backend = parties.backend();
    let before = resident(gateway.pid());
    peer.limit_writes(Duration::from_secs(1));
    let frames: Vec<u8> = (0..20_000).flat_map(|_| frame(DATA, 0, 1, b"x")).collect();
    let mut sent = 0;
    for _ in 0..50 {
        if !peer.try_send(&frames) {
            break;
        }
        sent += 20_000;
    }
    std::thread::sleep(Duration::from_secs(1));
    let grown = resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{sent} messages: {grown} bytes");
    drop(backend);
}

#[test]
fn streams_that_nobody_reads_cost_bounded_memory_and_give_it_back() {
    let address = serve(|mut stream: TcpStream| {
        let big = vec![7; 1 << 20];
        while let Some(request) = next_head(&mut stream) {
            if request.line.contains("/small") {
                say(&mut stream, &ok("ok"));
                continue;
            }
            say(&mut stream, "HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&big).is_ok() {}
            return;
        }
    });
    let parties = parties_with(&[address], "");
    let gateway = &parties.gateway;
    let before = resident(gateway.pid());
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = Peer::connect(&parties.client, gateway.address)
            .greet(&[(frames::SETTING_WINDOW, (1 << 31) - 1)]);
        for stream in 0..200 {
            peer.send(&get(stream * 2 + 1, "/endless"));
        }
        peers.push(peer);
    }
    std::thread::sleep(Duration::from_secs(3));
    let grown = resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 600 * (400 << 10), "{grown}");
    let mut other = Peer::connect(&parties.client, gateway.address).greet(&[]);
    other.send(&get(1, "/small"));
    assert_eq!(other.status(1), 200);
    drop(peers);
    drop(other);
    gateway.eventually("rest", at_rest);
    let begun = Instant::now();
    let left = || resident(gateway.pid()).saturating_sub(before);
    while left() > 80 << 20 && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(left() <= 80 << 20, "{}", left());
}

#[test]
fn an_old_session_whose_client_ignores_everything_ends() {
    let parties = scripted_with("[http]\nmax_connection_age = \"1s\"");
    let gateway = &parties.parties.gateway;
    let peer = Peer::connect(&parties.parties.client, gateway.address).greet(&[]);
    // It does not even answer the PING between the two steps.
    gateway.eventually("rest", at_rest);
    drop(peer);
}

#[test]
fn what_a_client_has_become_in_a_session_ends_with_its_permission() {
    let rules = "[[policy.rule]]\nname = \"chat\"\naction = \"allow\"\npaths = [\"/chat\"]\n\
                 [[policy.rule]]\nname = \"rest\"\naction = \"allow\"\npaths = [\"/other\"]\n";
    let parties = scripted_with(rules);
    let mut client = client(&parties.parties);
    say(&mut client, "GET /chat HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let mut backend = parties.backend();
    let request = head(&mut backend);
    body(&mut backend, &request);
    say(
        &mut backend,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    assert!(head(&mut client).line.contains("101"));
    let gateway = &parties.parties.gateway;
    let file = gateway.file("gateway.toml");
    let old = std::fs::read_to_string(&file).expect("it was written");
    replace(&file, old.replace("paths = [\"/chat\"]", "paths = [\"/nowhere\"]"));
    gateway.signal("HUP");
    gateway.line("the reload", |line| line["message"] == "configuration reloaded");
    client.sock.set_read_timeout(Some(Duration::from_secs(3))).expect("set");
    let ended = client.read(&mut [0; 1]);
    assert!(
        ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
        "{ended:?}"
    );
}

/// Endpoints that close a connection just after their response, without a word about it.
#[test]
fn connections_that_close_behind_their_response_lose_few_requests() {
    let address = serve(|mut stream: TcpStream| {
        if let Some(request) = next_head(&mut stream) {
            let mut whole = [0; 11];
            let _ = stream.read_exact(&mut whole);
            say(&mut stream, &ok("ok"));
            drop(request);
        }
    });
    let parties = parties_with(&[address], "");
    let mut peer = Peer::connect(&parties.client, parties.gateway.address).greet(&[]);
    let mut failed = 0;
    for round in 0..200_u32 {
        let first = round * 2 + 1;
        peer.send(&[post(first, "/"), frame(DATA, frames::END_STREAM, first, b"x")].concat());
        failed += u32::from(peer.status(first) != 200);
    }
    assert!(failed <= 10, "{failed} of 200");
}

/// They would use up what the library allows of small frames, and the connection is shared.
#[test]
fn small_messages_that_a_client_does_not_read_cost_others_nothing() {
    let messages: Vec<u8> = frame(DATA, 0, 0, &[7; 10]).repeat(25_000);
    let (address, _) = crate::retries::h2(
        move |id| {
            let flags = frames::END_HEADERS;
            let response = frame(frames::HEADERS, flags, id, &[0x88]);
            if id > 9 {
                return [response, frame(DATA, frames::END_STREAM, id, b"ok")].concat();
            }
            let mut messages = messages.clone();
            for message in messages.chunks_mut(19) {
                message[5..9].copy_from_slice(&id.to_be_bytes());
            }
            [response, messages].concat()
        },
        false,
    );
    let parties = parties_with(&[address], "[runtime]\nworkers = 1");
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", TARGET), (":path", "/")];
    let get = |stream| frames::headers(stream, frames::END_STREAM, &fields);
    let mut hostile = Peer::connect(&parties.client, parties.gateway.address)
        .greet(&[(frames::SETTING_WINDOW, 0)]);
    for stream in 0..5 {
        hostile.send(&get(stream * 2 + 1));
        assert_eq!(hostile.status(stream * 2 + 1), 200);
    }
    std::thread::sleep(Duration::from_secs(2));
    let mut other = Peer::connect(&parties.client, parties.gateway.address).greet(&[]);
    other.send(&get(1));
    assert_eq!(other.status(1), 200);
    let dials = "tcp_open_total{direction=\"outbound\"";
    assert!((sum(&parties.gateway, dials) - 1.0).abs() < 0.5, "the connection was given up");
    while let Some(frame) = hostile.within(Duration::from_millis(50)) {
        assert!(![frames::GOAWAY, frames::RST_STREAM].contains(&frame.kind), "{frame:?}");
    }
}
