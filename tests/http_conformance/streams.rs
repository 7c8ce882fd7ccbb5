//! The life of a stream (RFC 9113 5): ids that only grow, and frames that come too early or late.

use crate::rows::Reaction::{Connection, Ignored, Status, Stream};
use crate::rows::{Server, react, row};
use crate::support::http::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PRIORITY, PROTOCOL_ERROR,
    Peer, REFUSED_STREAM, SETTING_MAX_STREAMS, STREAM_CLOSED, WITH_PRIORITY, fields, frame, get,
    headers, post, rst_stream, window_update,
};
use crate::support::http::hpack;

#[test]
fn ids_of_clients_are_odd_and_grow() {
    let bad = [Connection(PROTOCOL_ERROR), Connection(STREAM_CLOSED)];
    Server::new().check(vec![
        row("an even id", get(2, "/"), &bad[..1]),
        row("a smaller id", [get(5, "/wait"), get(3, "/")].concat(), &bad),
        row("a greater id", [post(5, "/wait"), get(99, "/")].concat(), &[Status(99, 200)]),
        row("the greatest", get((1 << 31) - 1, "/"), &[Status((1 << 31) - 1, 200)]),
    ]);
}

#[test]
fn a_stream_that_has_not_begun_takes_nothing_but_headers_and_priority() {
    let bad = [Connection(PROTOCOL_ERROR)];
    let closed = [Connection(PROTOCOL_ERROR), Connection(STREAM_CLOSED)];
    Server::new().check(vec![
        row("DATA", frame(DATA, END_STREAM, 1, b"x"), &closed),
        row("RST_STREAM", rst_stream(1, CANCEL), &bad),
        row("WINDOW_UPDATE", window_update(1, 100), &bad),
        row("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, b""), &bad),
        row("RST_STREAM of an even one", rst_stream(2, CANCEL), &bad),
        row("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15]), &[Ignored]),
    ]);
}

#[test]
fn a_client_that_has_ended_its_half_sends_no_more() {
    let closed = [
        Stream(1, STREAM_CLOSED),
        Connection(STREAM_CLOSED),
        // Less exact, and as final.
        Stream(1, PROTOCOL_ERROR),
        Connection(PROTOCOL_ERROR),
    ];
    let after = |bytes: Vec<u8>| [get(1, "/wait"), bytes].concat();
    Server::new().check(vec![
        row("DATA", after(frame(DATA, END_STREAM, 1, b"x")), &closed),
        row("HEADERS", after(get(1, "/")), &closed),
        row("WINDOW_UPDATE", after(window_update(1, 100)), &[Ignored]),
        row("PRIORITY", after(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15])), &[Ignored]),
    ]);
}

#[test]
fn a_stream_that_the_client_has_reset_is_closed() {
    let closed = [Stream(1, STREAM_CLOSED), Connection(STREAM_CLOSED)];
    let reopened = [&closed[..], &[Connection(PROTOCOL_ERROR), Stream(1, PROTOCOL_ERROR)]].concat();
    let after = |bytes: Vec<u8>| [post(1, "/wait"), rst_stream(1, CANCEL), bytes].concat();
    Server::new().check(vec![
        row("DATA", after(frame(DATA, END_STREAM, 1, b"x")), &closed),
        row("HEADERS", after(get(1, "/")), &reopened),
        row("PRIORITY", after(frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15])), &[Ignored]),
        row("another stream", after(get(3, "/")), &[Status(3, 200)]),
    ]);
}

