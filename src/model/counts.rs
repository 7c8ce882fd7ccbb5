//! Live byte counts of one connection, written by its relay and read by scrapes and listings.
//!
//! Each connection has its own, so the relaxed adds of the data path touch no shared cache line.

use std::sync::atomic::{AtomicU64, Ordering};

/// Application bytes relayed so far, without TLS framing and the transport header.
#[derive(Debug, Default)]
pub struct ByteCounts {
    from_client: AtomicU64,
    to_client: AtomicU64,
}

impl ByteCounts {
    /// Adds bytes read from the client and written to the endpoint.
    pub fn add_from_client(&self, bytes: u64) {
        self.from_client.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds bytes read from the endpoint and written to the client.
    pub fn add_to_client(&self, bytes: u64) {
        self.to_client.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes from the client so far.
    pub fn from_client(&self) -> u64 {
        self.from_client.load(Ordering::Relaxed)
    }

    /// Bytes to the client so far.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }
}
