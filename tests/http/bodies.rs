//! Bodies and trailers, both ways: every byte, as it comes, and an end that is the end.

use std::future::poll_fn;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};

use crate::fixture::{get, parties, post, scripted};
use crate::support::http::backend::{Backend, Protocol, Reply};
use crate::support::http::linkerd::{
    answer as whole, download as rest_of, finished, marked, unmarked, upload,
};
use crate::support::http::scripted::{body, head, ok, say};
use crate::support::http::{run, runtime};
use crate::support::tcp::pattern;

const LONG: usize = 3 << 20;

#[test]
fn a_body_of_known_length_keeps_its_length() {
    let parties = scripted();
    let bytes = pattern(LONG);
    let request = marked("POST", "/").header("content-length", LONG);
    let request = request.body(Bytes::from(bytes.clone())).expect("a request");
    let answer = parties.session().spawn(request);
    let mut backend = parties.backend();
    let head = head(&mut backend);
    assert_eq!(head.header("content-length"), LONG.to_string());
    assert!(!head.has("transfer-encoding"), "{head:?}");
    assert!(body(&mut backend, &head).0 == bytes);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
}

#[test]
fn a_body_of_unknown_length_is_chunked() {
    let parties = scripted();
    let bytes = pattern(LONG);
    let answer = parties.session().spawn(post("/", bytes.clone()));
    let mut backend = parties.backend();
    let head = head(&mut backend);
    assert_eq!(head.header("transfer-encoding"), "chunked");
    assert!(!head.has("content-length"), "{head:?}");
    let (got, trailers) = body(&mut backend, &head);
    assert!(got == bytes);
    assert_eq!(trailers, []);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
}

#[test]
fn trailers_of_a_request_reach_an_http_1_endpoint() {
    let parties = scripted();
    let session = parties.session();
    let request = marked("POST", "/").header("trailer", "x-sum").body(()).expect("a request");
    let (response, mut stream) = run(session.begin(request, false)).expect("a stream");
    stream.send_data(Bytes::from("body"), false).expect("room");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1234".parse().expect("a value"));
    stream.send_trailers(trailers).expect("sent");
    let mut backend = parties.backend();
    let head = head(&mut backend);
    let (got, trailers) = body(&mut backend, &head);
    assert_eq!(got, b"body");
    assert_eq!(trailers, [("x-sum".to_owned(), "1234".to_owned())]);
    say(&mut backend, &ok("ok"));
    assert_eq!(run(whole(response)).expect("a response").status, 200);
}

#[test]
fn trailers_of_an_http_1_endpoint_reach_the_client() {
    let parties = scripted();
    let answer = parties.session().spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    let reply = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                 3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-sum: 1234\r\n\r\n";
    say(&mut backend, reply);
    let answer = finished(answer).expect("a response");
    assert_eq!((&answer.body[..], answer.trailer("x-sum")), (&b"abc0123456789"[..], "1234"));
}

#[test]
fn trailers_pass_both_ways_in_http_2() {
    let backend = Backend::start(Protocol::H2c, |seen| async move {
        let sum = seen.trailers.as_ref().and_then(|t| t.get("x-sum")).cloned();
        let mut trailers = HeaderMap::new();
        trailers.extend(sum.map(|sum| (http::header::ETAG, sum)));
        let body = Full::new(seen.body).with_trailers(async { Some(Ok(trailers)) });
        Reply::new(body.boxed())
    });
    let parties = parties(&[backend.address]);
    let session = parties.session();
    let request = unmarked("POST", "/").body(()).expect("a request");
    let answer = run(async {
        let (response, mut stream) = session.begin(request, false).await?;
        stream.send_data(Bytes::from("body"), false)?;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1234".parse().expect("a value"));
        stream.send_trailers(trailers)?;
        whole(response).await
    });
    let answer = answer.expect("a response");
    assert_eq!((&answer.body[..], answer.trailer("etag")), (&b"body"[..], "1234"));
}

