//! Endpoints that speak HTTP/2: their limits, their leaving and their death.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use h2::server::SendResponse;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{grpc, parties};
use crate::support::http::backend::{Backend, Protocol, Reply};
use crate::support::http::linkerd::{finished, unmarked};
use crate::support::http::{run, runtime};

/// An endpoint whose connections `serve` serves, and how many there have been.
fn endpoint<F, A>(serve: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("bound");
    let connections = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&connections);
    runtime().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            runtime().spawn(serve(stream));
        }
    });
    (address, connections)
}

fn get() -> Request<Bytes> {
    unmarked("GET", "/").body(Bytes::new()).expect("a request")
}

/// Answers after a moment.
fn answer(mut respond: SendResponse<Bytes>) {
    runtime().spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = respond.send_response(Response::new(()), false);
        // Its client may be gone.
        let _ = sent.and_then(|mut body| body.send_data(Bytes::from_static(b"ok"), true));
    });
}

#[test]
fn an_endpoint_that_leaves_after_some_requests_loses_none() {
    let (address, connections) = endpoint(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.expect("a client");
        let mut requests = 0;
        while let Some(Ok((_, respond))) = connection.accept().await {
            requests += 1;
            if requests == 10 {
                connection.graceful_shutdown();
            }
            answer(respond);
        }
    });
    let parties = parties(&[address]);
    let session = Arc::new(parties.session());
    let workers: Vec<_> = (0..20)
        .map(|_| {
            let session = Arc::clone(&session);
            runtime().spawn(async move {
                for _ in 0..20 {
                    let answer = session.send(get()).await.expect("a response");
                    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"ok"[..]));
                }
            })
        })
        .collect();
    workers.into_iter().for_each(finished);
    assert!(connections.load(Ordering::SeqCst) > 5, "{connections:?}");
}

#[test]
fn a_request_that_an_endpoint_refuses_unseen_is_sent_again() {
    let first = AtomicUsize::new(0);
    let (address, _) = endpoint(move |stream| {
        let is_first = first.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("a client");
            let mut refused = !is_first;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if std::mem::replace(&mut refused, true) {
                    answer(respond);
                } else {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            }
        }
    });
    let parties = parties(&[address]);
    let session = parties.session();
    for _ in 0..3 {
        let answer = run(session.send(get())).expect("a response");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[test]
fn more_requests_than_an_endpoint_takes_at_one_time_are_all_served() {
    let (address, _) = endpoint(|stream| async move {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(2);
        let mut connection = builder.handshake(stream).await.expect("a client");
        while let Some(Ok((_, respond))) = connection.accept().await {
            answer(respond);
        }
    });
    let parties = parties(&[address]);
    let session = parties.session();
    let answers: Vec<_> = (0..40).map(|_| session.spawn(get())).collect();
    for answer in answers {
        let answer = finished(answer).expect("a response");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"ok"[..]), "{answer:?}");
    }
}

#[test]
fn an_endpoint_that_answers_no_ping_and_no_request_does_not_hold_others() {
    // One connection of the pool is dead without a sign; the other endpoint goes on.
    let (silent, _) = endpoint(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.expect("a client");
        let mut held = Vec::new();
        while let Some(Ok((_, respond))) = connection.accept().await {
            held.push(respond);
        }
    });
    let good = crate::support::http::backend::saying(Protocol::H2c, "good");
    let parties = parties(&[silent, good.address]);
    let session = parties.session();
    let answers: Vec<_> = (0..40).map(|_| session.spawn(get())).collect();
    std::thread::sleep(Duration::from_secs(2));
    let done = answers.iter().filter(|answer| answer.is_finished()).count();
    assert!(done >= 15, "{done} of 40");
    answers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A service that says half of its body and nothing more.
fn halting() -> Backend {
    Backend::start(Protocol::H2c, |_| async {
        let half = stream::iter([Ok(Frame::data(Bytes::from_static(b"half")))]);
        let body = StreamBody::new(half.chain(stream::pending()));
        let mut reply = Reply::new(BodyExt::boxed(body));
        reply.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        reply
    })
}

#[test]
fn a_call_whose_endpoint_dies_is_no_success() {
    let backend = halting();
    let parties = parties(&[backend.address]);
    let session = parties.session();
    run(async {
        let (head, body) = grpc("/a.B/C").into_parts();
        let request = Request::from_parts(head, ());
        let (response, mut stream) = session.begin(request, false).await.expect("a stream");
        stream.send_data(body, true).expect("room");
        let mut download = response.await.expect("a head").into_body();
        let half = download.data().await.expect("data").expect("data");
        assert_eq!(&half[..], b"half");
        backend.stop().await;
        match crate::support::http::linkerd::download(&mut download).await {
            Err(error) => assert!(error.is_reset(), "{error:?}"),
            Ok((rest, trailers)) => {
                assert_eq!(&rest[..], b"");
                let trailers = trailers.expect("a status");
                assert_eq!(trailers["grpc-status"], "14", "{trailers:?}");
            }
        }
    });
}
