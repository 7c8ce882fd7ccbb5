//! An endpoint with a proxy in front, as onward connections expect it: mTLS, the transport header,
//! then HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use linkerd_gateway::model::header::SessionProtocol;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::certs::TestLeaf;
use super::super::client::header_for;
use super::super::server::{HEADER, configuration};
use super::backend::{Protocol, Seen, record, reply, serve};
use super::runtime;

/// Such an endpoint.
pub struct Meshed {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    sessions: Arc<Mutex<Vec<SessionProtocol>>>,
}

impl Meshed {
    /// One that presents `leaf`, and expects headers for `port`. It says `meshed` to all requests.
    pub fn start(leaf: &TestLeaf, port: u16) -> Self {
        Self::start_at(leaf, "127.0.0.1", port)
    }

    /// The same, at another address of this host.
    pub fn start_at(leaf: &TestLeaf, host: &str, port: u16) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(configuration(leaf, HEADER)));
        let listener = std::net::TcpListener::bind((host, 0)).expect("a port");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("bound");
        let meshed = Self { address, seen: Arc::default(), sessions: Arc::default() };
        let (seen, sessions) = (Arc::clone(&meshed.seen), Arc::clone(&meshed.sessions));
        runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                let sessions = Arc::clone(&sessions);
                runtime().spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut header = header_for(&format!(":{port}"), Some(SessionProtocol::Http2));
                    let expected = header.clone();
                    stream.read_exact(&mut header).await.expect("a header");
                    let (protocol, session) = match header == expected {
                        true => (Protocol::H2c, SessionProtocol::Http2),
                        false => (Protocol::Http1, SessionProtocol::Http1),
                    };
                    // Both are of one length.
                    assert_eq!(header, header_for(&format!(":{port}"), Some(session)));
                    let number = {
                        let mut sessions = sessions.lock().expect("whole");
                        sessions.push(session);
                        sessions.len() - 1
                    };
                    let answer = Arc::new(|_: Seen| async { reply("meshed") });
                    let handler =
                        move |request| record(number, request, seen.clone(), answer.clone());
                    serve(protocol, stream, handler).await;
                });
            }
        });
        meshed
    }

    /// Everything that it has received so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("whole").clone()
    }

    /// What the headers of its connections have announced.
    pub fn sessions(&self) -> Vec<SessionProtocol> {
        self.sessions.lock().expect("whole").clone()
    }
}
