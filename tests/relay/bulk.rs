//! Many bytes, and many small ones.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fixture::{TARGET, parties, parties_with};
use crate::support::client::{half_close, header_for};
use crate::support::tcp::pattern;

const BLOCK: usize = 1 << 20;

#[test]
fn slices_of_64_bytes_pass_both_ways_in_order() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    let bytes = pattern(64 * 2000);
    let echo = std::thread::spawn(move || {
        let mut slice = [0; 64];
        while backend.read_exact(&mut slice).is_ok() {
            backend.write_all(&slice).expect("sent");
        }
    });
    let mut back = Vec::new();
    for (index, slice) in bytes.chunks(64).enumerate() {
        client.write_all(slice).and_then(|()| client.flush()).expect("sent");
        // Some in lockstep, some in flight together.
        if index % 10 == 9 {
            let start = back.len();
            back.resize(start + 640, 0);
            client.read_exact(&mut back[start..]).expect("the echo");
        }
    }
    half_close(&mut client);
    client.read_to_end(&mut back).expect("a clean end");
    assert!(back == bytes);
    echo.join().expect("no panic");
    parties.gateway.expect("closed");
}

#[test]
fn one_gib_passes_both_ways_at_once_unchanged() {
    both_ways(1024);
}

fn both_ways(blocks: u64) {
    let mut parties = parties();
    let (config, name) = parties.tls().parts();
    let address = parties.gateway.address;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let started = Instant::now();
    runtime.expect("a runtime").block_on(async {
        let tcp = TcpStream::connect(address).await.expect("connected");
        let mut client = TlsConnector::from(config).connect(name, tcp).await.expect("a handshake");
        client.write_all(&header_for(TARGET, None)).await.expect("sent");
        client.flush().await.expect("sent");
        let backend = parties.backend();
        backend.set_nonblocking(true).expect("set");
        let mut backend = TcpStream::from_std(backend).expect("registered");
        let (client_in, client_out) = tokio::io::split(&mut client);
        let (backend_in, backend_out) = backend.split();
        let (up, down, got_up, got_down) = tokio::join!(
            send(client_out, blocks, 1),
            send(backend_out, blocks, 2),
            receive(backend_in),
            receive(client_in),
        );
        assert_eq!(got_up, (blocks * BLOCK as u64, up));
        assert_eq!(got_down, (blocks * BLOCK as u64, down));
    });
    eprintln!("{blocks} MiB both ways in {:?}", started.elapsed());
    parties.gateway.expect("closed");
}

/// Sends numbered blocks and the end; gives their hash.
async fn send(mut to: impl AsyncWrite + Unpin, blocks: u64, seed: u64) -> Vec<u8> {
    let (mut block, mut hash) = (pattern(BLOCK), Context::new(&SHA256));
    for number in 0..blocks {
        block[..8].copy_from_slice(&(number ^ seed << 32).to_be_bytes());
        hash.update(&block);
        to.write_all(&block).await.expect("sent");
    }
    to.shutdown().await.expect("sent");
    hash.finish().as_ref().to_vec()
}

async fn receive(mut from: impl AsyncRead + Unpin) -> (u64, Vec<u8>) {
    let (mut buffer, mut hash, mut total) = (vec![0; BLOCK], Context::new(&SHA256), 0);
    loop {
        match from.read(&mut buffer).await.expect("a clean end") {
            0 => return (total, hash.finish().as_ref().to_vec()),
            count => {
                hash.update(&buffer[..count]);
                total += count as u64;
            }
        }
    }
}

#[test]
fn a_bulk_stream_does_not_starve_others_of_its_worker() {
    let parties = parties_with("[runtime]\nworkers = 1");
    let (mut bulk, mut sink) = parties.pair();
    let (mut client, mut backend) = parties.pair();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let source = std::thread::spawn(move || {
        let (block, mut sent) = (pattern(BLOCK), 0_u64);
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            bulk.write_all(&block).expect("sent");
            sent += 1;
        }
        sent
    });
    std::thread::spawn(move || std::io::copy(&mut sink, &mut std::io::sink()));
    std::thread::spawn(move || {
        let mut byte = [0; 1];
        while backend.read_exact(&mut byte).is_ok() && backend.write_all(&byte).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(200));
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let start = Instant::now();
            client.write_all(b"x").and_then(|()| client.flush()).expect("sent");
            client.read_exact(&mut [0; 1]).expect("the echo");
            start.elapsed()
        })
        .collect();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = source.join().expect("no panic");
    times.sort();
    eprintln!("beside {sent} MiB: median {:?}, p99 {:?}", times[100], times[198]);
    assert!(times[100] < Duration::from_millis(100), "{:?}", times[100]);
}
