//! A name server for one name: it answers, fails or keeps silent as a test says.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with every question.
#[derive(Clone, Debug)]
pub enum Mode {
    /// These addresses, of the kind that was asked for, with this TTL in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name.
    NoSuchName,
    /// Addresses of one kind; questions for the other fail.
    OnlyV6(Vec<IpAddr>, u32),
    /// It cannot answer.
    ServerFailure,
    /// Nothing at all.
    Silent,
    /// The addresses, after this time.
    Slow(Duration, Vec<IpAddr>, u32),
    /// Over UDP nothing but that it does not fit; over TCP, if that is served, the addresses.
    Truncated(Vec<IpAddr>, u32),
}

/// A running name server.
pub struct Dns {
    pub address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    questions: Arc<AtomicUsize>,
}

impl Dns {
    pub fn start(mode: Mode) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        let (mode, questions) = (Arc::new(Mutex::new(mode)), Arc::new(AtomicUsize::new(0)));
        let (current, count) = (Arc::clone(&mode), Arc::clone(&questions));
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                let mode = current.lock().expect("whole").clone();
                let Some(answer) = answer(&buffer[..length], &mode, false) else { continue };
                let Mode::Slow(delay, ..) = mode else {
                    let _ = socket.send_to(&answer, from);
                    continue;
                };
                let socket = socket.try_clone().expect("a descriptor");
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    let _ = socket.send_to(&answer, from);
                });
            }
        });
        Self { address, mode, questions }
    }

    /// Answers over TCP too, one question per connection.
    pub fn serve_tcp(&self) {
        let listener = TcpListener::bind(self.address).expect("the port is free for TCP");
        let mode = Arc::clone(&self.mode);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut length = [0; 2];
                let mut query = Vec::new();
                if stream.read_exact(&mut length).is_ok() {
                    query.resize(usize::from(u16::from_be_bytes(length)), 0);
                }
                let mode = mode.lock().expect("whole").clone();
                let Ok(()) = stream.read_exact(&mut query) else { continue };
                let Some(answer) = answer(&query, &mode, true) else { continue };
                let length = (answer.len() as u16).to_be_bytes();
                let _ = stream.write_all(&[&length[..], &answer].concat());
            }
        });
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().expect("whole") = mode;
    }

    /// Questions so far.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;

/// RFC 1035 4.1: the header, the question repeated, answers that point back to its name.
fn answer(query: &[u8], mode: &Mode, tcp: bool) -> Option<Vec<u8>> {
    let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let question = query.get(12..end)?;
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let (code, addresses, ttl) = match mode {
        Mode::Addresses(addresses, ttl) | Mode::Slow(_, addresses, ttl) => {
            (0, addresses.as_slice(), *ttl)
        }
        Mode::Truncated(addresses, ttl) if tcp => (0, addresses.as_slice(), *ttl),
        Mode::Truncated(..) => (0, &[][..], 0),
        Mode::NoSuchName => (3, &[][..], 0),
        Mode::OnlyV6(addresses, ttl) if kind == AAAA => (0, addresses.as_slice(), *ttl),
        Mode::OnlyV6(..) | Mode::ServerFailure => (2, &[][..], 0),
        Mode::Silent => return None,
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(v4), A) => Some(v4.octets().to_vec()),
            (IpAddr::V6(v6), AAAA) => Some(v6.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut out = query[..2].to_vec();
    let truncated = if matches!(mode, Mode::Truncated(..)) && !tcp { 0x02 } else { 0 };
    out.extend([0x81 | truncated, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    out.extend_from_slice(question);
    for record in records {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend([0, record.len() as u8]);
        out.extend(record);
    }
    Some(out)
}
