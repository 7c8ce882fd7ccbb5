//! What HTTP peers write: heads, chunks, frames and `forwarded`. Never panics, and says the same
//! however the bytes are cut.

#![no_main]

use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;
use linkerd_gateway::model::http::census::Census;
use linkerd_gateway::model::http::chunked::{ChunkError, Decoder, Piece, end, size_line};
use linkerd_gateway::model::http::forwarded;
use linkerd_gateway::model::http::head::read_response;
use linkerd_gateway::model::http::hop::{strip_request, strip_response};

type Body = Result<Option<(Vec<u8>, Option<HeaderMap>)>, ChunkError>;

fn decode(bytes: &[u8], step: usize) -> Body {
    let (mut decoder, mut data) = (Decoder::default(), Vec::new());
    for mut part in bytes.chunks(step) {
        loop {
            match decoder.next(&mut part)? {
                Piece::Data(bytes) => data.extend_from_slice(bytes),
                Piece::More => break,
                Piece::End(trailers) => return Ok(Some((data, trailers))),
            }
        }
    }
    Ok(None)
}

fn chunks(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(whole, decode(bytes, 1));
    if let Ok(Some((data, trailers))) = whole {
        let mut again = Vec::new();
        if !data.is_empty() {
            again = [&size_line(data.len())[..], &data, b"\r\n"].concat();
        }
        again.extend(end(trailers.as_ref().filter(|trailers| !trailers.is_empty())));
        let (read, _) = decode(&again, 7).expect("our own").expect("complete");
        assert_eq!(read, data);
    }
}

fn heads(bytes: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        let whole = read_response(bytes, &method);
        let Ok(Some(head)) = whole else { continue };
        // What is complete stays what it is, whatever follows it.
        let exact = read_response(&bytes[..head.length], &method).expect("valid").expect("complete");
        assert_eq!((exact.status, exact.framing), (head.status, head.framing));
        assert_eq!(exact.headers, head.headers);
        let mut headers = head.headers;
        strip_response(&mut headers);
        strip_request(&mut headers);
        assert!(!headers.contains_key(header::CONNECTION));
        assert!(!headers.contains_key(header::TRANSFER_ENCODING));
        assert!(!headers.contains_key("l5d-client-id"));
    }
}

/// Nothing that a client says before can hide that we have passed a request on, whether proxies
/// keep our element in a field of its own or join it to the client's.
fn loops(bytes: &[u8]) {
    let Ok(client) = HeaderValue::from_bytes(bytes) else { return };
    let (own, host) = ("gw.identity.linkerd.cluster.local", "web.ns.svc.cluster.local:8080");
    let ours = forwarded::element(own, "client.ns", host).expect("a value");
    let mut headers = HeaderMap::new();
    headers.append(header::FORWARDED, client);
    let _ = forwarded::is_loop(&headers, own, host);
    headers.append(header::FORWARDED, ours.clone());
    assert!(forwarded::is_loop(&headers, own, host));
}

fuzz_target!(|bytes: &[u8]| {
    chunks(bytes);
    heads(bytes);
    heads(&[b"HTTP/1.1 200 OK\r\n", bytes].concat());
    loops(bytes);
    let mut whole = Census::default();
    let mut cut = Census::default();
    let said = whole.count(bytes);
    let last = bytes.chunks(5).map(|part| cut.count(part)).last();
    assert!(last.is_none_or(|last| last == said));
});
