//! Drives a handshake of rustls over a socket and then takes the keys out for our record layer.
//!
//! Called by `proxy/handshake.rs`. rustls decides everything; here bytes are carried. It is given
//! one record at a time and none after the one that completes the handshake: what it would make of
//! later ones (half a message, an answer to a key update) stays inside it and is lost with it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, InvalidMessage, ServerConfig};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::record::{Records, Secrets};
use super::stream::{Direct, TlsStream};
use super::verify::Presented;

/// Bytes read at once; a client's second flight is 1 to 2 KB.
const READ: usize = 4096;
/// Type, version and length in front of each record.
const HEADER: usize = 5;
/// Most bytes kept for one flight. rustls joins messages in place, and small pieces cost more than
/// they carry; its own buffer ends here too.
const MAX_INCOMING: usize = 0xffff;

/// A handshake that has not been driven to its end.
pub struct Handshake {
    session: Session,
    /// Bytes from the socket that rustls has not done with.
    incoming: Vec<u8>,
    /// How many of them are records that it has been given.
    given: usize,
    /// It has asked for the next record.
    wants_more: bool,
    /// Bytes for the socket.
    outgoing: Vec<u8>,
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
        Self { session, incoming, given: 0, wants_more: true, outgoing: Vec::new() }
    }

    /// Goes on until the handshake is complete. After an error of rustls there may be an alert to
    /// say: [`Handshake::alert`].
    ///
    /// # Errors
    /// What the socket says, or rustls within [`io::ErrorKind::InvalidData`].
    pub async fn complete(&mut self, tcp: &mut TcpStream) -> io::Result<()> {
        let refused = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        loop {
            let is_complete = self.advance().map_err(refused)?;
            self.write(tcp).await?;
            if is_complete {
                return Ok(());
            }
            self.read(tcp).await?;
        }
    }

    /// Goes as far as the bytes that are there allow; true when the handshake is complete.
    ///
    /// # Errors
    /// Why rustls refuses the peer; then [`Handshake::outgoing`] ends in the alert, if there is
    /// one.
    pub fn advance(&mut self) -> Result<bool, rustls::Error> {
        loop {
            match self.step() {
                Ok(Next::Again) => {}
                Ok(Next::Done) => return Ok(true),
                Ok(Next::Read) if self.incoming.len() > MAX_INCOMING => {
                    return Err(InvalidMessage::HandshakePayloadTooLarge.into());
                }
                Ok(Next::Read) => return Ok(false),
                Err(error) => {
                    // Asked for more than this it would look at the same records again.
                    while self.session().wants_write() && self.step().is_ok() {}
                    return Err(error);
                }
            }
        }
    }

    /// More bytes from the peer.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Takes what is to be sent.
    pub fn outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// The fatal alert that answers the error of [`Handshake::complete`], as far as the socket
    /// takes it; false when there is none.
    pub fn alert(&mut self, tcp: &TcpStream) -> bool {
        let outgoing = self.outgoing();
        !outgoing.is_empty() && tcp.try_write(&outgoing).is_ok()
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

    /// The established connection.
    ///
    /// # Errors
    /// As [`Handshake::into_records`].
    pub fn into_stream(self, tcp: TcpStream) -> Result<TlsStream, rustls::Error> {
        let (records, incoming) = self.into_records()?;
        Ok(TlsStream::Direct(Box::new(Direct::new(tcp, records, &incoming))))
    }

    /// The keys, and the bytes that came after the handshake.
    ///
    /// # Errors
    /// Before the end of the handshake, or without `enable_secret_extraction`.
    pub fn into_records(self) -> Result<(Records, Vec<u8>), rustls::Error> {
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
        Ok((records, self.incoming))
    }

    fn step(&mut self) -> Result<Next, rustls::Error> {
        let whole = self.record_end().filter(|end| self.wants_more && *end <= self.incoming.len());
        // Of a record that has begun as much as there is: wrong headers are refused at once.
        let started = if self.wants_more { self.incoming.len() } else { self.given };
        let Self { session, incoming, given, wants_more, outgoing } = self;
        let offered = incoming.get_mut(..whole.unwrap_or(started)).unwrap_or_default();
        let (done_with, next) = match session {
            Session::Client(session) => follow(session.process_tls_records(offered), outgoing),
            Session::Server(session) => follow(session.process_tls_records(offered), outgoing),
        };
        *given = whole.unwrap_or(*given).saturating_sub(done_with);
        incoming.drain(..done_with);
        let had_all = *wants_more && whole.is_none();
        *wants_more = matches!(next, Ok(Next::Read));
        match next {
            Ok(Next::Read) if !had_all => Ok(Next::Again),
            next => next,
        }
    }

    /// Where the record ends that comes after those that rustls has been given.
    fn record_end(&self) -> Option<usize> {
        let header = self.incoming.get(self.given..)?.first_chunk::<HEADER>()?;
        let [_, _, _, high, low] = *header;
        Some(self.given + HEADER + usize::from(u16::from_be_bytes([high, low])))
    }

    async fn write(&mut self, tcp: &TcpStream) -> io::Result<()> {
        let outgoing = self.outgoing();
        let mut rest = outgoing.as_slice();
        while !rest.is_empty() {
            match tcp.try_write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read(&mut self, tcp: &mut TcpStream) -> io::Result<()> {
        match poll_fn(|cx| self.poll_read(cx, tcp)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The buffer lies on the stack, not in the future.
    fn poll_read(&mut self, cx: &mut Context<'_>, tcp: &mut TcpStream) -> Poll<io::Result<usize>> {
        let mut buffer = [0; READ];
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
        self.receive(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// Does what rustls asks for; also the incoming bytes that it is done with.
fn follow<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Next, rustls::Error>) {
    let next = match status.state {
        Ok(ConnectionState::EncodeTlsData(mut encode)) => {
            append(outgoing, |room| encode.encode(room)).map(|()| Next::Again)
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Next::Read),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Next::Done),
        // Application data or an end before the handshake's, which rustls refuses itself.
        Ok(_) => Err(rustls::Error::HandshakeNotComplete),
        Err(error) => Err(error),
    };
    (status.discard, next)
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

#[cfg(test)]
mod tests;
