//! Drives a handshake of rustls over a socket and then takes the keys out for our record layer.
//!
//! Called by `proxy/handshake.rs`. rustls decides everything; here bytes are carried, and whatever
//! came with the end of the handshake is kept: opened application bytes, and the beginning of a
//! record that rustls has not touched.

use std::io;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::net::TcpStream;

use super::record::{Records, Secrets};
use super::stream::{Direct, Left, TlsStream};
use super::verify::Presented;

/// Bytes read at once; a client's second flight is 1 to 2 KB.
const READ: usize = 4096;

/// A handshake that has not been driven to its end.
pub struct Handshake {
    session: Session,
    /// Bytes from the socket that rustls has not done with.
    incoming: Vec<u8>,
    /// Bytes for the socket.
    outgoing: Vec<u8>,
    /// Application bytes that came with the end.
    early: Vec<u8>,
    is_closed: bool,
}

enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Ask rustls again.
    Again,
    /// The handshake is complete.
    Done,
    /// The peer's turn.
    Read,
    /// Our turn.
    Write,
}

impl Handshake {
    /// As a server; `incoming` begins with the ClientHello.
    ///
    /// # Errors
    /// What rustls has against the configuration.
    pub fn server(config: Arc<ServerConfig>, incoming: Vec<u8>) -> Result<Self, rustls::Error> {
        Ok(Self::new(Session::Server(UnbufferedServerConnection::new(config)?), incoming))
    }

    /// As a client.
    ///
    /// # Errors
    /// What rustls has against the configuration.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self::new(Session::Client(UnbufferedClientConnection::new(config, name)?), Vec::new()))
    }

    fn new(session: Session, incoming: Vec<u8>) -> Self {
        Self { session, incoming, outgoing: Vec::new(), early: Vec::new(), is_closed: false }
    }

    /// Goes on until the handshake is complete. After an error there may be an alert to say:
    /// [`Handshake::alert`].
    ///
    /// # Errors
    /// What the socket says, or rustls within [`io::ErrorKind::InvalidData`].
    pub async fn complete(&mut self, tcp: &TcpStream) -> io::Result<()> {
        loop {
            match self.step().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Next::Again => {}
                Next::Done => return self.write(tcp).await,
                Next::Write => self.write(tcp).await?,
                Next::Read => {
                    self.write(tcp).await?;
                    self.read(tcp).await?;
                }
            }
        }
    }

    /// The fatal alert that answers the error of [`Handshake::complete`], as far as the socket
    /// takes it; false when there is none.
    pub fn alert(&mut self, tcp: &TcpStream) -> bool {
        // What has not been sent is the server's flight, of no use any more.
        self.outgoing.clear();
        self.incoming.clear();
        while let Ok(Next::Again) = self.step() {}
        !self.outgoing.is_empty() && tcp.try_write(&self.outgoing).is_ok()
    }

    /// What was negotiated.
    pub fn session(&self) -> &CommonState {
        match &self.session {
            Session::Client(session) => session,
            Session::Server(session) => session,
        }
    }

    /// The chain that the peer presented.
    pub fn presented(&self) -> Presented {
        Presented::new(self.session().peer_certificates().unwrap_or_default())
    }

    /// The established connection, and the application bytes that are there already.
    ///
    /// # Errors
    /// Before the end of the handshake, or without `enable_secret_extraction`.
    pub fn into_stream(self, tcp: TcpStream) -> Result<(TlsStream, Vec<u8>), rustls::Error> {
        let (extracted, secrets) = match self.session {
            Session::Client(session) => {
                let (extracted, connection) = session.dangerous_into_kernel_connection()?;
                (extracted, Secrets::Client(connection))
            }
            Session::Server(session) => {
                let (extracted, connection) = session.dangerous_into_kernel_connection()?;
                (extracted, Secrets::Server(connection))
            }
        };
        let records = Records::new(extracted, secrets)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let left = Left { incoming: self.incoming, is_closed: self.is_closed };
        Ok((TlsStream::Direct(Box::new(Direct::new(tcp, records, left))), self.early))
    }

    fn step(&mut self) -> Result<Next, rustls::Error> {
        let Self { session, incoming, outgoing, early, is_closed } = self;
        let (done_with, next) = match session {
            Session::Client(session) => {
                follow(session.process_tls_records(incoming), outgoing, early, is_closed)
            }
            Session::Server(session) => {
                follow(session.process_tls_records(incoming), outgoing, early, is_closed)
            }
        };
        incoming.drain(..done_with);
        next
    }

    async fn write(&mut self, tcp: &TcpStream) -> io::Result<()> {
        let mut sent = 0;
        while let Some(rest) = self.outgoing.get(sent..).filter(|rest| !rest.is_empty()) {
            match tcp.try_write(rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.writable().await?,
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        Ok(())
    }

    async fn read(&mut self, tcp: &TcpStream) -> io::Result<()> {
        loop {
            tcp.readable().await?;
            match self.read_once(tcp) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The buffer lies on the stack, not in the future.
    fn read_once(&mut self, tcp: &TcpStream) -> io::Result<usize> {
        let mut buffer = [0; READ];
        let count = tcp.try_read(&mut buffer)?;
        self.incoming.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Does what rustls asks for; also the incoming bytes that it is done with.
fn follow<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
    early: &mut Vec<u8>,
    is_closed: &mut bool,
) -> (usize, Result<Next, rustls::Error>) {
    let mut done_with = status.discard;
    let next = match status.state {
        Ok(ConnectionState::EncodeTlsData(mut encode)) => {
            append(outgoing, |room| encode.encode(room)).map(|()| Next::Again)
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Ok(Next::Write)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Next::Read),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    early.extend_from_slice(record.payload);
                    done_with += record.discard;
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Next::Again),
            }
        },
        Ok(ConnectionState::PeerClosed) => {
            *is_closed = true;
            Ok(Next::Again)
        }
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Next::Done),
        // Closed by both, or early data, which is not enabled.
        Ok(_) => Err(rustls::Error::HandshakeNotComplete),
        Err(error) => Err(error),
    };
    (done_with, next)
}

/// Encodes to the end of `outgoing`. An encoder says how much room it needs when it has none.
fn append(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), rustls::Error> {
    let failed = |error: EncodeError| rustls::Error::General(error.to_string());
    match encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            let start = outgoing.len();
            outgoing.resize(start + required_size, 0);
            encode(outgoing.get_mut(start..).unwrap_or_default()).map(|_| ()).map_err(failed)
        }
        other => other.map(|_| ()).map_err(failed),
    }
}
