//! Odd things that a TCP or TLS peer may do.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use rustls::{ConnectionCommon, SideData};
use socket2::SockRef;

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set");
}

/// `length` bytes that repeat only after a large prime, so that loss, repetition and reordering
/// show.
pub fn pattern(length: usize) -> Vec<u8> {
    const PERIOD: usize = 65_521;
    let period: Vec<u8> = (0..PERIOD).map(|i| (i * 31 + i / 251) as u8).collect();
    let mut bytes = period.repeat(length / PERIOD + 1);
    bytes.truncate(length);
    bytes
}

/// Reads until the end: the bytes, and the error that ended it if the end was not clean.
pub fn read_to_fault(stream: &mut impl Read) -> (Vec<u8>, Option<ErrorKind>) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65536]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, None),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (bytes, Some(error.kind())),
        }
    }
}

/// The same for a TLS client that reads without writing first, as one must after a failed write.
pub fn read_only(stream: &mut super::client::Stream) -> (Vec<u8>, Option<ErrorKind>) {
    read_to_fault(&mut ReadOnly(stream))
}

/// A TLS client's stream that reads without writing first.
pub struct ReadOnly<'s>(pub &'s mut super::client::Stream);

impl Read for ReadOnly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let stream = &mut *self.0;
        while stream.conn.wants_read() && stream.conn.read_tls(&mut stream.sock)? > 0 {
            stream.conn.process_new_packets().map_err(std::io::Error::other)?;
        }
        stream.conn.reader().read(buffer)
    }
}

/// The next thing to be read must be a reset, after exactly `expected`.
pub fn expect_reset_after(stream: &mut impl Read, expected: &[u8]) {
    let (bytes, fault) = read_to_fault(stream);
    assert!(bytes == expected, "{} bytes instead of {}", bytes.len(), expected.len());
    assert_eq!(fault, Some(ErrorKind::ConnectionReset));
}

/// The records that carry `bytes`, as they would be sent.
pub fn records<C, S>(connection: &mut C, bytes: &[u8]) -> Vec<u8>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    let mut records = Vec::new();
    connection.writer().write_all(bytes).expect("room");
    while connection.wants_write() {
        connection.write_tls(&mut records).expect("memory");
    }
    records
}

/// The records that carry `good`, and one that carries `bad` and was damaged on the way.
pub fn damaged_records<C, S>(connection: &mut C, good: &[u8], bad: &[u8]) -> Vec<u8>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    let mut bytes = records(connection, good);
    bytes.extend(records(connection, bad));
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}