#[test]
fn a_stream_that_both_have_ended_is_closed() {
    let closed = [
        Connection(STREAM_CLOSED),
        Connection(PROTOCOL_ERROR),
        Stream(1, STREAM_CLOSED),
        Stream(1, PROTOCOL_ERROR),
    ];
    let rows = vec![
        row("DATA", frame(DATA, END_STREAM, 1, b"x"), &closed),
        row("HEADERS", get(1, "/"), &closed),
        row("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, b""), &closed[..2]),
        row("WINDOW_UPDATE", window_update(1, 100), &[Ignored]),
        row("RST_STREAM", rst_stream(1, CANCEL), &[Ignored, Connection(STREAM_CLOSED)]),
        row("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15]), &[Ignored]),
    ];
    Server::new().check_on(rows, |server| {
        let mut peer = server.greeted();
        peer.send(&get(1, "/"));
        ended(&mut peer, 1);
        peer
    });
}

/// Reads to the end of a stream's response.
fn ended(peer: &mut Peer, stream: u32) {
    loop {
        let frame = peer.next().expect("a response");
        let carries = frame.kind == DATA || frame.kind == HEADERS;
        if carries && frame.stream == stream && frame.flags & END_STREAM != 0 {
            return;
        }
    }
}

#[test]
fn a_priority_that_depends_on_itself_harms_nobody() {
    // An error in RFC 7540, ignored since RFC 9113.
    let error = [Stream(1, PROTOCOL_ERROR), Connection(PROTOCOL_ERROR)];
    let block = [&[0, 0, 0, 1, 15][..], &hpack::block(&fields("GET", "/"))].concat();
    let flags = WITH_PRIORITY | END_HEADERS | END_STREAM;
    Server::new().check(vec![
        row("PRIORITY", frame(PRIORITY, 0, 1, &block[..5]), &[&[Ignored], &error[..]].concat()),
        row("HEADERS", frame(HEADERS, flags, 1, &block), &[&[Status(1, 200)], &error[..]].concat()),
    ]);
}

#[test]
fn more_streams_than_announced_are_refused_and_the_others_go_on() {
    let server = Server::with("[http]\nmax_concurrent_streams = 10");
    let mut peer = server.greeted();
    let limit = peer.setting(SETTING_MAX_STREAMS).expect("SETTINGS_MAX_CONCURRENT_STREAMS");
    if server.gateway().is_some() {
        assert_eq!(limit, 10);
    }
    let waiting: Vec<u8> = (0..limit).flat_map(|n| get(2 * n + 1, "/wait")).collect();
    peer.send(&waiting);
    let next = 2 * limit + 1;
    let accepts = [
        Stream(next, REFUSED_STREAM),
        Stream(next, PROTOCOL_ERROR),
        Connection(PROTOCOL_ERROR),
        Connection(REFUSED_STREAM),
    ];
    let reaction = react(&mut peer, &get(next, "/"), &accepts);
    assert!(accepts.contains(&reaction), "{reaction:?}");
    if let Stream(..) = reaction {
        // One that ends makes room for another.
        peer.send(&rst_stream(1, CANCEL));
        peer.send(&get(next + 2, "/"));
        assert_eq!(peer.status(next + 2), 200);
    }
}

#[test]
fn a_client_that_says_goaway_gets_what_it_has_asked_for() {
    let server = Server::new();
    let mut peer = server.greeted();
    peer.send(&[post(1, "/"), frame(GOAWAY, 0, 0, &[0; 8])].concat());
    std::thread::sleep(std::time::Duration::from_millis(100));
    peer.send(&frame(DATA, END_STREAM, 1, b"late"));
    assert_eq!(peer.status(1), 200);
    ended_or_gone(&mut peer);
}

/// The server has no reason to keep a connection on which nothing more may begin.
fn ended_or_gone(peer: &mut Peer) {
    while let Some(frame) = peer.next() {
        assert!(frame.kind != GOAWAY || frame.code() == 0, "{frame:?}");
    }
}

#[test]
fn requests_on_one_connection_do_not_wait_for_each_other() {
    let server = Server::new();
    let mut peer = server.greeted();
    peer.send(&[get(1, "/wait"), post(3, "/"), get(5, "/")].concat());
    assert_eq!(peer.status(5), 200);
    peer.send(&headers(7, END_STREAM, &fields("GET", "/")));
    assert_eq!(peer.status(7), 200);
    peer.send(&frame(DATA, END_STREAM, 3, b"x"));
    assert_eq!(peer.status(3), 200);
}
