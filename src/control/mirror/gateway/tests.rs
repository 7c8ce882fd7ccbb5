//! What integration tests cannot reach: a monitor that starts again.

use super::*;

#[test]
fn a_monitor_that_starts_again_goes_on_with_the_readiness_that_it_has_published() {
    let down = IpAddr::from([192, 0, 2, 1]);
    let probe = ProbeSpec {
        port: Port::new(4191).expect("a port"),
        path: PathAndQuery::from_static("/ready"),
        identity: None,
        schedule: Schedule::new(Duration::from_secs(3), Duration::from_secs(3)),
        threshold: 3,
    };
    let spec = GatewaySpec {
        cluster: "west".into(),
        addresses: vec![GatewayAddress::Literal(down)],
        probe: Some(probe),
        // It was ready when it was last written.
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
