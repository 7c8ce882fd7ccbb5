//! Gateways that are named: what the monitor makes of DNS. Nothing is probed here, because loopback
//! addresses from DNS are refused.

use std::net::IpAddr;
use std::time::Duration;

use linkerd_gateway::config::DnsSettings;
use linkerd_gateway::control::dns::Resolver;
use linkerd_gateway::control::mirror::gateway::GatewayState;
use linkerd_gateway::state::State;

use crate::monitor::{Watched, ip, spec, watching};
use crate::run;
use crate::support::dns::{Dns, Mode};

const TTL: u32 = 0;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn resolver(dns: &Dns) -> Option<Resolver> {
    let (min_ttl, max_ttl) = (Duration::from_millis(50), Duration::from_secs(1));
    let settings = DnsSettings { servers: vec![dns.address], min_ttl, max_ttl };
    // It wants a runtime to be there.
    run(async { Resolver::new(&settings).ok() })
}

fn has(addresses: &[&str]) -> impl Fn(&GatewayState) -> bool + use<> {
    let addresses = ips(addresses);
    move |s| s.addresses.iter().map(|a| a.ip).eq(addresses.iter().copied())
}

/// Waits until the name server was asked so often again.
async fn asked(dns: &Dns, times: usize) {
    let until = dns.questions() + 2 * times;
    while dns.questions() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_changed_record_is_followed_and_the_old_address_goes_after_three_answers() {
    let dns = Dns::start(Mode::Addresses(ips(&["192.0.2.1", "2001:db8::1"]), TTL));
    let named = spec("gw.example.com,203.0.113.9", None);
    watching(named, State::default(), resolver(&dns), async |mut watched| {
        watched.until("both kinds", has(&["192.0.2.1", "203.0.113.9", "2001:db8::1"])).await;
        assert!(watched.state.borrow().names[0].is_answered);
        dns.set(Mode::Addresses(ips(&["192.0.2.2", "2001:db8::1"]), TTL));
        let both = ["192.0.2.1", "192.0.2.2", "203.0.113.9", "2001:db8::1"];
        watched.until("the new one beside the old", has(&both)).await;
        watched.until("the new one", has(&["192.0.2.2", "203.0.113.9", "2001:db8::1"])).await;
        assert!(watched.state.borrow().addresses.iter().all(|address| address.is_ready));
    });
}

async fn fails(watched: &mut Watched) {
    let has_problem = |s: &GatewayState| s.names.iter().any(|name| name.problem.is_some());
    watched.until("a problem", has_problem).await;
}

#[test]
fn while_dns_fails_the_last_good_answer_stays_and_metrics_count_it() {
    let dns = Dns::start(Mode::Addresses(ips(&["192.0.2.1"]), TTL));
    watching(
        spec("gw.example.com", None),
        State::default(),
        resolver(&dns),
        async |mut watched| {
            watched.until("the address", has(&["192.0.2.1"])).await;
            for mode in [Mode::ServerFailure, Mode::NoSuchName, Mode::Addresses(Vec::new(), TTL)] {
                dns.set(mode);
                fails(&mut watched).await;
                assert!(has(&["192.0.2.1"])(&watched.state.borrow()));
                dns.set(Mode::Addresses(ips(&["192.0.2.1"]), TTL));
                watched.until("it answers again", |s| s.names[0].problem.is_none()).await;
            }
            let series = "control_dns_resolutions_total{client=\"mirror\",result=\"error\"}";
            let errors = watched.metric(series).and_then(|value| value.parse::<u64>().ok());
            assert!(errors.is_some_and(|errors| errors >= 3), "{errors:?}");
        },
    );
}

#[test]
fn when_only_aaaa_is_answered_the_last_a_records_stay() {
    let dns = Dns::start(Mode::Addresses(ips(&["192.0.2.1", "2001:db8::1"]), TTL));
    watching(
        spec("gw.example.com", None),
        State::default(),
        resolver(&dns),
        async |mut watched| {
            watched.until("both kinds", has(&["192.0.2.1", "2001:db8::1"])).await;
            dns.set(Mode::OnlyV6(ips(&["2001:db8::2"]), TTL));
            watched.until("the new one", has(&["192.0.2.1", "2001:db8::2"])).await;
            asked(&dns, 5).await;
            assert!(has(&["192.0.2.1", "2001:db8::2"])(&watched.state.borrow()));
        },
    );
}

#[test]
fn after_a_restart_without_dns_the_written_addresses_stay() {
    let dns = Dns::start(Mode::ServerFailure);
    let mut named = spec("gw.example.com", None);
    named.persisted = [(ip("192.0.2.1"), true)].into();
    watching(named, State::default(), resolver(&dns), async |mut watched| {
        fails(&mut watched).await;
        assert!(has(&["192.0.2.1"])(&watched.state.borrow()));
        assert!(!watched.state.borrow().names[0].is_answered);
    });
}

#[test]
fn a_name_without_any_name_server_says_what_to_do() {
    watching(
        spec("gw.example.com,192.0.2.1", None),
        State::default(),
        None,
        async |mut watched| {
            fails(&mut watched).await;
            let problem = watched.state.borrow().names[0].problem.clone();
            assert_eq!(problem.as_deref(), Some("no name server is known: set dns.servers"));
            assert!(has(&["192.0.2.1"])(&watched.state.borrow()));
        },
    );
}
