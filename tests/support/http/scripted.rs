//! HTTP/1 byte for byte, for services whose every byte, and whose end, a test chooses itself.

use std::io::{Read, Write};
use std::net::TcpStream;

/// A head as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request line or status line.
    pub line: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The values of a header, joined with `, `; empty when there is none.
    pub fn header(&self, name: &str) -> String {
        let values = self.headers.iter().filter(|(n, _)| n == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether there is such a header.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }
}

/// The next head; `None` when the peer ended before its first byte.
pub fn next_head(stream: &mut impl Read) -> Option<Head> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ if bytes.is_empty() => return None,
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    let text = String::from_utf8(bytes).expect("UTF-8");
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().expect("a line").to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').expect("a header");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Some(Head { line, headers: headers.collect() })
}

/// The next head.
pub fn head(stream: &mut impl Read) -> Head {
    next_head(stream).expect("a head")
}

/// The body that belongs to a head, and its trailers.
pub fn body(stream: &mut impl Read, head: &Head) -> (Vec<u8>, Vec<(String, String)>) {
    if head.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        return chunked(stream);
    }
    let length = head.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the whole body");
    (body, Vec::new())
}

fn chunked(stream: &mut impl Read) -> (Vec<u8>, Vec<(String, String)>) {
    let mut body = Vec::new();
    loop {
        let size = line(stream);
        let size = size.split(';').next().expect("a size").trim();
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..]).expect("a chunk");
        assert_eq!(line(stream), "");
    }
    let mut trailers = Vec::new();
    loop {
        let line = line(stream);
        if line.is_empty() {
            return (body, trailers);
        }
        let (name, value) = line.split_once(':').expect("a trailer");
        trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn line(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line");
        bytes.push(byte[0]);
    }
    bytes.truncate(bytes.len() - 2);
    String::from_utf8(bytes).expect("UTF-8")
}

/// Writes bytes as they are.
pub fn say(stream: &mut impl Write, bytes: &str) {
    stream.write_all(bytes.as_bytes()).and_then(|()| stream.flush()).expect("sent");
}

/// A response without anything but its body.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Answers every request of a connection with `reply`, until its end.
pub fn keep_answering(mut stream: TcpStream, reply: &str) {
    while let Some(head) = next_head(&mut stream) {
        body(&mut stream, &head);
        say(&mut stream, reply);
    }
}
