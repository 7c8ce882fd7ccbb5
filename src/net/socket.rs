//! Listening, accepting, tuning, and the ways to end a TCP connection.
//!
//! A socket of the data path is *armed* from its first moment: dropping it sends a reset. Only a
//! connection that ended cleanly is disarmed, so a refusal, a timeout, a cancelled task or a panic
//! can never look like a clean end to the peer.

use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream as StdStream, UdpSocket,
};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Connections that the kernel completes while we do not accept; it caps this at
/// `net.core.somaxconn`, 4096 by default.
pub const BACKLOG: u32 = 4096;
/// How often [`drain`] looks whether everything has left.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes thrown away at most while a refused peer reads its alert.
const MAX_LINGER_BYTES: usize = 64 * 1024;

/// Options of every connection of the data path, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Idle time before keepalive probes, and the time between them.
    pub keepalive: Duration,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

/// Reserves an address without listening yet, so that a taken port is known at start. `[::]`
/// takes IPv4 too, and becomes `0.0.0.0` on a host without IPv6.
///
/// # Errors
/// What the system says, an address in use above all.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    const NO_IPV6: [Errno; 2] = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    match bind_exactly(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_one_of(&error, &NO_IPV6) => {
            bind_exactly(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        result => result,
    }
}

/// True when the system's error is one of these.
pub fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn bind_exactly(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Starts to listen.
///
/// # Errors
/// What the system says; another process may have started to listen since [`bind`].
pub fn listen(socket: Socket) -> io::Result<std::net::TcpListener> {
    socket.listen(BACKLOG.cast_signed())?;
    Ok(socket.into())
}

/// Accepts one connection without registering it with a reactor: its worker will do that once.
///
/// # Errors
/// `WouldBlock` when none is waiting; others as the system says.
pub fn accept(listener: impl AsFd) -> io::Result<(StdStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let stream = StdStream::from(socket);
    let peer = peer.map_or_else(|| stream.peer_addr(), Ok)?;
    Ok((stream, unmapped(peer)))
}

/// An IPv4 address in IPv6 clothes (`::ffff:a.b.c.d`) as the IPv4 address that it is.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// True for an address of this host, in any form that the kernel delivers locally: loopback, a
/// second address of a network, a whole local network. The source that the kernel chooses does not
/// tell: for a second address it is the first.
pub fn is_local(ip: IpAddr) -> bool {
    // Only an address of this host can be bound, unless net.ipv4.ip_nonlocal_bind allows all;
    // then one that no host has (RFC 5737, RFC 3849) can be bound too.
    let nobodys: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::new(203, 0, 113, 254).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffe).into(),
    };
    let can_bind = |ip| UdpSocket::bind((ip, 0)).is_ok();
    ip.is_loopback() || (can_bind(ip) && !can_bind(nobodys))
}

/// Where a connect to `address` arrives: the unspecified address stands for loopback.
pub fn destination(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}

/// Sets NODELAY, keepalive and TCP_USER_TIMEOUT, and arms the socket. Connections inherit all of it
/// from the listener that accepts them.
///
/// # Errors
/// What the system says; the connection may already be gone.
pub fn prepare(stream: impl AsFd, options: &Options) -> io::Result<()> {
    let stream = SockRef::from(&stream);
    let keepalive =
        TcpKeepalive::new().with_time(options.keepalive).with_interval(options.keepalive);
    stream.set_tcp_nodelay(true)?;
    stream.set_tcp_keepalive(&keepalive)?;
    stream.set_tcp_user_timeout(Some(options.user_timeout))?;
    stream.set_linger(Some(Duration::ZERO))
}

/// Sets or lifts TCP_USER_TIMEOUT. Without it the kernel gives up a peer that is gone after about
/// 15 minutes, and never one that acknowledges.
pub fn set_user_timeout(stream: impl AsFd, timeout: Option<Duration>) {
    // It fails only for a socket that is gone.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(timeout);
}

/// After a clean end: closing is no reset any more.
pub fn disarm(stream: impl AsFd) {
    // It fails only for a socket that is gone, where nothing is left to protect.
    let _ = SockRef::from(&stream).set_linger(None);
}

/// Waits until the kernel has sent all that was written, so that a reset which follows does not
/// overtake it. The caller bounds the time.
pub async fn drain(stream: &TcpStream) {
    // With this mark a socket polls as writable only when nothing waits to be sent.
    if SockRef::from(stream).set_tcp_notsent_lowat(1).is_err() {
        return;
    }
    loop {
        let mut fds = [PollFd::new(stream, PollFlags::OUT)];
        match poll(&mut fds, Some(&rustix::event::Timespec::default())) {
            Ok(0) => tokio::time::sleep(DRAIN_INTERVAL).await,
            Ok(_) | Err(_) => return,
        }
    }
}

