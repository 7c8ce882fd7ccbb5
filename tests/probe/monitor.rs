//! The monitor of one gateway: each address for itself.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use linkerd_gateway::control::mirror::gateway::{
    GatewayMonitor, GatewaySpec, GatewayState, ProbeSpec,
};
use linkerd_gateway::model::identity::Identity;
use linkerd_gateway::model::link::GatewayAddress;
use linkerd_gateway::model::mirror::liveness::Liveness;
use linkerd_gateway::model::mirror::probe::{Failure, Schedule, Unasked};
use linkerd_gateway::model::service::Port;
use linkerd_gateway::observe::metrics::Metrics;
use linkerd_gateway::state::State;
use tokio::sync::watch;

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::gateway::{Builder, GATEWAY, PATIENCE};
use crate::{OK, own, request, run};

/// The shortest that is allowed.
const PERIOD: Duration = Duration::from_millis(100);

/// A monitor that runs as long as the test asks.
pub struct Watched {
    pub spec: watch::Sender<GatewaySpec>,
    pub state: watch::Receiver<GatewayState>,
    pub metrics: Arc<Metrics>,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn spec(addresses: &str, port: Option<u16>) -> GatewaySpec {
    let parts = addresses.split(',').filter(|part| !part.is_empty());
    let addresses = parts.map(|part| GatewayAddress::parse(part).expect("a part")).collect();
    let probe = port.map(|port| ProbeSpec {
        port: Port::new(port).expect("a port"),
        path: PathAndQuery::from_static("/ready"),
        identity: None,
        schedule: Schedule::new(PERIOD, Duration::from_secs(30)),
        threshold: 3,
    });
    GatewaySpec {
        cluster: "west".into(),
        addresses,
        probe,
        keeps_readiness: false,
        persisted: BTreeMap::new(),
    }
}

impl Watched {
    /// Waits until the state is as `wanted`.
    pub async fn until(&mut self, what: &str, wanted: impl FnMut(&GatewayState) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, self.state.wait_for(wanted)).await;
        let seen = waited.is_ok_and(|seen| seen.is_ok());
        assert!(seen, "{what}: {:#?}", self.state.borrow());
    }

    fn readiness(&self) -> Vec<(String, Liveness, bool)> {
        let state = self.state.borrow();
        let all = state.addresses.iter();
        all.map(|a| (a.ip.to_string(), a.liveness, a.is_ready)).collect()
    }

    /// The value of a series of `/metrics`.
    pub fn metric(&self, series: &str) -> Option<String> {
        let text = self.metrics.encode();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(str::to_owned)
    }
}

/// Runs a monitor beside `test`.
pub fn watching<F: Future<Output = ()>>(
    spec: GatewaySpec,
    state: State,
    resolver: Option<linkerd_gateway::control::dns::Resolver>,
    test: impl FnOnce(Watched) -> F,
) {
    let metrics = Metrics::new();
    let (sender, receiver) = watch::channel(spec);
    run(async {
        let (monitor, state) =
            GatewayMonitor::new(receiver, resolver, Arc::new(state), Arc::clone(&metrics));
        let watched = Watched { spec: sender, state, metrics };
        tokio::select! {
            () = monitor.run() => panic!("the monitor ended before the test"),
            () = test(watched) => {}
        }
    });
}

/// Listens on one port of several loopback addresses, and serves each as `serve` says; gives the
/// port.
fn listen(
    addresses: &[&str],
    serve: impl Fn(IpAddr, std::net::TcpStream) + Send + Sync + 'static,
) -> u16 {
    let serve = Arc::new(serve);
    let first = TcpListener::bind((addresses[0], 0)).expect("a port");
    let port = first.local_addr().expect("bound").port();
    let rest = addresses[1..].iter().map(|ip| TcpListener::bind((*ip, port)).expect("free there"));
    let listeners: Vec<_> = std::iter::once(first).chain(rest).collect();
    for listener in listeners {
        let (serve, ip) = (Arc::clone(&serve), listener.local_addr().expect("bound").ip());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(ip, stream));
            }
        });
    }
    port
}

