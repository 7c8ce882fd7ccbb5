//! Connections to the gateway: TLS with pinned suite and group, transport header, or neither.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use linkerd_gateway::model::header::{self, Header, SessionProtocol};
use linkerd_gateway::model::service::Port;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::options::{Mode, Options};
use super::pattern::BLOCK;
use super::tls;

/// A connection, whatever it is made of.
pub type Stream = Box<dyn Duplex>;

/// Both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// How connections are made.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    header: Vec<u8>,
    /// Reads and writes are large.
    bulk: bool,
}

impl Client {
    /// Reads the certificates and prepares the header.
    ///
    /// # Errors
    /// Names the file or the option that cannot be used.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let session = options.mode.is_http().then_some(SessionProtocol::Http2);
        let header = options.target.as_deref();
        let header = header.map(|target| encoded_header(target, session)).transpose()?;
        let tls = if options.plaintext {
            None
        } else {
            let mut config = tls::config(options)?;
            if header.is_some() {
                config.alpn_protocols = vec![header::ALPN.to_vec()];
            } else if options.mode.is_http() {
                config.alpn_protocols = vec![b"h2".to_vec()];
            }
            let name = ServerName::try_from(options.identity.clone()).context("--identity")?;
            Some((TlsConnector::from(Arc::new(config)), name))
        };
        let bulk = matches!(options.mode, Mode::Up | Mode::Down | Mode::Both);
        let bulk = bulk || options.mode.is_http();
        Ok(Self { address: options.address, tls, header: header.unwrap_or_default(), bulk })
    }

    /// Connects, shakes hands, and writes the header with the first bytes in one record, as
    /// Linkerd's clients do.
    ///
    /// # Errors
    /// What the gateway or the system says.
    pub async fn connect(&self, first: &[u8]) -> anyhow::Result<Stream> {
        let tcp = TcpStream::connect(self.address).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let mut stream: Stream = match &self.tls {
            None => Box::new(tcp),
            Some((connector, name)) if self.bulk => {
                // rustls takes 4 KiB per read; from a buffer that costs no system call.
                let buffered = BufReader::with_capacity(BLOCK, tcp);
                let mut tls = connector.connect(name.clone(), buffered).await?;
                agreed(connector, tls.get_ref().1)?;
                tls.get_mut().1.set_buffer_limit(Some(2 * BLOCK));
                Box::new(tls)
            }
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await.context("TLS handshake")?;
                agreed(connector, tls.get_ref().1)?;
                Box::new(tls)
            }
        };
        let first = [self.header.as_slice(), first].concat();
        if !first.is_empty() {
            stream.write_all(&first).await?;
            stream.flush().await?;
        }
        Ok(stream)
    }

    /// A connection that has carried one byte there and back.
    ///
    /// # Errors
    /// As [`Client::connect`], and when the byte does not come back.
    pub async fn open(&self) -> anyhow::Result<Stream> {
        let mut stream = self.connect(b"?").await?;
        let answer = stream.read_u8().await.context("reading the first byte's echo")?;
        if answer == b'?' { Ok(stream) } else { Err(anyhow!("another byte came back")) }
    }
}

/// Opens `count` connections, one after the other so that none waits in a queue, and lets each carry
/// one byte.
///
/// # Errors
/// As [`Client::open`].
pub async fn hold(client: &Client, count: usize) -> anyhow::Result<Vec<Stream>> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(client.open().await?);
    }
    Ok(streams)
}

/// What was offered must have been selected.
fn agreed(connector: &TlsConnector, tls: &rustls::ClientConnection) -> anyhow::Result<()> {
    match connector.config().alpn_protocols.first() {
        Some(offered) if tls.alpn_protocol() != Some(offered) => {
            anyhow::bail!("the gateway does not speak {}", String::from_utf8_lossy(offered))
        }
        _ => Ok(()),
    }
}

fn encoded_header(target: &str, session: Option<SessionProtocol>) -> anyhow::Result<Vec<u8>> {
    let malformed = || anyhow!("--target {target}: expected name:port");
    let (name, port) = target.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().ok().and_then(Port::new).ok_or_else(malformed)?;
    let mut bytes = Vec::new();
    header::encode(&Header { name: Some(name), port, session }, &mut bytes);
    Ok(bytes)
}
