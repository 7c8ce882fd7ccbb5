//! The TLS 1.3 record layer of an established connection: bytes in, bytes out, no socket.
//!
//! rustls does the handshake and keeps the traffic secrets; `tls/stream.rs` carries the bytes. What
//! is ours is RFC 8446 section 5: records are opened straight into the relay's buffer and sealed
//! straight into what goes to the socket, without a copy or an allocation per record.
//!
//! What an attacker may try, and what holds:
//! - *Forged, cut or reordered records*: the nonce is the record's number; a record that does not
//!   open ends the connection, nothing of it is given out, what came before it is.
//! - *Records too long or too short, padding without a type*: refused before or after opening, with
//!   the alert of the RFC.
//! - *Records that cost work and carry nothing* (empty data, key updates, tickets): at most
//!   `MAX_WITHOUT_DATA` in a row.
//! - *Key reuse*: a number is never used twice; our key changes before the suite's limit, and at
//!   the end of the numbers nothing is sealed any more.
//! - *Messages cut into pieces, or mixed with data, or around a key change*: `messages.rs`.
//!
//! Where rustls does otherwise (`fuzz/targets/record.rs` holds both to this): it does not
//! authenticate a record's outer type and version, takes empty pieces of messages, looks into
//! tickets, minds the level of alerts, counts what carries nothing by kind, and waits for all of a
//! record or message before it looks at its header.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ExtractedSecrets, SupportedCipherSuite};

mod key;
mod messages;

use key::Key;
use messages::{KeyUpdate, Messages};

/// Type, version and length in front of each record.
const HEADER: usize = 5;
/// All suites of TLS 1.3 have tags of 16 bytes.
const TAG: usize = 16;
/// Most application bytes in a record (RFC 8446, 5.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;
/// Most bytes after a record's header (RFC 8446, 5.2).
const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT + 256;
/// What a record adds to its application bytes: header, inner type, tag.
pub const OVERHEAD: usize = HEADER + 1 + TAG;
/// Most bytes of one record on the wire.
pub const MAX_RECORD: usize = HEADER + MAX_CIPHERTEXT;
/// Bytes of a record that carries a key update, the longest that we send beside data.
pub const MAX_CONTROL: usize = KEY_UPDATE.len() + OVERHEAD;
/// Records without application data in a row. A server's few tickets fit; nobody honest sends more.
const MAX_WITHOUT_DATA: u32 = 32;
/// key_update, of length 1, update_not_requested.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// Records that our key is good for, less those that it takes to notice.
const LIMIT_MARGIN: u64 = 1 << 10;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;

/// What the peer did that TLS forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It ended the connection with this fatal alert.
    #[error("the peer sent the fatal alert {0}")]
    Alert(u8),
    /// A record does not open: forged, cut, or damaged on the way.
    #[error("a record has a bad tag")]
    BadTag,
    /// A message has a value that it must not have.
    #[error("a message has a forbidden value")]
    Illegal,
    /// A message is malformed.
    #[error("a message is malformed")]
    Malformed,
    /// More than `MAX_WITHOUT_DATA` records in a row carried nothing.
    #[error("too many records without data")]
    Flood,
    /// A record is longer than TLS allows.
    #[error("a record is too long")]
    TooLong,
    /// It has no place here.
    #[error("a record or message has no place here")]
    Unexpected,
    /// The keys are used up, or cannot be changed.
    #[error("there is no key for more records")]
    Exhausted,
}

impl RecordError {
    /// The alert that answers it (RFC 8446, 6); an alert is not answered.
    pub fn alert(self) -> Option<u8> {
        match self {
            Self::Alert(_) => None,
            Self::BadTag => Some(20),
            Self::TooLong => Some(22),
            Self::Illegal => Some(47),
            Self::Malformed => Some(50),
            Self::Unexpected | Self::Flood => Some(10),
            Self::Exhausted => Some(80),
        }
    }
}