fn say(mut stream: std::net::TcpStream, answer: impl Fn() -> &'static str) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    while request(&mut reader).is_some() && stream.write_all(answer().as_bytes()).is_ok() {}
}

const NOT_READY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

#[test]
fn one_failed_and_one_slow_address_among_several_take_only_themselves_down() {
    let port = listen(&["127.0.0.1", "127.0.0.2", "127.0.0.3"], |ip, stream| {
        match ip.to_string().as_str() {
            // Accepts, and never answers.
            "127.0.0.2" => std::thread::sleep(PATIENCE),
            _ => say(stream, || OK),
        }
    });
    let all = spec("127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4", Some(port));
    watching(all, State::default(), None, async |mut watched| {
        let down = |s: &GatewayState| s.addresses.iter().filter(|a| !a.is_ready).count() == 2;
        watched.until("two are down", down).await;
        let (alive, down) = (Liveness::Alive, Liveness::Down);
        let expected = [
            ("127.0.0.1".to_owned(), alive, true),
            ("127.0.0.2".to_owned(), down, false),
            ("127.0.0.3".to_owned(), alive, true),
            ("127.0.0.4".to_owned(), down, false),
        ];
        assert_eq!(watched.readiness(), expected);
        let reasons: Vec<_> =
            watched.state.borrow().addresses.iter().map(|a| a.last_failure).collect();
        let (slow, dead) = (Some(Failure::AnswerTimeout), Some(Failure::Refused));
        assert_eq!(reasons, [None, slow, None, dead]);

        let of = |name: &str, ip: &str, more: &str| {
            format!("{name}{{target_cluster_name=\"west\",address=\"{ip}\"{more}}}")
        };
        let value = |series: String| watched.metric(&series);
        assert_eq!(value(of("gateway_address_alive", "127.0.0.1", "")).as_deref(), Some("1"));
        assert_eq!(value(of("gateway_address_alive", "127.0.0.4", "")).as_deref(), Some("0"));
        let failures = "gateway_address_probe_failures_total";
        assert!(value(of(failures, "127.0.0.4", ",reason=\"refused\"")).is_some());
        let of_all =
            |name: &str| watched.metric(&format!("{name}{{target_cluster_name=\"west\"}}"));
        assert_eq!(of_all("gateway_alive").as_deref(), Some("1"), "one address is enough");
        assert_eq!(of_all("gateway_enabled").as_deref(), Some("1"));
    });
}

#[test]
fn a_gateway_that_is_down_before_the_start_is_found_and_found_again_when_it_comes_back() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let port = listen(&["127.0.0.1"], move |_, stream| {
        say(stream, || if up.load(Ordering::SeqCst) { OK } else { NOT_READY });
    });
    watching(spec("127.0.0.1", Some(port)), State::default(), None, async |mut watched| {
        watched.until("its address", |s| s.addresses.len() == 1).await;
        assert_eq!(watched.readiness()[0].1, Liveness::Unknown);
        assert!(watched.readiness()[0].2, "ready until the threshold");
        watched.until("it is down", |s| !s.addresses[0].is_ready).await;
        assert_eq!(watched.state.borrow().addresses[0].last_failure, Some(Failure::Status(503)));
        let alive = "gateway_alive{target_cluster_name=\"west\"}";
        assert_eq!(watched.metric(alive).as_deref(), Some("0"));
        is_up.store(true, Ordering::SeqCst);
        watched.until("it is up", |s| s.addresses[0].is_ready).await;
        assert_eq!(watched.metric(alive).as_deref(), Some("1"));
    });
}

