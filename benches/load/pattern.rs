//! The content of bulk traffic: one pattern, so that a receiver knows every byte from its offset
//! and can compare at the speed of memory.

use std::sync::LazyLock;

/// Bytes moved at once by client and backend.
pub const BLOCK: usize = 256 * 1024;
/// The pattern's length. A prime: bytes that are lost, repeated or swapped in blocks of any usual
/// size move the rest to where it does not fit.
const PERIOD: usize = 65_521;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    let period: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(PERIOD).collect();
    period.iter().copied().cycle().take(PERIOD + BLOCK).collect()
});

/// The `length` bytes at `offset` of the endless pattern, at most [`BLOCK`].
pub fn at(offset: u64, length: usize) -> &'static [u8] {
    let start = usize::try_from(offset % PERIOD as u64).unwrap_or_default();
    PATTERN.get(start..start + length.min(BLOCK)).unwrap_or_default()
}

/// Compares received bytes with what belongs at `offset`.
///
/// # Errors
/// Names the first offset that differs.
pub fn verify(offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
    let expected = at(offset, bytes.len());
    if bytes == expected {
        return Ok(());
    }
    let same = bytes.iter().zip(expected).take_while(|(a, b)| a == b).count();
    anyhow::bail!("wrong content at offset {}", offset.saturating_add(same as u64))
}
