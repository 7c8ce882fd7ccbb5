//! Services behind the gateway: plain TCP listeners on loopback, one thread per connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// Starts a service that runs `serve` for every connection, for as long as the test lives.
pub fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
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

/// Sends everything back and ends when the client ends.
pub fn echo() -> SocketAddr {
    serve(|mut stream| {
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

/// A port where nobody listens.
pub fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound")
}