/// Where new traffic secrets come from, by our role.
pub enum Secrets {
    /// We are the client.
    Client(KernelConnection<ClientConnectionData>),
    /// We are the server.
    Server(KernelConnection<ServerConnectionData>),
}

impl Secrets {
    fn suite(&self) -> SupportedCipherSuite {
        match self {
            Self::Client(connection) => connection.negotiated_cipher_suite(),
            Self::Server(connection) => connection.negotiated_cipher_suite(),
        }
    }

    fn next_incoming(&mut self) -> Result<Key, RecordError> {
        Key::new(match self {
            Self::Client(connection) => connection.update_rx_secret(),
            Self::Server(connection) => connection.update_rx_secret(),
        })
    }

    fn next_outgoing(&mut self) -> Result<Key, RecordError> {
        Key::new(match self {
            Self::Client(connection) => connection.update_tx_secret(),
            Self::Server(connection) => connection.update_tx_secret(),
        })
    }
}

/// How far [`Records::open`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Incoming bytes that are done with; the rest is the beginning of a record.
    pub consumed: usize,
    /// Application bytes written.
    pub written: usize,
    /// Whether more may come.
    pub next: Next,
}

/// What follows the records that were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More records.
    More,
    /// Nothing: the peer has said close_notify.
    Closed,
    /// Nothing: the peer broke the protocol.
    Broken(RecordError),
}

/// How far [`Records::seal`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Application bytes taken.
    pub taken: usize,
    /// Bytes of records written.
    pub written: usize,
}

/// Both directions of one connection.
pub struct Records {
    incoming: Key,
    outgoing: Key,
    secrets: Secrets,
    /// Records that `outgoing` may seal.
    limit: u64,
    messages: Messages,
    without_data: u32,
    /// The peer has asked for a change of our key.
    update_due: bool,
}

impl Records {
    /// Takes over after a handshake.
    ///
    /// # Errors
    /// [`RecordError::Exhausted`] when the secrets are of no suite that is known here.
    pub fn new(extracted: ExtractedSecrets, secrets: Secrets) -> Result<Self, RecordError> {
        let suite = secrets.suite().tls13().ok_or(RecordError::Exhausted)?;
        Ok(Self {
            incoming: Key::new(Ok(extracted.rx))?,
            outgoing: Key::new(Ok(extracted.tx))?,
            limit: suite.common.confidentiality_limit.saturating_sub(LIMIT_MARGIN),
            messages: Messages::new(matches!(secrets, Secrets::Client(_))),
            secrets,
            without_data: 0,
            update_due: false,
        })
    }

    /// Opens the complete records at the start of `incoming` into `plaintext`, which is at least as
    /// long. Stops after close_notify and at the first wrong record.
    pub fn open(&mut self, incoming: &[u8], plaintext: &mut [u8]) -> Opened {
        let mut opened = Opened { consumed: 0, written: 0, next: Next::More };
        loop {
            let rest = incoming.get(opened.consumed..).unwrap_or_default();
            let room = plaintext.get_mut(opened.written..).unwrap_or_default();
            match self.open_one(rest, room) {
                Ok(Some(record)) => {
                    opened.consumed += record.consumed;
                    opened.written += record.written;
                    if record.next != Next::More {
                        return Opened { next: record.next, ..opened };
                    }
                }
                Ok(None) => return opened,
                Err(error) => return Opened { next: Next::Broken(error), ..opened },
            }
        }
    }

    /// `None` when the record is not complete.
    fn open_one(
        &mut self,
        incoming: &[u8],
        room: &mut [u8],
    ) -> Result<Option<Opened>, RecordError> {
        let Some((header, rest)) = incoming.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, _, _, high, low] = *header;
        if kind != APPLICATION_DATA {
            return Err(RecordError::Unexpected);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_CIPHERTEXT {
            return Err(RecordError::TooLong);
        }
        let Some(ciphertext) = rest.get(..length) else { return Ok(None) };
        let inner = self.incoming.open(header, ciphertext, room)?;
        let (kind, length) = unpadded(inner)?;
        let content = inner.get(..length).unwrap_or_default();
        let next = match kind {
            APPLICATION_DATA if self.messages.is_between() => Next::More,
            HANDSHAKE => self.message(content)?,
            ALERT if self.messages.is_between() => alert(content)?,
            _ => return Err(RecordError::Unexpected),
        };
        let written = if kind == APPLICATION_DATA { length } else { 0 };
        self.without_data = match next {
            Next::More if written == 0 => self.without_data + 1,
            _ => 0,
        };
        if self.without_data > MAX_WITHOUT_DATA {
            return Err(RecordError::Flood);
        }
        Ok(Some(Opened { consumed: HEADER + ciphertext.len(), written, next }))
    }

