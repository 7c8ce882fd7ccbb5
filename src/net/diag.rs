//! What the kernel knows of a TCP connection's sending side: `sock_diag(7)`, asked for one socket.
//!
//! The relay asks so that TCP_USER_TIMEOUT can tell a peer that is gone from one that is only not
//! reading: since Linux 5.11 that timeout cuts both. TCP_INFO would say the same, but no safe
//! interface to it exists.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use socket2::SockRef;

use super::socket::unmapped;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST` of linux/netlink.h.
const REQUEST: u16 = 1;
/// A message header and an `inet_diag_req_v2`.
const REQUEST_LENGTH: u32 = 72;
/// Offsets in the answer: a message header of 16 bytes, then an `inet_diag_msg`.
const ANSWER_TIMER: usize = 16 + 2;
const ANSWER_RETRANSMITS: usize = 16 + 3;
const ANSWER_QUEUE: std::ops::Range<usize> = 16 + 60..16 + 64;
/// `idiag_timer` of a connection whose peer has closed its window.
const WINDOW_PROBES: u8 = 4;
/// Probes that may be unanswered at once: one that is under way, and one that was lost.
const UNANSWERED: u8 = 2;

/// A connection's sending side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The peer has closed its window and acknowledges the probes of it: it lives and does not read.
    pub is_paused: bool,
    /// Bytes that the peer has not acknowledged, sent or not.
    pub unacknowledged: u32,
}

/// A way to ask the kernel; one per thread.
#[derive(Debug)]
pub struct Diagnosis {
    netlink: OwnedFd,
}

impl Diagnosis {
    /// `None` where the system does not allow it.
    pub fn new() -> Option<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::DGRAM;
        let netlink = socket_with(AddressFamily::NETLINK, kind, flags, Some(SOCK_DIAG)).ok()?;
        connect(&netlink, &SocketAddrNetlink::new(0, 0)).ok()?;
        Some(Self { netlink })
    }

    /// What is known of `stream`; `None` when the kernel does not say.
    pub fn sending(&self, stream: impl AsFd) -> Option<Sending> {
        let stream = SockRef::from(&stream);
        let local = unmapped(stream.local_addr().ok()?.as_socket()?);
        let peer = unmapped(stream.peer_addr().ok()?.as_socket()?);
        send(&self.netlink, &request(local, peer), SendFlags::empty()).ok()?;
        // The kernel has answered before `send` returns.
        let mut answer = [0; 512];
        let (_, length) = recv(&self.netlink, &mut answer, RecvFlags::empty()).ok()?;
        let answer = answer.get(..length)?;
        if u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?) != BY_FAMILY {
            return None;
        }
        let queue = answer.get(ANSWER_QUEUE)?.try_into().ok()?;
        Some(Sending {
            is_paused: *answer.get(ANSWER_TIMER)? == WINDOW_PROBES
                && *answer.get(ANSWER_RETRANSMITS)? <= UNANSWERED,
            unacknowledged: u32::from_ne_bytes(queue),
        })
    }
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2` of linux/inet_diag.h.
fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    const ANY_COOKIE: [u8; 8] = [0xff; 8];
    const EVERY_STATE: u32 = u32::MAX;
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut bytes = Vec::with_capacity(REQUEST_LENGTH as usize);
    bytes.extend(REQUEST_LENGTH.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    // Sequence and sender: the socket is connected to the kernel, which answers in order.
    bytes.extend([0; 8]);
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let tcp = u8::try_from(rustix::net::ipproto::TCP.as_raw().get()).unwrap_or_default();
    bytes.extend([family, tcp, 0, 0]);
    bytes.extend(EVERY_STATE.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    bytes.extend(octets(local.ip()));
    bytes.extend(octets(peer.ip()));
    bytes.extend([0; 4]);
    bytes.extend(ANY_COOKIE);
    bytes
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn tells_a_paused_reader_from_an_attentive_one() {
        let Some(diagnosis) = Diagnosis::new() else {
            assert!(std::env::var_os("REQUIRE_ALL").is_none(), "sock_diag is not allowed");
            return eprintln!("skipped: sock_diag is not allowed here");
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a port");
            let client = TcpStream::connect(listener.local_addr().expect("bound"));
            let mut client = client.expect("connected");
            let (mut server, _) = listener.accept().expect("accepted");
            let quiet = Sending { is_paused: false, unacknowledged: 0 };
            assert_eq!(diagnosis.sending(&server), Some(quiet), "{address}");
            server.set_nonblocking(true).expect("set");
            while server.write(&[0; 65536]).is_ok() {}
            std::thread::sleep(Duration::from_millis(600));
            let sending = diagnosis.sending(&server).expect("known");
            assert!(sending.is_paused && sending.unacknowledged > 0, "{address} {sending:?}");
            client.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
            while client.read(&mut vec![0; 1 << 20]).is_ok() {}
            assert_eq!(diagnosis.sending(&server), Some(quiet), "{address}");
        }
    }
}
