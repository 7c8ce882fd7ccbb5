//! The cases, by their official names.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc::{Sender, channel};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::tokio_stream::{Stream, iter, pending};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, Streaming};

use crate::calls::{Calls, Way};
use crate::messages::{
    EchoStatus, Empty, InputRequest, InputResponse, OutputRequest, OutputResponse, Parameters,
    SimpleRequest, SimpleResponse, size, zeros,
};
use crate::server::{ECHO_INITIAL, ECHO_TRAILING, Server};
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, PATIENCE};
use crate::support::http::{TARGET, run, runtime};

/// Runs a case against the server itself, then through the gateway.
fn both<A: Future<Output = ()>>(case: impl Fn(Calls, std::sync::Arc<Server>) -> A) {
    let server = std::sync::Arc::new(Server::start());
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, TARGET, server.address);
    let through = Way::Gateway(gateway.address, Box::new(Client::new(&ca)));
    for (name, way) in [("directly", Way::Direct(server.address)), ("by the gateway", through)] {
        println!("{name}");
        run(async { case(Calls::open(way).await, std::sync::Arc::clone(&server)).await });
    }
}

fn parameters(size: i32) -> Parameters {
    Parameters { size, interval_us: 0 }
}

fn output(size: i32, payload: usize) -> OutputRequest {
    let response_parameters = vec![parameters(size)];
    OutputRequest { response_parameters, payload: zeros(payload), response_status: None }
}

/// The same, and then one that never comes.
fn output_and_sleep(size: i32, payload: usize) -> OutputRequest {
    let mut request = output(size, payload);
    request.response_parameters.push(Parameters { size: 1, interval_us: i32::MAX });
    request
}

