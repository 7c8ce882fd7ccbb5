//! `grpc.testing.TestService`, by tonic on hyper.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Sender, channel};
use tonic::codegen::Service;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status, Streaming, body::Body};
use tonic_prost::ProstCodec;

use crate::messages::{
    EchoStatus, Empty, InputRequest, InputResponse, OutputRequest, OutputResponse, SimpleRequest,
    SimpleResponse, size, zeros,
};
use crate::support::http::runtime;

/// A response header and a response trailer that echo the request's.
pub const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
pub const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Server {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("bound");
        let open = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&open);
        runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let counted = Arc::clone(&counted);
                let service = service_fn(move |request| answer(request, Arc::clone(&counted)));
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                runtime().spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, open }
    }

    /// Calls of streams that its side still serves.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Counts a call for as long as it lives.
struct Call(Arc<AtomicUsize>);

impl Call {
    fn begin(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A function as a service.
struct Function<F>(F);

impl<F, R, A, T> Service<R> for Function<F>
where
    F: FnMut(R) -> A,
    A: Future<Output = Result<T, Status>>,
{
    type Response = T;
    type Error = Status;
    type Future = A;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> A {
        (self.0)(request)
    }
}

async fn answer(
    request: http::Request<Incoming>,
    open: Arc<AtomicUsize>,
) -> Result<http::Response<Body>, Infallible> {
    let initial = request.headers().get(ECHO_INITIAL).cloned();
    let trailing = request.headers().get(ECHO_TRAILING).cloned();
    let mut response = route(request, open).await;
    if let Some(value) = initial {
        response.headers_mut().insert(ECHO_INITIAL, value);
    }
    let Some(value) = trailing else { return Ok(response) };
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.insert(ECHO_TRAILING, value.clone());
            }
            frame
        }))
    }))
}

async fn route(request: http::Request<Incoming>, open: Arc<AtomicUsize>) -> http::Response<Body> {
    match request.uri().path() {
        "/grpc.testing.TestService/EmptyCall" => {
            let service = Function(|_: Request<Empty>| async { Ok(Response::new(Empty {})) });
            Grpc::new(ProstCodec::default()).unary(service, request).await
        }
        "/grpc.testing.TestService/UnaryCall" => {
            Grpc::new(ProstCodec::default()).unary(Function(unary), request).await
        }
        "/grpc.testing.TestService/StreamingInputCall" => {
            let service = Function(move |request| input(request, Call::begin(&open)));
            Grpc::new(ProstCodec::default()).client_streaming(service, request).await
        }
        "/grpc.testing.TestService/StreamingOutputCall" => {
            Grpc::new(ProstCodec::default()).server_streaming(Function(output), request).await
        }
        "/grpc.testing.TestService/FullDuplexCall" => {
            let service = Function(move |request| duplex(request, Call::begin(&open)));
            Grpc::new(ProstCodec::default()).streaming(service, request).await
        }
        _ => Status::unimplemented("").into_http(),
    }
}

fn asked(status: Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(status) if status.code != 0 => {
            Err(Status::new(Code::from_i32(status.code), status.message))
        }
        _ => Ok(()),
    }
}

async fn unary(request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
    let request = request.into_inner();
    asked(request.response_status)?;
    Ok(Response::new(SimpleResponse { payload: zeros(request.response_size as usize) }))
}

async fn input(
    request: Request<Streaming<InputRequest>>,
    _call: Call,
) -> Result<Response<InputResponse>, Status> {
    let (mut requests, mut sum) = (request.into_inner(), 0);
    while let Some(request) = requests.message().await? {
        sum += size(request.payload.as_ref());
    }
    Ok(Response::new(InputResponse { aggregated_payload_size: sum as i32 }))
}

type Outputs = ReceiverStream<Result<OutputResponse, Status>>;

async fn output(request: Request<OutputRequest>) -> Result<Response<Outputs>, Status> {
    let (send, receive) = channel(1);
    runtime().spawn(async move {
        let _ = outputs(request.into_inner(), &send).await;
    });
    Ok(Response::new(ReceiverStream::new(receive)))
}

/// Sends what a request asks for; `None` when the client is gone.
async fn outputs(
    request: OutputRequest,
    send: &Sender<Result<OutputResponse, Status>>,
) -> Option<()> {
    for parameters in request.response_parameters {
        let interval = Duration::from_micros(parameters.interval_us as u64);
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = send.closed() => return None,
        }
        let response = OutputResponse { payload: zeros(parameters.size as usize) };
        send.send(Ok(response)).await.ok()?;
    }
    if let Err(status) = asked(request.response_status) {
        send.send(Err(status)).await.ok()?;
    }
    Some(())
}

async fn duplex(
    request: Request<Streaming<OutputRequest>>,
    call: Call,
) -> Result<Response<Outputs>, Status> {
    let (send, receive) = channel(1);
    let mut requests = request.into_inner();
    runtime().spawn(async move {
        let _call = call;
        while let Ok(Some(request)) = requests.message().await {
            if outputs(request, &send).await.is_none() {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(receive)))
}
