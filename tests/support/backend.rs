//! Services behind the gateway: plain TCP listeners on loopback, one thread per connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use socket2::{Domain, Socket, Type};

use super::gateway::PATIENCE;

/// Starts a service that runs `serve` for every connection, for as long as the test lives.
pub fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    serve_at("127.0.0.1:0", serve)
}

/// The same, at an address of this host.
pub fn serve_at(address: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(address).expect("a port");
    let address = listener.local_addr().expect("bound");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A service whose connections the test itself serves, in the order of their arrival.
pub fn handed_over() -> (SocketAddr, Receiver<TcpStream>) {
    handed_over_at("127.0.0.1:0")
}

/// The same, at an address of this host.
pub fn handed_over_at(address: &str) -> (SocketAddr, Receiver<TcpStream>) {
    let listener = TcpListener::bind(address).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (send, receive) = sync_channel(1024);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.set_write_timeout(Some(PATIENCE));
            if send.send(stream).is_err() {
                return;
            }
        }
    });
    (address, receive)
}

/// A service that accepts nothing and whose queue is full: a connect to it gets no answer. It is
/// one for as long as the returned sockets live.
pub fn black_hole() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a port");
    listener.listen(0).expect("listening");
    let address = listener.local_addr().expect("bound").as_socket().expect("inet");
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        filler.set_nonblocking(true).expect("set");
        let _ = filler.connect(&address.into());
        sockets.push(filler);
    }
    (address, sockets)
}

/// Sends everything back and ends when the client ends.
pub fn echo() -> SocketAddr {
    echo_at("127.0.0.1:0")
}

/// The same, at an address of this host.
pub fn echo_at(address: &str) -> SocketAddr {
    serve_at(address, |mut stream| {
        let mut buffer = vec![0; 65536];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break drop(stream.shutdown(Shutdown::Write)),
                Ok(count) if stream.write_all(&buffer[..count]).is_ok() => {}
                _ => break,
            }
        }
    })
}

/// Says `name` and ends.
pub fn named(name: &'static str) -> SocketAddr {
    serve(move |mut stream| {
        let _ = stream.write_all(name.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        // Reads to the end, so that closing is no reset.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// A port where nobody listens. It stays taken, so that no other test's service appears there; a
/// gateway may still bind it.
pub fn closed_port() -> SocketAddr {
    let (socket, address) = reserved_port();
    std::mem::forget(socket);
    address
}

/// The same, with the socket that takes the port: [`Socket::listen`] opens it.
pub fn reserved_port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("set");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a port");
    let address = socket.local_addr().expect("bound").as_socket().expect("inet");
    (socket, address)
}
