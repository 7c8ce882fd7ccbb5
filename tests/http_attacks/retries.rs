//! Requests that are sent again: only those that nobody can have served, and not for ever.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::fixture::{parties, scripted, scripted_with};
use crate::support::backend::serve;
use crate::support::http::frames::{self, GOAWAY, HEADERS, PREFACE, RST_STREAM, frame, settings};
use crate::support::http::linkerd::{answer, finished, marked, unmarked, upload};
use crate::support::http::scripted::{body, head, ok, say};
use crate::support::http::{run, runtime};

/// A service that answers each request's head with what `answer` gives for its stream, and then
/// goes when `ends`.
pub fn h2(
    answer: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    ends: bool,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let address = serve(move |mut stream: TcpStream| {
        let mut preface = [0; PREFACE.len()];
        if stream.read_exact(&mut preface).is_err() {
            return;
        }
        let greeting = [settings(&[]), frame(frames::SETTINGS, frames::ACK, 0, b"")].concat();
        let _ = stream.write_all(&greeting);
        let mut header = [0; 9];
        while stream.read_exact(&mut header).is_ok() {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let mut payload = vec![0; length];
            if stream.read_exact(&mut payload).is_err() {
                return;
            }
            let id = u32::from_be_bytes(header[5..9].try_into().expect("four"));
            if header[3] == HEADERS {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&answer(id));
                if ends {
                    std::thread::sleep(Duration::from_millis(50));
                    return;
                }
            }
        }
    });
    (address, count)
}

fn goaway(last: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

#[test]
fn an_endpoint_that_refuses_everything_is_asked_a_few_times_only() {
    for what in ["refused", "goaway"] {
        let (address, count) = match what {
            "refused" => {
                h2(|id| frame(RST_STREAM, 0, id, &frames::REFUSED_STREAM.to_be_bytes()), false)
            }
            _ => h2(|_| goaway(0), true),
        };
        let parties = parties(&[address]);
        let session = parties.session();
        let begun = Instant::now();
        let answer = run(session.send(unmarked("POST", "/a").body(Bytes::new()).expect("one")));
        let asked = count.load(Ordering::SeqCst);
        assert!(asked <= 10, "{what}: asked {asked} times in {:?}: {answer:?}", begun.elapsed());
    }
}

/// The first one has taken some of the body before it gives the request back.
#[test]
fn a_body_that_is_sent_again_is_the_same_and_uses_up_no_window() {
    let parties = scripted_with("[http]\nwindow_budget = \"1MiB\"");
    let session = parties.session();
    let bytes = crate::support::tcp::pattern(3 << 20);
    let first = session.spawn(marked("PUT", "/first").body(Bytes::new()).expect("one"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &ok("ok"));
    finished(first).expect("a response");
    let mut builder = marked("PUT", "/again");
    builder = builder.header("content-length", bytes.len());
    let (response, mut stream) =
        run(session.begin(builder.body(()).expect("one"), false)).expect("begun");
    let bytes = Bytes::from(bytes);
    run(upload(&mut stream, bytes.slice(..40_000), false)).expect("sent");
    let request = head(&mut backend);
    assert!(request.line.contains("/again"));
    let mut taken = vec![0; 40_000];
    backend.read_exact(&mut taken).expect("the beginning");
    drop(backend);
    let mut backend = parties.backend();
    let request = head(&mut backend);
    let rest = bytes.slice(40_000..);
    let sent = runtime().spawn(async move { upload(&mut stream, rest, true).await });
    let (body, _) = body(&mut backend, &request);
    assert!(body == bytes);
    say(&mut backend, &ok("ok"));
    finished(sent).expect("all of it");
    assert_eq!(run(answer(response)).expect("a response").status, 200);
}

#[test]
fn a_request_that_a_goaway_covers_is_not_sent_again() {
    let (address, count) = h2(goaway, true);
    let parties = parties(&[address]);
    let session = parties.session();
    let answer = run(session.send(unmarked("POST", "/a").body(Bytes::from("x")).expect("one")));
    assert_eq!(answer.map(|a| a.status.as_u16()).unwrap_or(502), 502);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn what_may_have_been_served_is_not_sent_again() {
    for (method, again) in [("POST", false), ("PATCH", false), ("PUT", true), ("GET", true)] {
        let parties = scripted();
        let session = parties.session();
        let request = |path| {
            let request = marked(method, path);
            request.body(Bytes::from("body")).expect("a request")
        };
        let answer = session.spawn(request("/first"));
        let mut backend = parties.backend();
        let first = head(&mut backend);
        body(&mut backend, &first);
        say(&mut backend, &ok("ok"));
        finished(answer).expect("a response");
        let answer = session.spawn(request("/second"));
        // Taken, and gone without an answer.
        let taken = head(&mut backend);
        assert!(taken.line.contains("/second"));
        body(&mut backend, &taken);
        drop(backend);
        let other = parties.try_backend(Duration::from_millis(500));
        assert_eq!(other.is_ok(), again, "{method}");
        if let Ok(mut other) = other {
            let repeated = head(&mut other);
            assert_eq!(body(&mut other, &repeated).0, b"body");
            say(&mut other, &ok("ok"));
        }
        let status = finished(answer).expect("a response").status;
        assert_eq!(status.as_u16(), if again { 200 } else { 502 }, "{method}");
    }
}
