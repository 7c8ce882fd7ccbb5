//! Floods: one session that costs much is cut, soon and before it costs memory, and the others go
//! on.

use std::time::{Duration, Instant};

use crate::rows::{HUGE, Server};
use crate::support::http::frames::{
    CANCEL, CONTINUATION, DATA, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, Peer, SETTING_WINDOW,
    fields, frame, get, post, rst_stream, settings, window_update,
};
use crate::support::http::hpack;
use crate::support::process::resident;

/// A flood ends within this.
const SOON: Duration = Duration::from_secs(30);
/// And adds less than this.
const MEMORY: u64 = 64 << 20;

/// Sends what `next` gives, `count` times, and reads what comes meanwhile. Another session is
/// served before, during and after it; the flooding one is cut, unless `may_live`.
fn flood(first: &[u8], count: u32, may_live: bool, next: impl Fn(u32) -> Vec<u8>) {
    let server = Server::new();
    let mut other = server.greeted();
    other.send(&get(1, "/"));
    assert_eq!(other.status(1), 200);
    let memory = || server.gateway().map_or(0, |gateway| resident(gateway.pid()));
    let (before, begun) = (memory(), Instant::now());
    let mut peer = server.greeted();
    let mut cut = !peer.try_send(first);
    for batch in 0..count / 100 {
        let bytes: Vec<u8> = (0..100).flat_map(|n| next(batch * 100 + n)).collect();
        cut |= !peer.try_send(&bytes) || drained(&mut peer);
        if cut {
            break;
        }
        if batch % 50 == 0 {
            other.send(&get(3 + 2 * batch, "/"));
            assert_eq!(other.status(3 + 2 * batch), 200);
        }
    }
    let until = Instant::now() + Duration::from_secs(2);
    while !cut && Instant::now() < until {
        cut = drained(&mut peer);
        std::thread::sleep(Duration::from_millis(10));
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(cut || may_live, "the flood of {count} was not cut");
    other.send(&get(100_001, "/"));
    assert_eq!(other.status(100_001), 200);
    let mut late = server.greeted();
    late.send(&get(1, "/"));
    assert_eq!(late.status(1), 200);
}

/// Reads what has come; true when the session is over.
fn drained(peer: &mut Peer) -> bool {
    while let Some(frame) = peer.ready() {
        if frame.kind == GOAWAY {
            return true;
        }
    }
    peer.end.is_some()
}

#[test]
fn requests_that_are_reset_at_once() {
    flood(b"", 10_000, false, |n| {
        [get(2 * n + 1, "/wait"), rst_stream(2 * n + 1, CANCEL)].concat()
    });
}

#[test]
fn requests_whose_resets_the_client_provokes() {
    flood(b"", 10_000, false, |n| [get(2 * n + 1, "/wait"), window_update(2 * n + 1, 0)].concat());
}

#[test]
fn a_head_of_endless_continuations() {
    let first = frame(HEADERS, 0, 1, &hpack::block(&fields("GET", "/")));
    let part = hpack::block(&[("x-test", &"x".repeat(1000))]);
    flood(&first, 10_000, false, |_| frame(CONTINUATION, 0, 1, &part));
}

#[test]
fn a_head_of_empty_continuations() {
    let first = frame(HEADERS, 0, 1, &hpack::block(&fields("GET", "/")));
    flood(&first, 10_000, false, |_| frame(CONTINUATION, 0, 1, b""));
}

#[test]
fn pings() {
    flood(b"", 100_000, false, |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes()));
}

#[test]
fn settings_without_end() {
    flood(b"", 100_000, false, |n| settings(&[(SETTING_WINDOW, 65_535 + n % 2)]));
}

#[test]
fn data_without_bytes() {
    flood(&post(1, "/"), 100_000, false, |_| frame(DATA, 0, 1, b""));
}

#[test]
fn priorities() {
    // They cost nothing but their reading.
    flood(b"", 100_000, true, |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15]));
}

#[test]
fn a_peer_that_reads_none_of_the_answers_to_its_pings_costs_no_memory() {
    let server = Server::new();
    let mut peer = server.greeted();
    let memory = || server.gateway().map_or(0, |gateway| resident(gateway.pid()));
    let before = memory();
    // The gateway stops reading, or cuts.
    peer.limit_writes(Duration::from_secs(1));
    let pings: Vec<u8> = (0..10_000u64).flat_map(|n| frame(PING, 0, 0, &n.to_be_bytes())).collect();
    for _ in 0..100 {
        if !peer.try_send(&pings) {
            break;
        }
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    let mut late = server.greeted();
    late.send(&get(1, "/"));
    assert_eq!(late.status(1), 200);
}

#[test]
fn pings_that_measure_a_download_are_no_flood() {
    // grpc-go sends one for each round trip of a download, to learn how large its window must be.
    let server = Server::new();
    let mut peer = server.connect().greet(&[(SETTING_WINDOW, 1 << 20)]);
    peer.send(&[window_update(0, 1 << 20), get(1, "/huge")].concat());
    let (mut got, mut pings) = (0, 0_u64);
    while let Some(received) = peer.next() {
        assert_ne!(received.kind, GOAWAY, "after {pings} PINGs: {received:?}");
        if received.kind != DATA {
            continue;
        }
        got += received.payload.len();
        if received.flags & END_STREAM != 0 {
            break;
        }
        let length = received.payload.len() as u32;
        pings += 1;
        let ping = frame(PING, 0, 0, &pings.to_be_bytes());
        peer.send(&[window_update(0, length), window_update(1, length), ping].concat());
    }
    assert_eq!(got, HUGE, "after {pings} PINGs: {:?}", peer.end);
}

#[test]
fn messages_of_a_byte_are_no_flood() {
    let server = Server::new();
    let mut peer = server.greeted();
    peer.send(&post(1, "/"));
    for _ in 0..200 {
        let batch: Vec<u8> = (0..100).flat_map(|_| frame(DATA, 0, 1, b"x")).collect();
        assert!(peer.try_send(&batch));
    }
    peer.send(&frame(DATA, END_STREAM, 1, b""));
    assert_eq!(peer.status(1), 200);
}

#[test]
fn requests_that_are_given_up_among_others_are_no_flood() {
    // A client whose timeout is shorter than its service takes, for as long as it likes.
    let server = Server::new();
    let mut peer = server.greeted();
    for round in 0..300 {
        let [waits, served] = [4 * round + 1, 4 * round + 3];
        peer.send(&[get(waits, "/wait"), get(served, "/")].concat());
        assert_eq!(peer.status(served), 200);
        peer.send(&rst_stream(waits, CANCEL));
    }
}
