//! Requests (RFC 9113 8): what is malformed is refused on its stream, and never reaches a service.

use crate::rows::Reaction::{self, Connection, Status, Stream};
use crate::rows::{Row, Server, coded, row};
use crate::support::http::frames::{
    COMPRESSION_ERROR, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PROTOCOL_ERROR,
    fields, frame, get, headers, post,
};
use crate::support::http::hpack;

/// A stream error, which may be a connection error, or may be told as a status (8.1.1).
const MALFORMED: [Reaction; 3] =
    [Stream(1, PROTOCOL_ERROR), Connection(PROTOCOL_ERROR), Status(1, 400)];

type Fields<'f> = Vec<(&'f str, &'f str)>;

fn with<'f>(name: &'f str, value: &'f str) -> Fields<'f> {
    [fields("GET", "/"), vec![(name, value)]].concat()
}

fn without(name: &str) -> Fields<'static> {
    fields("GET", "/").into_iter().filter(|(n, _)| *n != name).collect()
}

fn replaced<'f>(name: &str, value: &'f str) -> Fields<'f> {
    let replace = |(n, v)| if n == name { (n, value) } else { (n, v) };
    fields("GET", "/").into_iter().map(replace).collect()
}

fn malformed(what: &'static str, fields: &Fields<'_>) -> Row {
    row(what, headers(1, END_STREAM, fields), &MALFORMED)
}

fn fine(what: &'static str, fields: &Fields<'_>) -> Row {
    row(what, headers(1, END_STREAM, fields), &[Status(1, 200)])
}

#[test]
fn names_and_values_are_those_of_http() {
    Server::new().check(vec![
        malformed("an upper-case name", &with("X-Test", "a")),
        malformed("a space in a name", &with("x test", "a")),
        malformed("a colon in a name", &with("x:test", "a")),
        malformed("a name of no ASCII", &with("x-t\u{e9}st", "a")),
        malformed("a line break in a name", &with("x\r\ny", "a")),
        malformed("no name", &with("", "a")),
        malformed("a line break in a value", &with("x-test", "a\r\nx-smuggled: b")),
        malformed("a bare line feed", &with("x-test", "a\nb")),
        malformed("a bare carriage return", &with("x-test", "a\rb")),
        malformed("NUL", &with("x-test", "a\0b")),
        fine("any other byte", &with("x-test", "a\tb \u{e9}")),
        fine("no value", &with("x-test", "")),
    ]);
}

#[test]
fn headers_of_a_connection_are_not_for_http_2() {
    Server::new().check(vec![
        malformed("connection", &with("connection", "keep-alive")),
        malformed("proxy-connection", &with("proxy-connection", "keep-alive")),
        malformed("keep-alive", &with("keep-alive", "timeout=5")),
        malformed("transfer-encoding", &with("transfer-encoding", "chunked")),
        malformed("upgrade", &with("upgrade", "websocket")),
        malformed("te", &with("te", "gzip")),
        fine("te: trailers", &with("te", "trailers")),
    ]);
}

#[test]
fn pseudo_headers_are_complete_single_first_and_known() {
    let regular_first = [vec![("x-test", "a")], fields("GET", "/")].concat();
    let between = [&fields("GET", "/")[..2], &[("x-test", "a")], &fields("GET", "/")[2..]].concat();
    let mut rows = vec![
        malformed("behind a regular one", &regular_first),
        malformed("around a regular one", &between),
        malformed("an unknown one", &[vec![(":test", "a")], fields("GET", "/")].concat()),
        malformed("one of responses", &[vec![(":status", "200")], fields("GET", "/")].concat()),
        malformed("no :method", &without(":method")),
        malformed("no :scheme", &without(":scheme")),
        malformed("no :path", &without(":path")),
    ];
    for (name, value) in fields("GET", "/").into_iter().take(4) {
        rows.push(malformed("one twice", &[vec![(name, value)], fields("GET", "/")].concat()));
    }
    Server::new().check(rows);
}

