//! A gateway with one route whose backend is in the test's own hands.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, Stream};
use crate::support::gateway::{Builder, Gateway, PATIENCE};

/// What clients ask for.
pub const TARGET: &str = "web.test.svc.cluster.local:80";

/// The three parties.
pub struct Parties {
    pub gateway: Gateway,
    client: Client,
    backend: Receiver<TcpStream>,
}

/// With a configuration of its own.
pub fn parties_with(toml: &str) -> Parties {
    let (address, backend) = backend::handed_over();
    parties_to(address, backend, toml)
}

/// With the usual one.
pub fn parties() -> Parties {
    parties_with("")
}

/// With a backend that the caller has made.
pub fn parties_to(address: SocketAddr, backend: Receiver<TcpStream>, toml: &str) -> Parties {
    let ca = TestCa::new("ca");
    let gateway = Builder::new(&ca).configure(toml).route(TARGET, &[address]).start();
    Parties { gateway, client: Client::new(&ca), backend }
}

impl Parties {
    /// A client whose header has been sent.
    pub fn client(&self) -> Stream {
        self.client.open(self.gateway.address, TARGET)
    }

    /// A connected pair: the client's end and the backend's.
    pub fn pair(&self) -> (Stream, TcpStream) {
        let client = self.client();
        (client, self.backend())
    }

    /// The next connection at the backend.
    pub fn backend(&self) -> TcpStream {
        self.backend.recv_timeout(PATIENCE).expect("the backend is reached")
    }

    /// What connections are made with.
    pub fn tls(&self) -> &Client {
        &self.client
    }
}
