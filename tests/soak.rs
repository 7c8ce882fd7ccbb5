//! Mixed load for an hour: everything that a gateway meets in a day at once, every byte verified,
//! memory and descriptors watched. `make soak` runs it; it stops by itself after `SOAK_SECONDS`.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[path = "soak/load.rs"]
mod load;
#[path = "soak/trend.rs"]
mod trend;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use load::World;
use support::certs::TestCa;
use support::client::Client;
use support::gateway::{Builder, CLIENT, GATEWAY, Gateway, PATIENCE};
use support::process::{descriptors, replace, resident};
use trend::Trend;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(500);
/// Between two reloads of the configuration, and two rotations of the gateway's certificate.
const RELOAD: Duration = Duration::from_secs(5);
const ROTATE: Duration = Duration::from_secs(3);
/// Growth of memory over the whole run that is no leak, in KiB: what allocator and caches may keep.
const TOLERANCE: f64 = 4096.0;
/// How connections may end under this load.
const EXPECTED: &[&str] = &["certificate_untrusted", "client_reset", "closed", "endpoint_reset"];

/// What the threads of the load share.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    verified: AtomicU64,
    lost: AtomicU64,
    conversations: AtomicU64,
    problems: Mutex<Vec<String>>,
}

impl Tally {
    /// Runs `conversation` again and again; it says how many bytes it verified, or what was wrong
    /// and how many bytes are missing.
    fn repeat(&self, name: &str, conversation: impl Fn() -> Result<u64, load::Lost>) {
        while !self.stop.load(Ordering::Relaxed) {
            match conversation() {
                Ok(bytes) => {
                    self.verified.fetch_add(bytes, Ordering::Relaxed);
                    self.conversations.fetch_add(1, Ordering::Relaxed);
                }
                Err(lost) => {
                    self.lost.fetch_add(lost.bytes, Ordering::Relaxed);
                    self.problems.lock().expect("whole").push(format!("{name}: {}", lost.why));
                }
            }
        }
    }
}

fn duration() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    Duration::from_secs(seconds.map_or(3600, |text| text.parse().expect("SOAK_SECONDS")))
}

fn start(ca: &TestCa) -> (Gateway, World) {
    let services = load::services();
    let mut builder = Builder::new(ca).configure("[log]\naccess = false");
    for (target, address) in &services {
        builder = builder.route(target, &[*address]);
    }
    let gateway = builder.start();
    let stranger = Client::with(ca, Some(&TestCa::new("stranger").identity(CLIENT)));
    let world = World { address: gateway.address, client: Client::new(ca), stranger };
    (gateway, world)
}

/// Reloads and rotations until the end; how many of each.
fn operate(gateway: &Gateway, ca: &TestCa, tally: &Tally) -> (u64, u64) {
    let file = gateway.file("gateway.toml");
    let configuration = std::fs::read_to_string(&file).expect("a file");
    let leaves = [ca.identity(GATEWAY), ca.identity(GATEWAY)];
    let (mut reloads, mut rotations) = (0, 0);
    let (mut reloaded, mut rotated) = (Instant::now(), Instant::now());
    while !tally.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        if reloaded.elapsed() >= RELOAD {
            reloaded = Instant::now();
            reloads += 1;
            let level = ["info", "info,access=info"][reloads as usize % 2];
            replace(&file, configuration.replace("[log]", &format!("[log]\nlevel = \"{level}\"")));
            gateway.signal("HUP");
        }
        if rotated.elapsed() >= ROTATE {
            rotated = Instant::now();
            rotations += 1;
            let leaf = &leaves[rotations as usize % 2];
            replace(&gateway.file("gateway/tls.crt"), &leaf.chain);
            replace(&gateway.file("gateway/tls.key"), &leaf.key);
        }
    }
    (reloads, rotations)
}

/// Samples memory until the end, without the first quarter, in which caches fill.
fn watch(gateway: &Gateway, duration: Duration, tally: &Tally) -> Trend {
    let (begun, mut trend) = (Instant::now(), Trend::default());
    let mut told = Instant::now();
    while begun.elapsed() < duration {
        std::thread::sleep(SAMPLE);
        let memory = resident(gateway.pid()) as f64 / 1024.0;
        if begun.elapsed() > duration / 4 {
            trend.add(begun.elapsed().as_secs_f64(), memory);
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            let lost = tally.lost.load(Ordering::Relaxed);
            println!("{:?}: {memory:.0} KiB, {lost} bytes lost", begun.elapsed());
        }
    }
    tally.stop.store(true, Ordering::Relaxed);
    trend
}

/// Ends of connections that this load does not explain.
fn unexpected(metrics: &str) -> Vec<&str> {
    let ends = metrics.lines().filter(|line| line.starts_with("gateway_connections_total{"));
    let happened = ends.filter(|line| !line.ends_with(" 0"));
    let known = |line: &&str| EXPECTED.iter().any(|label| line.contains(&format!("\"{label}\"")));
    happened.filter(|line| !known(line)).collect()
}

#[test]
#[ignore = "takes an hour: make soak"]
fn soak() {
    let (duration, ca, tally) = (duration(), TestCa::new("ca"), Tally::default());
    let (mut gateway, world) = start(&ca);
    let at_start = descriptors(gateway.pid());
    let (trend, (reloads, rotations)) = std::thread::scope(|scope| {
        for (name, conversation) in load::KINDS {
            let (world, tally) = (&world, &tally);
            scope.spawn(move || tally.repeat(name, || conversation(world)));
        }
        let operating = scope.spawn(|| operate(&gateway, &ca, &tally));
        (watch(&gateway, duration, &tally), operating.join().expect("no panic"))
    });
    gateway.eventually("the end of all connections", |g| g.get("/connections").trim() == "[]");
    let until = Instant::now() + PATIENCE;
    while descriptors(gateway.pid()) > at_start && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let at_end = descriptors(gateway.pid());
    let metrics = gateway.get("/metrics");
    let generation = gateway.metric("gateway_config_generation");
    let panics: Vec<_> = metrics
        .lines()
        .filter(|l| l.starts_with("gateway_task_restarts_total{") && !l.ends_with(" 0"))
        .collect();
    let problems = tally.problems.into_inner().expect("whole");
    let lost = tally.lost.into_inner();
    println!(
        "{duration:?}: {} conversations, {} MiB verified, {lost} bytes lost",
        tally.conversations.into_inner(),
        tally.verified.into_inner() >> 20
    );
    println!("{reloads} reloads, {rotations} rotations, descriptors {at_start} -> {at_end}");
    println!("memory {trend}");
    println!("unexpected ends {:?}, {} problems", unexpected(&metrics), problems.len());
    assert!(problems.is_empty() && lost == 0, "{lost} bytes lost: {problems:#?}");
    assert!(unexpected(&metrics).is_empty() && panics.is_empty(), "{panics:?}");
    assert_eq!(at_end, at_start, "descriptors");
    assert!((generation - 1.0 - reloads as f64).abs() < 0.5, "generation {generation}");
    assert!(trend.growth() <= TOLERANCE + trend.noise(), "memory {trend}");
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}
