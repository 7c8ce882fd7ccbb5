//! What integration tests cannot reach: a monitor that starts again, events in a certain order.

use super::session::Event;
use super::*;

fn probe() -> ProbeSpec {
    ProbeSpec {
        port: Port::new(4191).expect("a port"),
        path: PathAndQuery::from_static("/ready"),
        identity: None,
        schedule: Schedule::new(Duration::from_secs(3), Duration::from_secs(3)),
        threshold: 3,
    }
}

#[test]
fn a_gateway_without_any_address_is_down_once_no_name_may_still_be_answered() {
    let names: [Arc<str>; 2] = ["a.x".into(), "b.x".into()];
    let spec = GatewaySpec {
        cluster: "west".into(),
        addresses: names.iter().cloned().map(GatewayAddress::Name).collect(),
        probe: Some(probe()),
        keeps_readiness: false,
        persisted: BTreeMap::new(),
    };
    let metrics = Metrics::new();
    let (_sender, receiver) = watch::channel(spec.clone());
    let state = Arc::new(State::default());
    let (monitor, _said) = GatewayMonitor::new(receiver, None, state, Arc::clone(&metrics));
    let mut session = Session::new(&monitor, spec);
    let [first, second] = names.map(|name| Ok(Event::Answered(name, Err("no".to_owned()))));
    session.take(first);
    assert!(!metrics.encode().contains("gateway_alive{"));
    session.take(second);
    assert!(metrics.encode().contains("gateway_alive{target_cluster_name=\"west\"} 0\n"));
}

#[test]
fn a_monitor_that_starts_again_goes_on_with_the_readiness_that_it_has_published() {
    let down = IpAddr::from([192, 0, 2, 1]);
    let spec = GatewaySpec {
        cluster: "west".into(),
        addresses: vec![GatewayAddress::Ip(down)],
        probe: Some(probe()),
        // It was ready when it was last written.
        keeps_readiness: false,
        persisted: [(down, true)].into(),
    };
    let (_sender, receiver) = watch::channel(spec.clone());
    let (monitor, said) =
        GatewayMonitor::new(receiver, None, Arc::new(State::default()), Metrics::new());
    let known = AddressState {
        ip: down,
        liveness: Liveness::Down,
        is_ready: false,
        last_failure: Some(Failure::Refused),
        unasked: None,
        latency: None,
        changed_at: SystemTime::UNIX_EPOCH,
    };
    let state = GatewayState { addresses: vec![known], names: Vec::new(), is_probing: true };
    monitor.published.send_replace(state);
    let session = Session::new(&monitor, spec);
    session.publish();
    let now = said.borrow().addresses.clone();
    assert_eq!((now.len(), now[0].liveness, now[0].is_ready), (1, Liveness::Unknown, false));
}
