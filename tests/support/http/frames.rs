//! HTTP/2 frame for frame (RFC 9113 4.1): a client that may break every rule.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use linkerd_gateway::model::header::SessionProtocol;

use super::super::client::{Client, Stream, header_for, tcp};
use super::super::gateway::PATIENCE;
use super::super::tcp::ReadOnly;
use super::{TARGET, hpack};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 32;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub const SETTING_TABLE_SIZE: u16 = 1;
pub const SETTING_ENABLE_PUSH: u16 = 2;
pub const SETTING_MAX_STREAMS: u16 = 3;
pub const SETTING_WINDOW: u16 = 4;
pub const SETTING_FRAME_SIZE: u16 = 5;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A SETTINGS frame.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// A WINDOW_UPDATE frame.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// A RST_STREAM frame.
pub fn rst_stream(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// The pseudo headers of a request, and its mark: it is to be HTTP/1.1 behind the gateway.
pub fn fields<'f>(method: &'f str, path: &'f str) -> Vec<(&'f str, &'f str)> {
    let authority = TARGET;
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", authority),
        (":path", path),
        ("l5d-orig-proto", "HTTP/1.1"),
    ]
}

/// A HEADERS frame that is the whole head.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &hpack::block(fields))
}

/// A GET.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &fields("GET", path))
}

/// A POST whose body is to follow.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, 0, &fields("POST", path))
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// GOAWAY's last stream, and a WINDOW_UPDATE's increment.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"))
    }

    /// What a SETTINGS frame says.
    pub fn settings(&self) -> Vec<(u16, u32)> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
        let settings = self.payload.chunks(6);
        settings.map(|s| (number(&s[..2]) as u16, number(&s[2..]))).collect()
    }

    /// The status of a HEADERS frame, if it has one.
    pub fn status(&self) -> Option<u16> {
        (self.kind == HEADERS).then(|| hpack::status(&self.payload)).flatten()
    }

    pub fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag == flag
    }
}

/// What frames are carried by.
pub trait Wire: Send {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize>;
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write_all(bytes)
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Read::read(self, buffer)
    }

    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write_all(bytes)?;
        self.flush()
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        ReadOnly(self).read(buffer)
    }

    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

/// The client's side of one connection.
pub struct Peer {
    wire: Box<dyn Wire>,
    unread: Vec<u8>,
    /// The server's settings, when the greeting is over.
    settings: Vec<(u16, u32)>,
    /// Why nothing more will come.
    pub end: Option<String>,
}

impl Peer {
    /// A Linkerd session for [`TARGET`]; nothing of HTTP/2 has been written.
    pub fn connect(client: &Client, address: SocketAddr) -> Self {
        Self::connect_to(client, address, TARGET)
    }

    /// The same for any target.
    pub fn connect_to(client: &Client, address: SocketAddr, target: &str) -> Self {
        let mut stream = client.connect(address).expect("a handshake");
        let header = header_for(target, Some(SessionProtocol::Http2));
        stream.write_all(&header).and_then(|()| stream.flush()).expect("the header is sent");
        Self::over(Box::new(stream))
    }

    /// With a server that has neither TLS nor header.
    pub fn direct(address: SocketAddr) -> Self {
        Self::over(Box::new(tcp(address).expect("connected")))
    }

    fn over(wire: Box<dyn Wire>) -> Self {
        Self { wire, unread: Vec::new(), settings: Vec::new(), end: None }
    }

    /// Preface and settings, and the server's, acknowledged. The table of what the server encodes
    /// is empty, so that [`hpack::status`] can read it.
    pub fn greet(mut self, values: &[(u16, u32)]) -> Self {
        let values = [&[(SETTING_TABLE_SIZE, 0)], values].concat();
        self.send(&[PREFACE, &settings(&values), &frame(SETTINGS, ACK, 0, b"")].concat());
        let mut acknowledged = false;
        let mut seen = false;
        while !(acknowledged && seen) {
            let frame = self.next().expect("the server's greeting");
            acknowledged |= frame.is(SETTINGS, ACK);
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                seen = true;
                self.settings = frame.settings();
            }
            assert_ne!(frame.kind, GOAWAY, "{frame:?}");
        }
        self
    }

    /// What the server has said of a setting.
    pub fn setting(&self, id: u16) -> Option<u32> {
        self.settings.iter().find(|(i, _)| *i == id).map(|(_, value)| *value)
    }

    /// Sends bytes. A peer that is gone already shows in what is read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.wire.write(bytes);
    }

    /// Sends bytes, and says whether that worked.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.wire.write(bytes).is_ok()
    }

    /// A write that takes longer fails.
    pub fn limit_writes(&self, time: Duration) {
        self.wire.tcp().set_write_timeout(Some(time)).expect("set");
    }

    /// The next frame; `None` at the end, which is in `end`.
    pub fn next(&mut self) -> Option<Frame> {
        let frame = self.within(PATIENCE);
        assert!(frame.is_some() || self.end.is_some(), "nothing comes, and no end");
        frame
    }

    /// The next frame, if one comes within a time. A PING is answered.
    pub fn within(&mut self, time: Duration) -> Option<Frame> {
        let until = Instant::now() + time;
        loop {
            if let Some(frame) = self.parse() {
                // As every client must; a server that is about to end waits for it.
                if frame.kind == PING && frame.flags & ACK == 0 {
                    self.send(&super::frames::frame(PING, ACK, 0, &frame.payload));
                }
                return Some(frame);
            }
            let left = until.saturating_duration_since(Instant::now());
            if self.end.is_some() || left.is_zero() {
                return None;
            }
            self.wire.tcp().set_read_timeout(Some(left)).expect("set");
            self.fill();
        }
    }

    /// The next frame that has come already, if any.
    pub fn ready(&mut self) -> Option<Frame> {
        if let Some(frame) = self.parse() {
            return Some(frame);
        }
        if self.end.is_none() {
            self.wire.tcp().set_nonblocking(true).expect("set");
            self.fill();
            self.wire.tcp().set_nonblocking(false).expect("set");
        }
        self.parse()
    }

    fn fill(&mut self) {
        let mut buffer = vec![0; 65_536];
        match self.wire.read(&mut buffer) {
            Ok(0) => self.end = Some("a clean end".to_owned()),
            Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => self.end = Some(error.to_string()),
            },
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let head = self.unread.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..9].try_into().expect("four bytes"));
        let payload = self.unread.get(9..9 + length)?.to_vec();
        self.unread.drain(..9 + length);
        Some(Frame { kind, flags, stream: stream & 0x7fff_ffff, payload })
    }

    /// The status of a stream's response.
    pub fn status(&mut self, stream: u32) -> u16 {
        loop {
            let frame = self.next().expect("a response");
            let is_error = [GOAWAY, RST_STREAM].contains(&frame.kind) && frame.code() != NO_ERROR;
            assert!(!is_error, "{frame:?}");
            if let Some(status) = frame.status().filter(|_| frame.stream == stream) {
                return status;
            }
        }
    }
}
