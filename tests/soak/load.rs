//! The kinds of conversations of the soak test.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::backend;
use crate::support::client::{Client, Stream, half_close, header_for, tcp};
use crate::support::tcp::{pattern, reset};

const ECHO: &str = "echo.test.svc.cluster.local:7";
/// Reads to the end and then says everything again.
const LATE: &str = "late.test.svc.cluster.local:7";
/// Says [`SOURCE_BYTES`] and ends.
const SOURCE: &str = "source.test.svc.cluster.local:7";
/// Resets after the first byte.
const RUDE: &str = "rude.test.svc.cluster.local:7";
const SOURCE_BYTES: usize = 2 << 20;
/// Bytes of a bulk conversation go both ways in pieces that fit into the sockets' buffers.
const PIECE: usize = 128 * 1024;
const PIECES: usize = 64;

/// Whom the load talks to.
pub struct World {
    pub address: SocketAddr,
    pub client: Client,
    pub stranger: Client,
}

/// What went wrong, and how many bytes did not arrive.
pub struct Lost {
    pub bytes: u64,
    pub why: String,
}

type Kind = (&'static str, fn(&World) -> Result<u64, Lost>);

/// Each runs on a thread of its own.
pub const KINDS: &[Kind] = &[
    ("churn", churn),
    ("churn", churn),
    ("bulk", bulk),
    ("bulk", bulk),
    ("idle", idle),
    ("refused", refused),
    ("half-close", half_closed),
    ("client resets", client_resets),
    ("endpoint resets", endpoint_resets),
    ("slow reader", slow_reader),
];

/// The routes.
pub fn services() -> Vec<(&'static str, SocketAddr)> {
    let late = backend::serve(|mut stream| {
        let mut bytes = Vec::new();
        if stream.read_to_end(&mut bytes).is_ok() {
            let _ = stream.write_all(&bytes);
        }
    });
    let source = backend::serve(|mut stream| {
        let _ = stream.write_all(&pattern(SOURCE_BYTES));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let rude = backend::serve(|mut stream: TcpStream| {
        let _ = stream.read(&mut [0]);
        reset(stream);
    });
    vec![(ECHO, backend::echo()), (LATE, late), (SOURCE, source), (RUDE, rude)]
}

fn failed(bytes: usize, what: &str, error: impl std::fmt::Display) -> Lost {
    Lost { bytes: bytes as u64, why: format!("{what}: {error}") }
}

fn open(world: &World, target: &str) -> Result<Stream, Lost> {
    let tcp = tcp(world.address).map_err(|error| failed(0, "connect", error))?;
    let mut stream = world.client.over(tcp).map_err(|error| failed(0, "handshake", error))?;
    let sent = stream.write_all(&header_for(target, None)).and_then(|()| stream.flush());
    sent.map_err(|error| failed(0, "header", error))?;
    Ok(stream)
}

fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), Lost> {
    let sent = stream.write_all(bytes).and_then(|()| stream.flush());
    sent.map_err(|error| failed(bytes.len(), "write", error))
}

/// The next bytes must be these.
fn expect(stream: &mut Stream, expected: &[u8]) -> Result<u64, Lost> {
    let mut bytes = vec![0; expected.len()];
    let mut at = 0;
    while at < bytes.len() {
        match stream.read(&mut bytes[at..]) {
            Ok(count @ 1..) => at += count,
            Ok(0) => return Err(failed(bytes.len() - at, "read", "ended early")),
            Err(error) => return Err(failed(bytes.len() - at, "read", error)),
        }
    }
    let wrong = bytes.iter().zip(expected).filter(|(got, sent)| got != sent).count();
    if wrong > 0 {
        return Err(failed(wrong, "read", "other bytes than were sent"));
    }
    Ok(at as u64)
}

fn expect_end(stream: &mut Stream) -> Result<(), Lost> {
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(failed(0, "end", "more bytes than were sent")),
        Err(error) => Err(failed(0, "end", error)),
    }
}

fn churn(world: &World) -> Result<u64, Lost> {
    let mut stream = open(world, ECHO)?;
    send(&mut stream, b"hello")?;
    let verified = expect(&mut stream, b"hello")?;
    half_close(&mut stream);
    expect_end(&mut stream)?;
    // Some pace: the load is to be mixed, not all handshakes.
    std::thread::sleep(Duration::from_millis(5));
    Ok(verified)
}

fn bulk(world: &World) -> Result<u64, Lost> {
    let mut stream = open(world, ECHO)?;
    let bytes = pattern(PIECE * 2);
    let mut verified = 0;
    for piece in 0..PIECES {
        let piece = &bytes[piece * 97..][..PIECE];
        send(&mut stream, piece)?;
        verified += expect(&mut stream, piece)?;
    }
    half_close(&mut stream);
    expect_end(&mut stream)?;
    Ok(verified)
}

fn idle(world: &World) -> Result<u64, Lost> {
    let mut streams = (0..20).map(|_| open(world, ECHO)).collect::<Result<Vec<_>, _>>()?;
    let mut verified = 0;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        for stream in &mut streams {
            send(stream, b"still here")?;
            verified += expect(stream, b"still here")?;
        }
    }
    for mut stream in streams {
        half_close(&mut stream);
        expect_end(&mut stream)?;
    }
    Ok(verified)
}

fn refused(world: &World) -> Result<u64, Lost> {
    std::thread::sleep(Duration::from_millis(20));
    let tcp = tcp(world.address).map_err(|error| failed(0, "connect", error))?;
    let ended = world.stranger.over(tcp).and_then(|mut stream| stream.read(&mut [0]));
    match ended {
        Err(error) if error.to_string().contains("UnknownCA") => Ok(0),
        Err(error) => Err(failed(0, "refusal", error)),
        Ok(_) => Err(failed(0, "refusal", "a stranger was let in")),
    }
}

fn half_closed(world: &World) -> Result<u64, Lost> {
    let mut stream = open(world, LATE)?;
    let bytes = pattern(100_000);
    send(&mut stream, &bytes)?;
    half_close(&mut stream);
    let verified = expect(&mut stream, &bytes)?;
    expect_end(&mut stream)?;
    Ok(verified)
}

fn client_resets(world: &World) -> Result<u64, Lost> {
    let mut stream = open(world, ECHO)?;
    let bytes = pattern(PIECE);
    send(&mut stream, &bytes)?;
    let verified = expect(&mut stream, &bytes[..1000])?;
    reset(stream.sock);
    std::thread::sleep(Duration::from_millis(50));
    Ok(verified)
}

fn endpoint_resets(world: &World) -> Result<u64, Lost> {
    let mut stream = open(world, RUDE)?;
    send(&mut stream, b"x")?;
    std::thread::sleep(Duration::from_millis(50));
    match stream.read(&mut [0]) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(1),
        Err(error) => Err(failed(0, "a reset", error)),
        Ok(count) => Err(failed(0, "a reset", format!("{count} bytes and no fault"))),
    }
}

fn slow_reader(world: &World) -> Result<u64, Lost> {
    let mut stream = open(world, SOURCE)?;
    let mut verified = 0;
    for piece in pattern(SOURCE_BYTES).chunks(SOURCE_BYTES / 40) {
        std::thread::sleep(Duration::from_millis(50));
        verified += expect(&mut stream, piece)?;
    }
    half_close(&mut stream);
    expect_end(&mut stream)?;
    Ok(verified)
}