    fn message(&mut self, content: &[u8]) -> Result<Next, RecordError> {
        if let Some(update) = self.messages.take(content)? {
            self.incoming = self.secrets.next_incoming()?;
            self.update_due |= update == KeyUpdate::Requested;
        }
        Ok(Next::More)
    }

    /// Seals as much of `plaintext` as `out` has room for; [`sealed_length`] says how much that is.
    ///
    /// # Errors
    /// [`RecordError::Exhausted`]: nothing more can be sent.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<Sealed, RecordError> {
        let mut sealed = Sealed { taken: 0, written: 0 };
        for content in plaintext.chunks(MAX_PLAINTEXT) {
            let room = out.get_mut(sealed.written..).unwrap_or_default();
            if room.len() < MAX_CONTROL + content.len() + OVERHEAD {
                break;
            }
            let update = self.change_key(room)?;
            let room = room.get_mut(update..).unwrap_or_default();
            sealed.written += update + self.outgoing.seal(APPLICATION_DATA, content, room)?;
            sealed.taken += content.len();
        }
        Ok(sealed)
    }

    /// Seals an alert; 0 is close_notify. Returns the record's length; `out` has room for
    /// [`MAX_CONTROL`].
    ///
    /// # Errors
    /// [`RecordError::Exhausted`].
    pub fn seal_alert(&mut self, description: u8, out: &mut [u8]) -> Result<usize, RecordError> {
        let level = if description == CLOSE_NOTIFY { 1 } else { 2 };
        self.outgoing.seal(ALERT, &[level, description], out)
    }

    /// Where a key update is due, seals it and changes the key. Returns the record's length.
    fn change_key(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        if !self.update_due && self.outgoing.number < self.limit {
            return Ok(0);
        }
        let length = self.outgoing.seal(HANDSHAKE, &KEY_UPDATE, out)?;
        self.outgoing = self.secrets.next_outgoing()?;
        self.update_due = false;
        Ok(length)
    }
}

/// Bytes that [`Records::seal`] needs for this many application bytes, key updates included.
pub const fn sealed_length(plaintext: usize) -> usize {
    plaintext + plaintext.div_ceil(MAX_PLAINTEXT) * OVERHEAD + MAX_CONTROL
}

/// The type of an opened record, and the length of its content: the type is the last byte that is
/// not 0 (RFC 8446, 5.4).
fn unpadded(inner: &[u8]) -> Result<(u8, usize), RecordError> {
    // One byte for the type: more content than fits a record is an overflow, padded or not.
    if inner.len() > MAX_PLAINTEXT + 1 {
        return Err(RecordError::TooLong);
    }
    let length = inner.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Unexpected)?;
    Ok((inner.get(length).copied().unwrap_or(0), length))
}

/// In TLS 1.3 every alert but these two is fatal, whatever its level says.
fn alert(content: &[u8]) -> Result<Next, RecordError> {
    match *content {
        [_, CLOSE_NOTIFY] => Ok(Next::Closed),
        [_, USER_CANCELED] => Ok(Next::More),
        [_, description] => Err(RecordError::Alert(description)),
        // An empty fragment is forbidden (RFC 8446, 5.1), as one of a handshake message is.
        [] => Err(RecordError::Unexpected),
        _ => Err(RecordError::Malformed),
    }
}

#[cfg(test)]
pub(in crate::tls) mod tests;
