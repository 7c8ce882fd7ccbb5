//! The kernel's options, read from the gateway's own sockets.

use std::io::{Read, Write};
use std::time::Duration;

use crate::fixture::parties_with;
use crate::support::namespace::skip;
use crate::support::process::sockets;

#[test]
fn both_sides_have_nodelay_keepalive_and_a_user_timeout() {
    let parties = parties_with("[limits]\nkeepalive = \"7s\"\ntcp_user_timeout = \"11s\"");
    let (mut client, mut backend) = parties.pair();
    // A relayed byte says that both ends have been prepared.
    client.write_all(b"x").and_then(|()| client.flush()).expect("sent");
    backend.read_exact(&mut [0; 1]).expect("relayed");
    let all = match sockets(parties.gateway.pid()) {
        Ok(all) => all,
        Err(error) => return skip("sockets", &format!("needs pidfd_getfd: {error}")),
    };
    let peers = [client.sock.local_addr(), backend.local_addr()].map(|a| a.expect("bound"));
    for peer in peers {
        let of_peer = |s: &&socket2::Socket| {
            s.peer_addr().is_ok_and(|address| address.as_socket() == Some(peer))
        };
        let socket = all.iter().find(of_peer).expect("the gateway's end");
        assert!(socket.tcp_nodelay().expect("read"));
        assert!(socket.keepalive().expect("read"));
        assert_eq!(socket.tcp_keepalive_time().expect("read"), Duration::from_secs(7));
        assert_eq!(socket.tcp_keepalive_interval().expect("read"), Duration::from_secs(7));
        assert_eq!(socket.tcp_user_timeout().expect("read"), Some(Duration::from_secs(11)));
        assert_eq!(socket.linger().expect("read"), Some(Duration::ZERO));
    }
}
