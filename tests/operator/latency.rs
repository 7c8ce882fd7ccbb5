//! A slow scraper and 1,000 stalled admin connections do not move the data path's p99.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, Stream};
use crate::support::gateway::Gateway;
use crate::support::probe::ECHO;

/// Round trips of one measurement.
const SAMPLES: usize = 1500;
/// The machine's own noise: other tests run beside this one.
const NOISE: Duration = Duration::from_millis(5);
/// Measurements until one is undisturbed by other programs.
const ATTEMPTS: u32 = 4;

/// The 99th percentile of round trips, ten per new connection.
fn p99(client: &Client, gateway: SocketAddr) -> Duration {
    let mut times = Vec::with_capacity(SAMPLES);
    while times.len() < SAMPLES {
        let mut stream = client.open(gateway, ECHO);
        for _ in 0..10 {
            times.push(round_trip(&mut stream));
        }
    }
    times.sort_unstable();
    times[SAMPLES * 99 / 100]
}

fn round_trip(stream: &mut Stream) -> Duration {
    let begun = Instant::now();
    stream.write_all(b"ping").and_then(|()| stream.flush()).expect("sent");
    stream.read_exact(&mut [0; 4]).expect("served");
    begun.elapsed()
}

/// Asks for the metrics again and again and reads them in drops.
fn scrape(admin: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    spawn(move || {
        let mut drops = 0;
        while !stop.load(Ordering::Relaxed) {
            // Newer connections may push this one out: that is the server's bound at work.
            let Ok(mut stream) = TcpStream::connect(admin) else { continue };
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
            while !stop.load(Ordering::Relaxed) && matches!(stream.read(&mut [0; 64]), Ok(1..)) {
                drops += 1;
                sleep(Duration::from_millis(5));
            }
        }
        drops
    })
}

/// Connections that say nothing, or begin a request and never end it.
fn stall(admin: SocketAddr) -> Vec<TcpStream> {
    let beginnings: [&[u8]; 3] =
        [b"", b"GET /metr", b"PUT /proxy-log-level HTTP/1.1\r\ncontent-length: 9\r\n\r\n"];
    let connect = |beginning: &&[u8]| {
        let mut stream = TcpStream::connect(admin).expect("the admin port accepts");
        let _ = stream.write_all(beginning);
        stream
    };
    beginnings.iter().cycle().take(1000).map(connect).collect()
}

#[test]
fn stalled_admin_clients_do_not_move_the_data_path() {
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    let client = Client::new(&ca);
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let quiet = p99(&client, gateway.address);
        let stop = Arc::new(AtomicBool::new(false));
        let stalled = stall(gateway.admin);
        let scrapers = [(); 4].map(|()| scrape(gateway.admin, Arc::clone(&stop)));
        let disturbed = p99(&client, gateway.address);
        assert_eq!(gateway.request("GET", "/ready").0, 200, "probes are answered meanwhile");
        stop.store(true, Ordering::Relaxed);
        drop(stalled);
        let drops: u64 = scrapers.into_iter().map(|s| s.join().expect("no panic")).sum();
        assert!(drops > 0, "nothing was scraped");
        seen.push((quiet, disturbed));
        if disturbed <= quiet * 2 + NOISE {
            println!("p99 {quiet:?} without, {disturbed:?} with stalled admin clients");
            return;
        }
    }
    panic!("the data path's p99 without and with stalled admin clients: {seen:?}");
}
