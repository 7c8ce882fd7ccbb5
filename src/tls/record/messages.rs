//! Handshake messages after the handshake: key updates, and tickets that nobody uses.
//!
//! A message may be cut into several records, several may share one, but none may be mixed with
//! other records or stand around a change of keys (RFC 8446, 5.1).

use super::RecordError;

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;
/// Type and length of a message.
const HEADER: usize = 4;
/// Bytes of a ticket's message; rustls and OpenSSL accept no more than 64 KiB either.
const MAX_TICKET: u32 = 0xffff;

/// What a key update asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyUpdate {
    /// Nothing.
    NotRequested,
    /// To change our key too.
    Requested,
}

/// Puts messages together.
#[derive(Debug)]
pub(super) struct Messages {
    /// Only servers send tickets.
    takes_tickets: bool,
    /// The header of a message that has begun.
    header: [u8; HEADER],
    /// Bytes of `header` that are there.
    begun: usize,
    /// Bytes of the message that are still to come, once its header is complete.
    left: u32,
}

impl Messages {
    pub(super) fn new(takes_tickets: bool) -> Self {
        Self { takes_tickets, header: [0; HEADER], begun: 0, left: 0 }
    }

    /// True when no message is incomplete.
    pub(super) fn is_between(&self) -> bool {
        self.begun == 0
    }

    /// Takes the content of one record.
    pub(super) fn take(&mut self, mut content: &[u8]) -> Result<Option<KeyUpdate>, RecordError> {
        // An empty fragment is forbidden: it would be work for nothing.
        if content.is_empty() {
            return Err(RecordError::Unexpected);
        }
        while let Some((&byte, rest)) = content.split_first() {
            if self.begun < HEADER {
                content = rest;
                self.header(byte)?;
                continue;
            }
            if self.header[0] == KEY_UPDATE {
                self.begun = 0;
                // Whatever followed would have come with the new key.
                return match rest {
                    [] => update(byte).map(Some),
                    _ => Err(RecordError::Unexpected),
                };
            }
            let skipped = content.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            content = content.get(skipped..).unwrap_or_default();
            self.left -= u32::try_from(skipped).unwrap_or(self.left);
            if self.left == 0 {
                self.begun = 0;
            }
        }
        Ok(None)
    }

    /// The next byte of a message's header.
    fn header(&mut self, byte: u8) -> Result<(), RecordError> {
        if let Some(place) = self.header.get_mut(self.begun) {
            *place = byte;
        }
        self.begun += 1;
        if self.begun < HEADER {
            return Ok(());
        }
        let [kind, length @ ..] = self.header;
        let [high, middle, low] = length;
        self.left = u32::from_be_bytes([0, high, middle, low]);
        match kind {
            KEY_UPDATE if self.left == 1 => Ok(()),
            NEW_SESSION_TICKET if !self.takes_tickets => Err(RecordError::Unexpected),
            NEW_SESSION_TICKET if (1..=MAX_TICKET).contains(&self.left) => Ok(()),
            KEY_UPDATE | NEW_SESSION_TICKET => Err(RecordError::Malformed),
            _ => Err(RecordError::Unexpected),
        }
    }
}

fn update(request: u8) -> Result<KeyUpdate, RecordError> {
    match request {
        0 => Ok(KeyUpdate::NotRequested),
        1 => Ok(KeyUpdate::Requested),
        _ => Err(RecordError::Illegal),
    }
}
