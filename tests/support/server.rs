//! A TLS endpoint as onward connections expect it, served by the test itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use linkerd_gateway::model::header;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::backend;
use super::certs::TestLeaf;
use super::gateway::PATIENCE;

/// A connection of a [`Server`].
pub type Stream = StreamOwned<ServerConnection, TcpStream>;

/// A TLS endpoint at an address.
pub struct Server {
    pub address: SocketAddr,
    config: Arc<ServerConfig>,
    accepted: Mutex<Receiver<TcpStream>>,
}

impl Server {
    /// Presents `leaf`, asks for no certificate, and speaks `protocols`.
    pub fn new(leaf: &TestLeaf, protocols: &[&[u8]]) -> Self {
        let (address, accepted) = backend::handed_over();
        let config = Arc::new(configuration(leaf, protocols));
        Self { address, config, accepted: Mutex::new(accepted) }
    }

    /// The next connection, when its handshake is complete.
    pub fn accept(&self) -> std::io::Result<Stream> {
        self.accept_saying(b"")
    }

    /// The same; `first` goes out with the server's Finished, before the client's has come.
    pub fn accept_saying(&self, first: &[u8]) -> std::io::Result<Stream> {
        let tcp =
            self.accepted.lock().expect("whole").recv_timeout(PATIENCE).expect("a connection");
        let mut session = ServerConnection::new(Arc::clone(&self.config)).expect("a configuration");
        session.writer().write_all(first)?;
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// The same, after the header for `port`.
    pub fn accept_header(&self, port: u16, first: &[u8]) -> Stream {
        let mut stream = self.accept_saying(first).expect("a handshake");
        let expected = super::client::header_for(&format!(":{port}"), None);
        let mut header = vec![0; expected.len()];
        stream.read_exact(&mut header).expect("a header");
        assert_eq!(header, expected);
        stream
    }
}

/// Presents `leaf`, asks for no certificate, and speaks `protocols`.
pub fn configuration(leaf: &TestLeaf, protocols: &[&[u8]]) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    config.send_half_rtt_data = true;
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    config
}

/// The transport header's protocol.
pub const HEADER: &[&[u8]] = &[header::ALPN];
