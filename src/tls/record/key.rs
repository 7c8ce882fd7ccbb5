//! The key of one direction: opens and seals single records, each under its own number.
//!
//! Used by `record.rs` alone. It never gives a number twice, and knows nothing of what is inside.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use super::{APPLICATION_DATA, HEADER, OVERHEAD, RecordError, TAG};

/// The key of one direction.
pub(super) struct Key {
    pub(super) key: LessSafeKey,
    pub(super) iv: [u8; NONCE_LEN],
    /// The number of the next record.
    pub(super) number: u64,
}

impl Key {
    pub(super) fn new(
        secrets: Result<(u64, ConnectionTrafficSecrets), rustls::Error>,
    ) -> Result<Self, RecordError> {
        use ConnectionTrafficSecrets as S;
        let (number, secrets) = secrets.map_err(|_| RecordError::Exhausted)?;
        let (algorithm, key, iv) = match &secrets {
            S::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            S::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            S::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(RecordError::Exhausted),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| RecordError::Exhausted)?;
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Exhausted)?;
        Ok(Self { key: LessSafeKey::new(key), iv, number })
    }

    /// The nonce of the next record (RFC 8446, 5.3). Each is given once.
    pub(super) fn nonce(&mut self) -> Result<Nonce, RecordError> {
        let next = self.number.checked_add(1).ok_or(RecordError::Exhausted)?;
        let mut nonce = self.iv;
        let [_, _, _, _, low @ ..] = &mut nonce;
        for (byte, number) in low.iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number = next;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Opens one record; the content with its type and padding.
    pub(super) fn open<'r>(
        &mut self,
        header: &[u8; HEADER],
        ciphertext: &[u8],
        room: &'r mut [u8],
    ) -> Result<&'r [u8], RecordError> {
        let (ciphertext, tag) = ciphertext.split_last_chunk::<TAG>().ok_or(RecordError::BadTag)?;
        let inner = room.get_mut(..ciphertext.len()).ok_or(RecordError::TooLong)?;
        let nonce = self.nonce()?;
        let opened =
            self.key.open_separate_gather(nonce, Aad::from(header), ciphertext, tag, inner);
        opened.map_err(|_| RecordError::BadTag)?;
        Ok(inner)
    }

    /// Seals one record; its length.
    pub(super) fn seal(
        &mut self,
        kind: u8,
        content: &[u8],
        out: &mut [u8],
    ) -> Result<usize, RecordError> {
        let full = RecordError::TooLong;
        let length = u16::try_from(content.len() + 1 + TAG).map_err(|_| full)?;
        let (header, rest) = out.split_first_chunk_mut::<HEADER>().ok_or(full)?;
        let (ciphertext, rest) = rest.split_at_mut_checked(content.len()).ok_or(full)?;
        let (end, _) = rest.split_first_chunk_mut::<{ 1 + TAG }>().ok_or(full)?;
        let [high, low] = length.to_be_bytes();
        *header = [APPLICATION_DATA, 3, 3, high, low];
        let (nonce, header) = (self.nonce()?, Aad::from(*header));
        let key = &self.key;
        key.seal_out_of_place_scatter(nonce, header, content, ciphertext, &[kind], end)
            .map_err(|_| RecordError::Exhausted)?;
        Ok(content.len() + OVERHEAD)
    }
}