#[test]
fn a_request_line_cannot_be_forged() {
    Server::new().check(vec![
        malformed("an empty path", &replaced(":path", "")),
        malformed("a space in the path", &replaced(":path", "/a b")),
        malformed("a line break in the path", &replaced(":path", "/ HTTP/1.1\r\nx: y")),
        malformed("a path without its slash", &replaced(":path", "index")),
        malformed("an empty method", &replaced(":method", "")),
        malformed("a space in the method", &replaced(":method", "GET /x")),
        malformed("a line break in the method", &replaced(":method", "GET\r\nx: y\r\n")),
        malformed("a space in the authority", &replaced(":authority", "a b")),
        malformed("a line break in the authority", &replaced(":authority", "a\r\nx: y")),
        malformed(
            "a mark that is none",
            &[&fields("GET", "/")[..4], &[("l5d-orig-proto", "HTTP/1.1\r\nx: y")]].concat(),
        ),
    ]);
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    let says = |length| [fields("POST", "/"), vec![("content-length", length)]].concat();
    let with_data = |length, parts: &[&[u8]]| {
        let (last, first) = parts.split_last().expect("a part");
        let mut bytes = headers(1, 0, &says(length));
        first.iter().for_each(|part| bytes.extend(frame(DATA, 0, 1, part)));
        bytes.extend(frame(DATA, END_STREAM, 1, last));
        bytes
    };
    let trailed = |length| {
        let trailers = headers(1, END_STREAM, &[("x-test", "a")]);
        [headers(1, 0, &says(length)), frame(DATA, 0, 1, b"abc"), trailers].concat()
    };
    let twice = [says("3"), vec![("content-length", "4")]].concat();
    let twice = [headers(1, 0, &twice), frame(DATA, END_STREAM, 1, b"abc")].concat();
    Server::new().check(vec![
        row("as long", with_data("3", &[b"abc"]), &[Status(1, 200)]),
        row("as long in parts", with_data("4", &[b"a", b"", b"bcd"]), &[Status(1, 200)]),
        row("as long with trailers", trailed("3"), &[Status(1, 200)]),
        row("shorter", with_data("4", &[b"abc"]), &MALFORMED),
        row("shorter with trailers", trailed("4"), &MALFORMED),
        row("longer", with_data("2", &[b"abc"]), &MALFORMED),
        row("longer in parts", with_data("2", &[b"a", b"b", b"c"]), &MALFORMED),
        row("none at all", headers(1, END_STREAM, &says("3")), &MALFORMED),
        row("two lengths", twice, &MALFORMED),
        row("no number", with_data("abc", &[b"abc"]), &MALFORMED),
        row("a sign", with_data("+3", &[b"abc"]), &MALFORMED),
        row("a negative one", with_data("-3", &[b"abc"]), &MALFORMED),
    ]);
}

#[test]
fn trailers_end_the_stream_and_have_no_pseudo_headers() {
    let body = |trailers: Vec<u8>| [post(1, "/"), frame(DATA, 0, 1, b"x"), trailers].concat();
    // The h2 crate drops pseudo headers of trailers without a word: then nobody sees them.
    let dropped = [&MALFORMED[..], &[Status(1, 200)]].concat();
    Server::new().check(vec![
        row("right", body(headers(1, END_STREAM, &[("x-test", "a")])), &[Status(1, 200)]),
        row("without an end", body(headers(1, 0, &[("x-test", "a")])), &MALFORMED),
        row("with :method", body(headers(1, END_STREAM, &[(":method", "GET")])), &dropped),
        row("with :status", body(headers(1, END_STREAM, &[(":status", "200")])), &dropped),
        row("in upper case", body(headers(1, END_STREAM, &[("X-Test", "a")])), &MALFORMED),
        row("a second head", body(get(1, "/")), &dropped),
    ]);
}

#[test]
fn a_block_that_cannot_be_decoded_ends_the_connection() {
    let bad = coded(COMPRESSION_ERROR);
    let block = |block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, block);
    let start = hpack::block(&fields("GET", "/"));
    let behind = |more: &[u8]| block(&[&start[..], more].concat());
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]);
    Server::new().check(vec![
        row("index 0", behind(&[0x80]), &bad),
        row("an index that nobody has", behind(&[0xc6]), &bad),
        row("a number without end", behind(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), &bad),
        row("a literal cut short", behind(&[0, 5, b'a']), &bad),
        row("a value cut short", behind(&[0, 1, b'a', 9, b'b']), &bad),
        row("bad Huffman", behind(&[0, 0x81, 0x00, 0x84, 0xff, 0xff, 0xff, 0xff]), &bad),
        row("a table of 1 MiB", block(&[&[0x3f, 0xe1, 0xff, 0x3f][..], &start].concat()), &bad),
        row("a size behind a header", behind(&[0x20]), &bad),
        row("in trailers", [post(1, "/"), trailers].concat(), &bad),
        row(
            "on a stream to be refused",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
            &bad,
        ),
    ]);
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let server = Server::with("[http]\nmax_header_list_size = \"16KiB\"");
    let value = "x".repeat(15_000);
    let mut bytes = frame(HEADERS, END_STREAM, 1, &hpack::block(&fields("GET", "/")));
    for number in 0..8 {
        let part = hpack::block(&[("x-test", &value)]);
        let flags = if number == 7 { END_HEADERS } else { 0 };
        bytes.extend(frame(9, flags, 1, &part));
    }
    let accepts = [
        Status(1, 431),
        Stream(1, PROTOCOL_ERROR),
        Stream(1, ENHANCE_YOUR_CALM),
        Stream(1, crate::support::http::frames::REFUSED_STREAM),
        Connection(ENHANCE_YOUR_CALM),
        Connection(PROTOCOL_ERROR),
        Connection(COMPRESSION_ERROR),
    ];
    server.check(vec![
        row("120 KB", bytes, &accepts),
        row("12 KB", headers(1, END_STREAM, &with("x-test", &value[..12_000])), &[Status(1, 200)]),
    ]);
}
