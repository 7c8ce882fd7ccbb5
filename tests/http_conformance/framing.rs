//! Frames: the preface, their sizes, their stream ids, and those that change nothing
//! (RFC 9113 3.4, 4 and 6).

use crate::rows::Reaction::{Connection, Ended, Ignored, Status, Stream};
use crate::rows::{Row, Server, coded, row};
use crate::support::http::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY,
    HEADERS, PADDED, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM,
    SETTING_ENABLE_PUSH, SETTING_FRAME_SIZE, SETTING_WINDOW, SETTINGS, WINDOW_UPDATE,
    WITH_PRIORITY, fields, frame, get, headers, post, settings,
};
use crate::support::http::hpack;

/// The largest frame that a server allows that has said nothing of it.
const MAX_FRAME: u32 = 16_384;

#[test]
fn a_connection_begins_with_preface_and_settings() {
    let bad = [Connection(PROTOCOL_ERROR), Ended];
    let mut wrong = PREFACE.to_vec();
    wrong[20] = b'X';
    let rows = vec![
        row("a wrong preface", [&wrong[..], &settings(&[])].concat(), &bad),
        row("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), &bad),
        // The h2 crate does not insist on SETTINGS before the rest, and loses nothing by that.
        row(
            "a request first",
            [PREFACE, &get(1, "/")].concat(),
            &[&bad[..], &[Status(1, 200)]].concat(),
        ),
    ];
    Server::new().check_on(rows, Server::connect);
}

#[test]
fn a_frame_of_a_wrong_size_is_an_error() {
    let server = Server::new();
    let size = coded(FRAME_SIZE_ERROR);
    let on_stream = [&size[..], &[Stream(1, FRAME_SIZE_ERROR)]].concat();
    let max = server.greeted().setting(SETTING_FRAME_SIZE).unwrap_or(MAX_FRAME);
    let long = vec![0; max as usize + 1];
    let posted = |bytes: Vec<u8>| [post(1, "/"), bytes].concat();
    let mut rows = vec![
        row("too long DATA", posted(frame(DATA, 0, 1, &long)), &on_stream),
        row("too long HEADERS", frame(HEADERS, END_HEADERS, 1, &long), &size),
        row("too long for an unknown frame", frame(0xbe, 0, 0, &long), &size),
        row("PRIORITY of 4", frame(PRIORITY, 0, 1, &[0; 4]), &on_stream),
        row("PRIORITY of 6", frame(PRIORITY, 0, 1, &[0; 6]), &on_stream),
        row("GOAWAY of 7", frame(GOAWAY, 0, 0, &[0; 7]), &size),
        row("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6]), &size),
        row("padding without its length", frame(HEADERS, PADDED | END_HEADERS, 1, b""), &size),
        row("a priority cut short", frame(HEADERS, WITH_PRIORITY | END_HEADERS, 1, &[0; 4]), &size),
    ];
    for (what, kind, stream, lengths) in [
        ("SETTINGS", SETTINGS, 0, [5, 7]),
        ("PING", PING, 0, [7, 9]),
        ("WINDOW_UPDATE", WINDOW_UPDATE, 0, [3, 5]),
        ("RST_STREAM", RST_STREAM, 1, [3, 5]),
    ] {
        for length in lengths {
            rows.push(row(what, posted(frame(kind, 0, stream, &vec![0; length])), &size));
        }
    }
    server.check(rows);
}

#[test]
fn padding_longer_than_its_frame_is_an_error() {
    let bad = [Connection(PROTOCOL_ERROR)];
    let block = hpack::block(&fields("GET", "/"));
    let padded = [&[block.len() as u8 + 1][..], &block].concat();
    let right = [&[3][..], &block, &[0; 3]].concat();
    let flags = PADDED | END_HEADERS | END_STREAM;
    let data = |payload: &[u8]| [post(1, "/"), frame(DATA, PADDED | END_STREAM, 1, payload)];
    Server::new().check(vec![
        row("DATA", data(&[5, 1, 2, 3, 4]).concat(), &bad),
        row("HEADERS", frame(HEADERS, flags, 1, &padded), &bad),
        row("as long as DATA", data(&[4, 0, 0, 0, 0]).concat(), &[Status(1, 200)]),
        row("within HEADERS", frame(HEADERS, flags, 1, &right), &[Status(1, 200)]),
    ]);
}

#[test]
fn frames_of_streams_need_one_and_frames_of_connections_have_none() {
    let bad = [Connection(PROTOCOL_ERROR)];
    let block = hpack::block(&fields("GET", "/"));
    let promise = [&2u32.to_be_bytes()[..], &block].concat();
    let rows: Vec<Row> = [
        ("DATA on 0", frame(DATA, 0, 0, b"x")),
        ("HEADERS on 0", frame(HEADERS, END_HEADERS | END_STREAM, 0, &block)),
        ("PRIORITY on 0", frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 15])),
        ("RST_STREAM on 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("CONTINUATION on 0", frame(CONTINUATION, END_HEADERS, 0, &block)),
        ("SETTINGS on 1", [post(1, "/"), frame(SETTINGS, 0, 1, b"")].concat()),
        ("PING on 1", [post(1, "/"), frame(PING, 0, 1, &[0; 8])].concat()),
        ("GOAWAY on 1", [post(1, "/"), frame(GOAWAY, 0, 1, &[0; 8])].concat()),
        ("PUSH_PROMISE on 0", frame(PUSH_PROMISE, END_HEADERS, 0, &promise)),
        ("PUSH_PROMISE", [get(1, "/wait"), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)].concat()),
    ]
    .into_iter()
    .map(|(what, bytes)| row(what, bytes, &bad))
    .collect();
    Server::new().check(rows);
}