#[test]
fn what_was_persisted_holds_while_our_own_credentials_are_missing() {
    let mut spec = spec("127.0.0.1,127.0.0.2", Some(backend::closed_port().port()));
    spec.persisted = [(ip("127.0.0.1"), false), (ip("127.0.0.2"), true)].into();
    spec.probe.as_mut().expect("probes").identity =
        Some(Identity::parse(GATEWAY).expect("an identity"));
    watching(spec, State::default(), None, async |mut watched| {
        let unasked = |s: &GatewayState| {
            s.addresses.len() == 2
                && s.addresses.iter().all(|a| a.unasked == Some(Unasked::NoCredentials))
        };
        watched.until("both could not be asked", unasked).await;
        tokio::time::sleep(PERIOD * 5).await;
        let ready: Vec<_> = watched.readiness().into_iter().map(|(_, l, r)| (l, r)).collect();
        assert_eq!(ready, [(Liveness::Unknown, false), (Liveness::Unknown, true)]);
        assert_eq!(watched.metric("gateway_alive{target_cluster_name=\"west\"}"), None);
    });
}

#[test]
fn without_probes_all_addresses_are_ready_and_nobody_is_asked() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let port = listen(&["127.0.0.1"], move |_, stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        say(stream, || NOT_READY);
    });
    let mut probed = spec("127.0.0.1", Some(port));
    probed.persisted = [(ip("127.0.0.1"), false)].into();
    let unprobed = GatewaySpec { probe: None, ..probed.clone() };
    watching(unprobed.clone(), State::default(), None, async |mut watched| {
        watched.until("its address", |s| s.addresses.len() == 1).await;
        tokio::time::sleep(PERIOD * 3).await;
        assert_eq!(watched.readiness(), [("127.0.0.1".to_owned(), Liveness::Unknown, true)]);
        assert_eq!(connections.load(Ordering::SeqCst), 0);
        let enabled = "gateway_enabled{target_cluster_name=\"west\"}";
        assert_eq!(watched.metric(enabled).as_deref(), Some("0"));
        // Probes begin with another spec, and end with the next.
        watched.spec.send_replace(probed);
        watched.until("it is down", |s| s.addresses[0].liveness == Liveness::Down).await;
        watched.spec.send_replace(unprobed);
        watched.until("it is ready", |s| s.addresses[0].is_ready && !s.is_probing).await;
    });
}

#[test]
fn another_list_of_addresses_leaves_those_that_stay_alone() {
    let connections: Arc<[AtomicUsize; 4]> = Arc::default();
    let counters = Arc::clone(&connections);
    let addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let port = listen(&addresses, move |ip, stream| {
        let last = match ip {
            IpAddr::V4(v4) => usize::from(v4.octets()[3]),
            IpAddr::V6(_) => 0,
        };
        counters[last].fetch_add(1, Ordering::SeqCst);
        say(stream, || OK);
    });
    let alive = |count: usize| {
        move |s: &GatewayState| {
            s.addresses.len() == count && s.addresses.iter().all(|a| a.liveness == Liveness::Alive)
        }
    };
    let first = spec("127.0.0.1,127.0.0.2", Some(port));
    watching(first.clone(), State::default(), None, async |mut watched| {
        watched.until("both are alive", alive(2)).await;
        let other = spec("127.0.0.2,127.0.0.3", Some(port));
        watched.spec.send_replace(other);
        let third = |s: &GatewayState| alive(2)(s) && s.addresses[1].ip == ip("127.0.0.3");
        watched.until("the third is alive", third).await;
        let series = "gateway_address_alive{target_cluster_name=\"west\",address=\"127.0.0.1\"}";
        assert_eq!(watched.metric(series), None);
        // Only a threshold: nobody is asked anew, and what is known stays.
        let mut stricter = spec("127.0.0.2,127.0.0.3", Some(port));
        stricter.probe.as_mut().expect("probes").threshold = 1;
        watched.spec.send_replace(stricter);
        tokio::time::sleep(PERIOD * 3).await;
        assert!(alive(2)(&watched.state.borrow()));
        let counts = connections.iter().map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts.collect::<Vec<_>>(), [0, 1, 1, 1]);
    });
}