/// Waits until the server's side of all streams has ended.
async fn nothing_is_open(server: &Server) {
    let limit = tokio::time::Instant::now() + PATIENCE;
    while server.open() > 0 {
        assert!(tokio::time::Instant::now() < limit, "the server was not told");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A stream of requests that the case feeds itself.
fn fed() -> (Sender<OutputRequest>, impl Stream<Item = OutputRequest> + Send + 'static) {
    let (send, receive) = channel(1);
    (send, ReceiverStream::new(receive))
}

async fn next(responses: &mut Streaming<OutputResponse>) -> Result<Option<usize>, Status> {
    let response = responses.message().await?;
    Ok(response.map(|response| size(response.payload.as_ref())))
}

#[test]
fn empty_unary() {
    both(|mut calls, _| async move {
        let answer = calls.unary::<_, Empty>("EmptyCall", Request::new(Empty {})).await;
        assert_eq!(answer.expect("an answer").into_inner(), Empty {});
    });
}

#[test]
fn large_unary() {
    both(|mut calls, _| async move {
        let request = SimpleRequest {
            response_size: 314_159,
            payload: zeros(271_828),
            response_status: None,
        };
        let answer = calls.unary::<_, SimpleResponse>("UnaryCall", Request::new(request)).await;
        let answer = answer.expect("an answer").into_inner();
        assert_eq!(size(answer.payload.as_ref()), 314_159);
    });
}

#[test]
fn client_streaming() {
    both(|mut calls, _| async move {
        let sizes = [27_182, 8, 1828, 45_904];
        let requests = iter(sizes.map(|size| InputRequest { payload: zeros(size) }));
        let answer =
            calls.client_streaming::<_, InputResponse>("StreamingInputCall", requests).await;
        assert_eq!(answer.expect("an answer").into_inner().aggregated_payload_size, 74_922);
    });
}

#[test]
fn server_streaming() {
    both(|mut calls, _| async move {
        let sizes = [31_415, 9, 2653, 58_979];
        let request = OutputRequest {
            response_parameters: sizes.map(parameters).to_vec(),
            payload: None,
            response_status: None,
        };
        let request = Request::new(iter([request]));
        let answer = calls.streaming("StreamingOutputCall", request).await;
        let mut responses = answer.expect("an answer").into_inner();
        for expected in sizes {
            assert_eq!(next(&mut responses).await.expect("one"), Some(expected as usize));
        }
        assert_eq!(next(&mut responses).await.expect("an end"), None);
    });
}

#[test]
fn ping_pong() {
    both(|mut calls, server| async move {
        let (feed, requests) = fed();
        feed.send(output(31_415, 27_182)).await.expect("room");
        let answer = calls.streaming("FullDuplexCall", Request::new(requests)).await;
        let mut responses = answer.expect("an answer").into_inner();
        assert_eq!(next(&mut responses).await.expect("one"), Some(31_415));
        for (expected, sent) in [(9, 8), (2653, 1828), (58_979, 45_904)] {
            feed.send(output(expected, sent)).await.expect("room");
            assert_eq!(next(&mut responses).await.expect("one"), Some(expected as usize));
        }
        drop(feed);
        assert_eq!(next(&mut responses).await.expect("an end"), None);
        nothing_is_open(&server).await;
    });
}

#[test]
fn empty_stream() {
    both(|mut calls, _| async move {
        let request = Request::new(iter(Vec::<OutputRequest>::new()));
        let answer = calls.streaming("FullDuplexCall", request).await;
        let mut responses = answer.expect("an answer").into_inner();
        assert_eq!(next(&mut responses).await.expect("an end"), None);
    });
}

#[test]
fn cancel_after_begin() {
    both(|mut calls, server| async move {
        let begun = runtime().spawn(async move {
            let requests = pending::<InputRequest>();
            calls.client_streaming::<_, InputResponse>("StreamingInputCall", requests).await
        });
        while server.open() == 0 {
            assert!(!begun.is_finished(), "{:?}", begun.await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.abort();
        nothing_is_open(&server).await;
    });
}

#[test]
fn cancel_after_first_response() {
    both(|mut calls, server| async move {
        let (feed, requests) = fed();
        feed.send(output_and_sleep(31_415, 27_182)).await.expect("room");
        let answer = calls.streaming("FullDuplexCall", Request::new(requests)).await;
        let mut responses = answer.expect("an answer").into_inner();
        assert_eq!(next(&mut responses).await.expect("one"), Some(31_415));
        assert_eq!(server.open(), 1);
        drop((responses, feed));
        nothing_is_open(&server).await;
        // The channel is as good as before.
        let answer = calls.unary::<_, Empty>("EmptyCall", Request::new(Empty {})).await;
        answer.expect("an answer");
    });
}

#[test]
fn timeout_on_sleeping_server() {
    both(|mut calls, server| async move {
        let (feed, requests) = fed();
        feed.send(output_and_sleep(31_415, 27_182)).await.expect("room");
        let mut request = Request::new(requests);
        request.set_timeout(Duration::from_millis(1));
        let status = match calls.streaming("FullDuplexCall", request).await {
            Err(status) => status,
            Ok(answer) => {
                let mut responses = answer.into_inner();
                let all = async {
                    while next(&mut responses).await?.is_some() {}
                    Ok(())
                };
                match tokio::time::timeout(Duration::from_millis(200), all).await {
                    Ok(Err(status)) => status,
                    // tonic's client counts only to the head, which may have been faster.
                    Err(_) => Status::deadline_exceeded(""),
                    Ok(Ok(())) => panic!("an end"),
                }
            }
        };
        drop(feed);
        // tonic says "cancelled" of its own timeouts in some versions.
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status:?}");
        nothing_is_open(&server).await;
    });
}

#[test]
fn custom_metadata() {
    both(|mut calls, _| async move {
        let binary = MetadataValue::from_bytes(&[0xab, 0xab, 0xab]);
        let mut request = Request::new(SimpleRequest {
            response_size: 314_159,
            payload: zeros(271_828),
            response_status: None,
        });
        let initial = "test_initial_metadata_value";
        request.metadata_mut().insert(ECHO_INITIAL, initial.parse().expect("a value"));
        request.metadata_mut().insert_bin(ECHO_TRAILING, binary.clone());
        let answer = calls.unary::<_, SimpleResponse>("UnaryCall", request).await;
        let answer = answer.expect("an answer");
        // tonic merges the trailers of a unary call.
        assert_eq!(answer.metadata().get(ECHO_INITIAL).expect("echoed"), initial);
        assert_eq!(answer.metadata().get_bin(ECHO_TRAILING).expect("echoed"), binary);

        let mut request = Request::new(iter([output(314_159, 271_828)]));
        request.metadata_mut().insert(ECHO_INITIAL, initial.parse().expect("a value"));
        request.metadata_mut().insert_bin(ECHO_TRAILING, binary.clone());
        let answer = calls.streaming("FullDuplexCall", request).await.expect("an answer");
        assert_eq!(answer.metadata().get(ECHO_INITIAL).expect("echoed"), initial);
        let mut responses = answer.into_inner();
        assert_eq!(next(&mut responses).await.expect("one"), Some(314_159));
        assert_eq!(next(&mut responses).await.expect("an end"), None);
        let trailers = responses.trailers().await.expect("no error").expect("trailers");
        assert_eq!(trailers.get_bin(ECHO_TRAILING).expect("echoed"), binary);
    });
}

/// A status must come back from a unary and from a streaming call.
fn is_echoed(code: Code, message: &'static str) {
    both(|mut calls, _| async move {
        let status = Some(EchoStatus { code: code as i32, message: message.to_owned() });
        let request =
            SimpleRequest { response_size: 0, payload: None, response_status: status.clone() };
        let answer = calls.unary::<_, SimpleResponse>("UnaryCall", Request::new(request)).await;
        let unary = answer.expect_err("a status");
        assert_eq!((unary.code(), unary.message()), (code, message));
        let request =
            OutputRequest { response_parameters: vec![], payload: None, response_status: status };
        let answer = calls.streaming("FullDuplexCall", Request::new(iter([request]))).await;
        let streamed = match answer {
            Err(status) => status,
            Ok(answer) => next(&mut answer.into_inner()).await.expect_err("a status"),
        };
        assert_eq!((streamed.code(), streamed.message()), (code, message));
    });
}

#[test]
fn status_code_and_message() {
    is_echoed(Code::Unknown, "test status message");
}

#[test]
fn special_status_message() {
    let message = "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
    is_echoed(Code::Unknown, message);
}

#[test]
fn unimplemented_method() {
    both(|mut calls, _| async move {
        let answer = calls.unary::<_, Empty>("UnimplementedCall", Request::new(Empty {})).await;
        assert_eq!(answer.expect_err("a status").code(), Code::Unimplemented);
    });
}

#[test]
fn unimplemented_service() {
    both(|mut calls, _| async move {
        let method = "grpc.testing.UnimplementedService/UnimplementedCall";
        let answer = calls.unary::<_, Empty>(method, Request::new(Empty {})).await;
        assert_eq!(answer.expect_err("a status").code(), Code::Unimplemented);
    });
}
