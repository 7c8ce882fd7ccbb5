//! A gateway with one route, a client as Linkerd's, and services whose every byte the test chooses.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, Gateway, PATIENCE};
use crate::support::http::linkerd::{Session, marked, unmarked};
use crate::support::http::{TARGET, run};

/// Gateway and client.
pub struct Parties {
    pub client: Client,
    pub gateway: Gateway,
}

/// With these endpoints.
pub fn parties(endpoints: &[SocketAddr]) -> Parties {
    parties_with(endpoints, "")
}

/// With configuration of its own.
pub fn parties_with(endpoints: &[SocketAddr], toml: &str) -> Parties {
    let ca = TestCa::new("ca");
    let gateway = Builder::new(&ca).configure(toml).route(TARGET, endpoints).start();
    Parties { client: Client::new(&ca), gateway }
}

impl Parties {
    /// A session.
    pub fn session(&self) -> Session {
        run(Session::open(&self.client, self.gateway.address))
    }

    /// A session for another target.
    pub fn session_to(&self, target: &str) -> Session {
        run(Session::open_to(&self.client, self.gateway.address, target))
    }
}

/// The same with one endpoint, whose connections the test serves.
pub struct Scripted {
    pub parties: Parties,
    connections: Receiver<TcpStream>,
}

/// Such parties.
pub fn scripted() -> Scripted {
    scripted_with("")
}

/// With configuration of its own.
pub fn scripted_with(toml: &str) -> Scripted {
    let (address, connections) = backend::handed_over();
    Scripted { parties: parties_with(&[address], toml), connections }
}

impl Scripted {
    /// A session.
    pub fn session(&self) -> Session {
        self.parties.session()
    }

    /// The next connection at the endpoint.
    pub fn backend(&self) -> TcpStream {
        self.connections.recv_timeout(PATIENCE).expect("the endpoint is reached")
    }

    /// The same, if it comes in time.
    pub fn try_backend(&self, time: Duration) -> Result<TcpStream, RecvTimeoutError> {
        self.connections.recv_timeout(time)
    }

    /// Whether another connection has come.
    pub fn has_connection(&self) -> bool {
        self.connections.try_recv().is_ok()
    }
}

/// A marked GET.
pub fn get(path: &str) -> Request<Bytes> {
    marked("GET", path).body(Bytes::new()).expect("a request")
}

/// A marked POST.
pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    marked("POST", path).body(body.into()).expect("a request")
}

/// A gRPC request with an empty message.
pub fn grpc(path: &str) -> Request<Bytes> {
    let request = unmarked("POST", path).header("content-type", "application/grpc");
    request.body(Bytes::from_static(&[0; 5])).expect("a request")
}
