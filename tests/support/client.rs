//! A TLS client of the gateway with every knob that a test needs, blocking and simple.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use linkerd_gateway::model::header::{self, Header, SessionProtocol};
use linkerd_gateway::model::service::Port;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::certs::{TestCa, TestLeaf};
use super::gateway::{CLIENT, GATEWAY, PATIENCE};

/// A connection of a [`Client`].
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// What connections are made with.
#[derive(Clone)]
pub struct Client {
    config: ClientConfig,
    server_name: String,
}

impl Client {
    /// Trusts `ca` and presents the usual client identity from it, with the transport header's
    /// ALPN.
    pub fn new(ca: &TestCa) -> Self {
        Self::with(ca, Some(&ca.identity(CLIENT)))
    }

    /// Trusts `ca` and presents `leaf`, or nothing.
    pub fn with(ca: &TestCa, leaf: Option<&TestLeaf>) -> Self {
        let directory = tempfile::TempDir::new().expect("a directory");
        let anchor = std::fs::read(ca.write_anchor(directory.path(), "ca.crt")).expect("written");
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(&anchor) {
            roots.add(der.expect("PEM")).expect("an anchor");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
        let mut config = match leaf {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key");
                let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("known");
                // Not checked against each other: some tests want a mismatch.
                let certified = rustls::sign::CertifiedKey::new(chain, key);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                    certified,
                )))
            }
        };
        config.alpn_protocols = vec![header::ALPN.to_vec()];
        Self { config, server_name: GATEWAY.to_owned() }
    }

    /// Offers these protocols instead of the transport header's.
    pub fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        self
    }

    /// Asks for this server name and verifies it.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = name.to_owned();
        self
    }

    /// For other TLS clients: the configuration, and the server's name.
    pub fn parts(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        let name = ServerName::try_from(self.server_name.clone()).expect("a name");
        (Arc::new(self.config.clone()), name)
    }

    /// A connection whose handshake is complete on our side. The server may still refuse our
    /// certificate, which shows in the first read.
    pub fn connect(&self, address: SocketAddr) -> std::io::Result<Stream> {
        self.over(tcp(address)?)
    }

    /// The same over a connection that exists.
    pub fn over(&self, tcp: TcpStream) -> std::io::Result<Stream> {
        prepared(&tcp)?;
        let mut stream = StreamOwned::new(self.session(), tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// A session that has not begun, for tests that carry its bytes themselves.
    pub fn session(&self) -> ClientConnection {
        let (config, name) = self.parts();
        ClientConnection::new(config, name).expect("a config")
    }

    /// A connection on which a header for `target` (`name:port`) has been written.
    pub fn open(&self, address: SocketAddr, target: &str) -> Stream {
        let mut stream = self.connect(address).expect("a handshake");
        stream.write_all(&header_for(target, None)).expect("the header is sent");
        stream.flush().expect("the header is sent");
        stream
    }
}

/// A TCP connection that waits for nothing longer than [`PATIENCE`].
pub fn tcp(address: SocketAddr) -> std::io::Result<TcpStream> {
    let tcp = TcpStream::connect(address)?;
    prepared(&tcp)?;
    Ok(tcp)
}

fn prepared(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))
}

/// The bytes of a header for `name:port`, or `:port`.
pub fn header_for(target: &str, session: Option<SessionProtocol>) -> Vec<u8> {
    let (name, port) = target.rsplit_once(':').expect("name:port");
    let port = port.parse().ok().and_then(Port::new).expect("a port");
    let mut bytes = Vec::new();
    header::encode(
        &Header { name: Some(name).filter(|n| !n.is_empty()), port, session },
        &mut bytes,
    );
    bytes
}

/// Ends our direction: close_notify, then FIN. Reading goes on.
pub fn half_close(stream: &mut Stream) {
    stream.conn.send_close_notify();
    stream.flush().expect("close_notify is sent");
    stream.sock.shutdown(std::net::Shutdown::Write).expect("FIN is sent");
}

/// Everything until the clean end.
pub fn read_all(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a clean end");
    bytes
}

/// How a refused connection looks to the client: the error of the read that follows. Never a clean
/// end.
pub fn refusal(client: &Client, address: SocketAddr, first: &[u8]) -> String {
    let mut stream = match client.connect(address) {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    // A refusal may be faster than our first bytes.
    let _ = stream.write_all(first).and_then(|()| stream.flush());
    stream.sock.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    match stream.read(&mut [0; 1]) {
        Ok(count) => panic!("not refused: read {count} bytes"),
        Err(error) => error.to_string(),
    }
}