#[test]
fn settings_have_ranges() {
    let protocol = [Connection(PROTOCOL_ERROR)];
    Server::new().check(vec![
        row("a window of 2^31", settings(&[(SETTING_WINDOW, 1 << 31)]), &coded(FLOW_CONTROL_ERROR)),
        row("frames of 16,383", settings(&[(SETTING_FRAME_SIZE, 16_383)]), &protocol),
        row("frames of 2^24", settings(&[(SETTING_FRAME_SIZE, 1 << 24)]), &protocol),
        row("push of 2", settings(&[(SETTING_ENABLE_PUSH, 2)]), &protocol),
        row("the largest", settings(&[(SETTING_FRAME_SIZE, (1 << 24) - 1)]), &[Ignored]),
        row("push of 1", settings(&[(SETTING_ENABLE_PUSH, 1)]), &[Ignored]),
        row("an unknown one", settings(&[(0xff, u32::MAX), (0, 1)]), &[Ignored]),
    ]);
}

#[test]
fn what_means_nothing_is_ignored() {
    let odd_flags =
        frame(HEADERS, 0xd2 | END_HEADERS | END_STREAM, 1, &{ hpack::block(&fields("GET", "/")) });
    Server::new().check(vec![
        row("an unknown frame", frame(0xbe, 0xff, 0, b"anything"), &[Ignored]),
        row("one on an idle stream", frame(0xbe, 0, 77, b""), &[Ignored]),
        row("an answer to no PING", frame(PING, ACK, 0, &[7; 8]), &[Ignored]),
        row("unknown flags", odd_flags, &[Status(1, 200)]),
        row("unknown flags of SETTINGS", frame(SETTINGS, 0xfe, 0, b""), &[Ignored]),
        row("the reserved bit", get(1 << 31 | 1, "/"), &[Status(1, 200)]),
        row(
            "DATA without bytes",
            [post(1, "/"), frame(DATA, END_STREAM, 1, b"")].concat(),
            &[Status(1, 200)],
        ),
    ]);
}

#[test]
fn a_ping_is_answered_with_its_own_bytes() {
    let server = Server::new();
    let mut peer = server.greeted();
    // In the middle of an exchange, too.
    peer.send(&post(1, "/"));
    for number in 0..20u64 {
        let opaque = number.to_be_bytes();
        peer.send(&frame(PING, 0, 0, &opaque));
        let answer = loop {
            let frame = peer.next().expect("an answer");
            if frame.kind == PING {
                break frame;
            }
        };
        assert_eq!((answer.flags, answer.stream, &answer.payload[..]), (ACK, 0, &opaque[..]));
    }
}

#[test]
fn a_head_may_be_cut_into_continuations_and_nothing_comes_between() {
    let server = Server::new();
    let block = hpack::block(&fields("GET", "/"));
    let (first, second) = block.split_at(20);
    let open = frame(HEADERS, END_STREAM, 1, first);
    let bad = [Connection(PROTOCOL_ERROR)];
    let with = |bytes: Vec<u8>| [open.clone(), bytes].concat();
    let rest = frame(CONTINUATION, END_HEADERS, 1, second);
    let bytewise: Vec<u8> = second.iter().flat_map(|b| frame(CONTINUATION, 0, 1, &[*b])).collect();
    let end = frame(CONTINUATION, END_HEADERS, 1, b"");
    server.check(vec![
        row("two parts", with(rest.clone()), &[Status(1, 200)]),
        row(
            "a part for a byte",
            with([bytewise, end.clone()].concat()),
            &[Status(1, 200), Connection(crate::support::http::frames::ENHANCE_YOUR_CALM)],
        ),
        row("DATA between", with(frame(DATA, 0, 1, b"x")), &bad),
        row("PING between", with(frame(PING, 0, 0, &[0; 8])), &bad),
        row("an unknown frame between", with(frame(0xbe, 0, 0, b"")), &bad),
        row("another head between", with(get(3, "/")), &bad),
        row("another stream's part", with(frame(CONTINUATION, END_HEADERS, 3, second)), &bad),
        row("a part of no head", rest.clone(), &bad),
        row("a part too many", [get(1, "/wait"), rest].concat(), &bad),
        row("a part behind DATA", [post(1, "/"), frame(DATA, 0, 1, b"x"), end].concat(), &bad),
    ]);
    // The order of the pseudo headers is free.
    let mut reversed = fields("GET", "/");
    reversed[..4].reverse();
    server.check(vec![row("reversed", headers(1, END_STREAM, &reversed), &[Status(1, 200)])]);
}