#[test]
fn a_real_gateway_goes_and_comes_back_at_its_address() {
    let ca = TestCa::new("ca");
    let gateway = Builder::new(&ca).start();
    let admin = gateway.admin;
    let mut spec = spec("127.0.0.1", Some(admin.port()));
    spec.probe.as_mut().expect("probes").identity =
        Some(Identity::parse(GATEWAY).expect("an identity"));
    let state = State::default();
    state.credentials.store(Some(own(&ca)));
    watching(spec, state, None, async |mut watched| {
        watched.until("alive", |s| s.addresses.iter().any(|a| a.liveness == Liveness::Alive)).await;
        let latency = watched.state.borrow().addresses[0].latency;
        assert!(latency.is_some_and(|latency| latency < Duration::from_secs(5)), "{latency:?}");
        drop(gateway);
        watched.until("down", |s| !s.addresses[0].is_ready).await;
        assert_eq!(watched.state.borrow().addresses[0].last_failure, Some(Failure::Refused));
        let section = format!("[admin]\nlisten = \"{admin}\"\n");
        let again = Builder::new(&ca).configure(&section).start();
        watched.until("alive again", |s| s.addresses[0].is_ready).await;
        let probes = |success: &str| {
            let series = format!(
                "gateway_probes{{target_cluster_name=\"west\",probe_successful=\"{success}\"}}"
            );
            watched.metric(&series).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default()
        };
        assert!(probes("true") >= 3 && probes("false") >= 3);
        drop(again);
    });
}

#[test]
fn an_address_is_asked_once_a_period_and_not_more_whatever_it_says() {
    let port = listen(&["127.0.0.1", "127.0.0.2"], |ip, stream| {
        say(stream, || if ip == IpAddr::from([127, 0, 0, 1]) { OK } else { NOT_READY });
    });
    // Nobody listens at the third.
    let all = spec("127.0.0.1,127.0.0.2,127.0.0.3", Some(port));
    watching(all, State::default(), None, async |watched| {
        tokio::time::sleep(PERIOD * 10).await;
        let count = |success: &str| {
            let series = format!(
                "gateway_probes{{target_cluster_name=\"west\",probe_successful=\"{success}\"}}"
            );
            watched.metric(&series).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default()
        };
        let (good, bad) = (count("true"), count("false"));
        assert!((2..=11).contains(&good) && (4..=22).contains(&bad), "{good} good, {bad} bad");
    });
}

#[test]
fn a_latency_wakes_nobody() {
    let port = listen(&["127.0.0.1"], |_, stream| say(stream, || OK));
    watching(spec("127.0.0.1", Some(port)), State::default(), None, async |mut watched| {
        watched.until("alive", |s| s.addresses.iter().any(|a| a.liveness == Liveness::Alive)).await;
        watched.state.mark_unchanged();
        let series = "gateway_probe_latency_ms_count{target_cluster_name=\"west\"}";
        let count = || watched.metric(series).and_then(|value| value.parse::<u64>().ok());
        let before = count().unwrap_or_default();
        tokio::time::sleep(PERIOD * 5).await;
        assert!(count().unwrap_or_default() > before, "it was probed");
        assert!(!watched.state.has_changed().expect("it runs"));
    });
}

#[test]
fn the_series_of_a_gateway_end_with_its_monitor_as_linkerds_do() {
    let port = listen(&["127.0.0.1"], |_, stream| say(stream, || OK));
    let metrics = Metrics::new();
    run(async {
        let (sender, receiver) = watch::channel(spec("127.0.0.1", Some(port)));
        let state = Arc::new(State::default());
        let (monitor, mut seen) = GatewayMonitor::new(receiver, None, state, Arc::clone(&metrics));
        let test = async {
            let alive =
                |s: &GatewayState| s.addresses.iter().any(|a| a.liveness == Liveness::Alive);
            tokio::time::timeout(PATIENCE, seen.wait_for(alive))
                .await
                .expect("in time")
                .expect("runs");
            drop(sender);
        };
        tokio::join!(monitor.run(), test);
    });
    let text = metrics.encode();
    for gone in
        ["gateway_alive", "gateway_enabled", "gateway_probe_latency_ms", "gateway_address_alive"]
    {
        assert!(!text.contains(&format!("\n{gone}")), "{gone} is still there");
    }
    for stays in ["gateway_latency{", "gateway_probes{"] {
        assert!(text.contains(&format!("\n{stays}")), "{stays} is gone");
    }
}
