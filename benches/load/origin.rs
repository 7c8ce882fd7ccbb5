//! The backend of HTTP's modes: as little of a server as the modes can do with, so that the machine
//! is the gateway's.
//!
//! A path `/SIZE/OFFSET` names bytes of the pattern: GET is answered with them, POST must bring
//! them and is answered with `SIZE/OFFSET`. Anything else is answered with 400 and a reason, which
//! the client counts.

use super::pattern::BLOCK;

#[path = "origin/h2c.rs"]
pub mod h2c;
#[path = "origin/http1.rs"]
pub mod http1;

/// What answers are said to be.
const TYPE: &str = "application/octet-stream";
/// Every origin sends a date; this one does not look at the clock.
const DATE: &str = "Sat, 21 Nov 2026 12:00:00 GMT";

/// Bytes of the pattern that a request is about.
#[derive(Clone, Copy)]
pub struct Asked {
    pub size: usize,
    pub offset: u64,
}

impl Asked {
    /// Reads a path.
    pub fn parse(path: &str) -> Option<Self> {
        let (size, offset) = path.strip_prefix('/')?.split_once('/')?;
        let size = size.parse().ok().filter(|size| *size <= BLOCK)?;
        Some(Self { size, offset: offset.parse().ok()? })
    }

    /// The path; without its first byte what a POST is answered with.
    pub fn path(self) -> String {
        format!("/{}/{}", self.size, self.offset)
    }
}