#[test]
fn a_long_response_comes_whole_however_it_is_framed() {
    let bytes = pattern(LONG);
    for framing in ["content-length", "chunked", "until the end"] {
        let parties = scripted();
        let answer = parties.session().spawn(get("/"));
        let mut backend = parties.backend();
        head(&mut backend);
        match framing {
            "content-length" => {
                say(&mut backend, &format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n"));
                std::io::Write::write_all(&mut backend, &bytes).expect("sent");
            }
            "chunked" => {
                say(&mut backend, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                for part in bytes.chunks(10_000) {
                    let chunk =
                        [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
                    std::io::Write::write_all(&mut backend, &chunk).expect("sent");
                }
                say(&mut backend, "0\r\n\r\n");
            }
            _ => {
                say(&mut backend, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                std::io::Write::write_all(&mut backend, &bytes).expect("sent");
                backend.shutdown(std::net::Shutdown::Write).expect("sent");
            }
        }
        let answer = finished(answer).expect("a response");
        assert!(answer.body == bytes, "{framing}: {} bytes", answer.body.len());
    }
}

#[test]
fn responses_that_have_no_body_end_with_their_head() {
    let parties = scripted();
    let session = parties.session();
    let head_request = marked("HEAD", "/").body(Bytes::new()).expect("a request");
    let exchanges = [
        (head_request, "200 OK\r\ncontent-length: 1000", 200, "1000"),
        (get("/"), "204 No Content", 204, ""),
        (get("/"), "304 Not Modified\r\ncontent-length: 1000\r\netag: \"a\"", 304, "1000"),
        (get("/"), "200 OK\r\ncontent-length: 0", 200, "0"),
    ];
    let mut connection = None;
    for (request, reply, status, length) in exchanges {
        let answer = session.spawn(request);
        // All of them on one connection: nothing is left over.
        let backend = connection.get_or_insert_with(|| parties.backend());
        head(backend);
        say(backend, &format!("HTTP/1.1 {reply}\r\n\r\n"));
        let answer = finished(answer).expect("a response");
        assert_eq!((answer.status.as_u16(), answer.body.len()), (status, 0));
        // 9110 leaves it to the sender whether a 304 has one.
        if status != 304 {
            assert_eq!(answer.header("content-length"), length, "{reply}");
        }
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_it_sends() {
    let parties = scripted();
    let session = parties.session();
    let request = marked("POST", "/").header("expect", "100-continue").header("content-length", 4);
    let request = request.body(()).expect("a request");
    let (mut response, mut stream) = run(session.begin(request, false)).expect("a stream");
    let mut backend = parties.backend();
    let head = head(&mut backend);
    assert_eq!(head.header("expect").to_ascii_lowercase(), "100-continue");
    say(&mut backend, "HTTP/1.1 100 Continue\r\n\r\n");
    let informed = run(poll_fn(|context| response.poll_informational(context)));
    assert_eq!(informed.expect("one").expect("no error").status(), 100);
    stream.send_data(Bytes::from("body"), true).expect("room");
    assert_eq!(body(&mut backend, &head).0, b"body");
    say(&mut backend, &ok("ok"));
    assert_eq!(run(whole(response)).expect("a response").status, 200);
}

#[test]
fn early_hints_are_no_response() {
    let parties = scripted();
    let answer = parties.session().spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    say(&mut backend, "HTTP/1.1 102 Processing\r\n\r\n");
    say(&mut backend, &ok("final"));
    assert_eq!(&finished(answer).expect("a response").body[..], b"final");
}

#[test]
fn bytes_are_passed_on_as_they_come() {
    let parties = scripted();
    let session = parties.session();
    let request = marked("POST", "/").body(()).expect("a request");
    let (response, mut upload) = run(session.begin(request, false)).expect("a stream");
    let mut backend = parties.backend();
    let head = head(&mut backend);
    assert_eq!(head.header("transfer-encoding"), "chunked");
    say(&mut backend, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut download = run(response).expect("a head before the upload's end").into_body();
    for word in ["one", "two", "three"] {
        upload.send_data(Bytes::from(word), false).expect("room");
        let mut chunk = vec![0; word.len() + 5];
        backend.read_exact(&mut chunk).expect("a chunk before the next");
        assert_eq!(chunk, format!("{:x}\r\n{word}\r\n", word.len()).as_bytes());
        say(&mut backend, &String::from_utf8(chunk).expect("the same"));
        let data = run(async { download.data().await });
        assert_eq!(data.expect("data before the next").expect("data"), word);
    }
    upload.send_data(Bytes::new(), true).expect("room");
    let mut end = [0; 5];
    backend.read_exact(&mut end).expect("the last chunk");
    assert_eq!(&end, b"0\r\n\r\n");
    say(&mut backend, "0\r\n\r\n");
    let (rest, _) = run(rest_of(&mut download)).expect("a clean end");
    assert_eq!(&rest[..], b"");
}

#[test]
fn a_response_before_the_uploads_end_is_passed_on_at_once() {
    let parties = scripted();
    let session = parties.session();
    let request = marked("POST", "/").header("content-length", 1 << 30).body(()).expect("one");
    let (response, mut stream) = run(session.begin(request, false)).expect("a stream");
    runtime().spawn(async move {
        let _ = upload(&mut stream, vec![0; 8 << 20].into(), false).await;
        // The stream is kept: the client never ends it by itself.
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let mut backend = parties.backend();
    head(&mut backend);
    say(
        &mut backend,
        "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig",
    );
    let answer = run(whole(response)).expect("a response");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (413, &b"big"[..]));
    // The rest of the upload is nobody's: the connection is not used again.
    let next = session.spawn(get("/next"));
    let mut second = parties.backend();
    assert_eq!(head(&mut second).line, "GET /next HTTP/1.1");
    say(&mut second, &ok("ok"));
    assert_eq!(finished(next).expect("a response").status, 200);
}