/// Lets a refused peer read the alert that was just written: closing with its unread bytes still
/// in our queue would send a reset that can overtake the alert. The caller bounds the time.
pub async fn linger(mut stream: TcpStream) {
    if SockRef::from(&stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let (mut scrap, mut left) = (vec![0; 4096], MAX_LINGER_BYTES);
    while let Ok(count @ 1..) = stream.read(&mut scrap).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::io::Write as _;

    use super::*;

    fn pair() -> (StdStream, StdStream) {
        let listener = listen(bind(([127, 0, 0, 1], 0).into()).expect("bind")).expect("listen");
        let client = StdStream::connect(listener.local_addr().expect("bound")).expect("connect");
        loop {
            match accept(&listener) {
                Ok((server, peer)) => {
                    assert_eq!(peer, client.local_addr().expect("bound"));
                    return (client, server);
                }
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    const OPTIONS: Options =
        Options { keepalive: Duration::from_secs(10), user_timeout: Duration::from_secs(30) };

    #[test]
    fn an_armed_socket_resets_and_a_disarmed_one_ends_cleanly() {
        let (mut client, server) = pair();
        prepare(&server, &OPTIONS).expect("prepared");
        drop(server);
        let error = client.read(&mut [0; 1]).expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let (mut client, server) = pair();
        prepare(&server, &OPTIONS).expect("prepared");
        disarm(&server);
        drop(server);
        assert_eq!(client.read(&mut [0; 1]).expect("a clean end"), 0);
    }

    #[tokio::test]
    async fn drain_waits_for_what_the_peer_has_no_room_for() {
        let (mut client, mut server) = pair();
        while server.write(&[0; 65536]).is_ok() {}
        let server = TcpStream::from_std(server).expect("registered");
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, drain(&server)).await.is_err());
        client.set_nonblocking(true).expect("set");
        let reader = tokio::time::timeout(Duration::from_secs(5), async {
            let mut scrap = vec![0; 1 << 20];
            loop {
                let _ = client.read(&mut scrap);
                tokio::task::yield_now().await;
            }
        });
        tokio::select! {
            _ = reader => panic!("it never drained"),
            () = drain(&server) => {}
        }
    }

    #[test]
    fn addresses_of_this_host_are_known_and_others_are_not() {
        for local in ["127.0.0.1", "127.9.9.9"] {
            assert!(is_local(local.parse().expect("an address")), "{local}");
        }
        for other in ["198.51.100.7", "2001:db8::7"] {
            assert!(!is_local(other.parse().expect("an address")), "{other}");
        }
    }

    #[test]
    fn a_destination_is_where_the_kernel_says_that_it_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        for ip in ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0"] {
            let address = SocketAddr::new(ip.parse().expect("an address"), port);
            let stream = StdStream::connect(address).expect("connected");
            let peer = unmapped(stream.peer_addr().expect("connected"));
            assert_eq!(destination(address), peer, "{ip}");
        }
    }

    #[test]
    fn a_connection_to_itself_has_its_destination_as_its_source() {
        let socket = bind_exactly(([127, 0, 0, 1], 0).into()).expect("bind");
        let address = socket.local_addr().expect("bound").as_socket().expect("inet");
        socket.set_nonblocking(false).expect("set");
        socket.connect(&address.into()).expect("a socket connects to its own port");
        let local = socket.local_addr().expect("bound").as_socket().expect("inet");
        assert_eq!(local, destination(address));
    }

    #[test]
    fn connections_inherit_what_their_listener_has() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let seconds = Duration::from_secs;
        let options = Options { keepalive: seconds(7), user_timeout: seconds(9) };
        prepare(&listener, &options).expect("set");
        let _client = StdStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (stream, _) = accept(&listener).expect("accepted");
        let stream = SockRef::from(&stream);
        assert!(stream.tcp_nodelay().expect("read") && stream.keepalive().expect("read"));
        assert_eq!(stream.tcp_keepalive_time().expect("read"), seconds(7));
        assert_eq!(stream.tcp_keepalive_interval().expect("read"), seconds(7));
        assert_eq!(stream.tcp_user_timeout().expect("read"), Some(seconds(9)));
        assert_eq!(stream.linger().expect("read"), Some(Duration::ZERO));
    }

    #[test]
    fn a_taken_port_is_known_before_listening() {
        let first = bind(([127, 0, 0, 1], 0).into()).expect("bind");
        let address = first.local_addr().expect("bound").as_socket().expect("inet");
        let _listener = listen(first).expect("listen");
        let error = bind(address).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
