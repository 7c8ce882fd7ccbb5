//! The client: tonic's, over plain TCP or over a Linkerd session.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use linkerd_gateway::model::header::SessionProtocol;
use prost::Message;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::messages::OutputResponse;
use crate::support::client::Client;
use crate::support::http::TARGET;
use crate::support::http::linkerd::{Tls, connect_session};

/// How the server is reached.
#[derive(Clone)]
pub enum Way {
    Direct(SocketAddr),
    Gateway(SocketAddr, Box<Client>),
}

#[derive(Clone)]
struct Direct(SocketAddr);

#[derive(Clone)]
struct Linkerd(SocketAddr, Client);

impl Service<Uri> for Direct {
    type Response = TokioIo<TcpStream>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, StdError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move { Ok(TokioIo::new(TcpStream::connect(address).await?)) })
    }
}

impl Service<Uri> for Linkerd {
    type Response = TokioIo<Tls>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, StdError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self(address, client) = self.clone();
        Box::pin(async move {
            let session = SessionProtocol::Http2;
            Ok(TokioIo::new(connect_session(&client, address, TARGET, session).await?))
        })
    }
}

/// A client of the test service.
pub struct Calls(Grpc<Channel>);

impl Calls {
    pub async fn open(way: Way) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{TARGET}")).expect("a URI");
        let channel = match way {
            Way::Direct(address) => endpoint.connect_with_connector(Direct(address)).await,
            Way::Gateway(address, client) => {
                endpoint.connect_with_connector(Linkerd(address, *client)).await
            }
        };
        Self(Grpc::new(channel.expect("a channel")))
    }

    fn path(method: &str) -> PathAndQuery {
        let path = match method.contains('/') {
            true => format!("/{method}"),
            false => format!("/grpc.testing.TestService/{method}"),
        };
        path.parse().expect("a path")
    }

    /// A call with one message each way. A method of another service is named with it.
    pub async fn unary<Q, A>(
        &mut self,
        method: &str,
        request: Request<Q>,
    ) -> Result<Response<A>, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.expect("a channel");
        self.0.unary(request, Self::path(method), ProstCodec::default()).await
    }

    /// A call with many messages to the server.
    pub async fn client_streaming<Q, A>(
        &mut self,
        method: &str,
        requests: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<Response<A>, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.expect("a channel");
        let request = Request::new(requests);
        self.0.client_streaming(request, Self::path(method), ProstCodec::default()).await
    }

    /// A call with many messages both ways.
    pub async fn streaming<Q>(
        &mut self,
        method: &str,
        request: Request<impl Stream<Item = Q> + Send + 'static>,
    ) -> Result<Response<Streaming<OutputResponse>>, Status>
    where
        Q: Message + Default + 'static,
    {
        self.0.ready().await.expect("a channel");
        self.0.streaming(request, Self::path(method), ProstCodec::default()).await
    }
}
