use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn parts(list: &str) -> Vec<GatewayAddress> {
    list.split(',').map(|part| GatewayAddress::parse(part).expect("a part")).collect()
}

fn addresses(list: &str) -> Addresses {
    Addresses::new(&parts(list), [])
}

fn all(addresses: &Addresses) -> Vec<String> {
    addresses.all().iter().map(ToString::to_string).collect()
}

fn both(v4: &[&str], v6: &[&str]) -> Answer {
    Answer { v4: Some(ips(v4)), v6: Some(ips(v6)) }
}

#[test]
fn literals_are_there_at_once_and_names_when_they_are_answered() {
    let mut gateway = addresses("192.0.2.9,a.x,b.x");
    assert_eq!(all(&gateway), ["192.0.2.9"]);
    assert!(gateway.answered("a.x", &both(&["192.0.2.1"], &["2001:db8::1"])));
    assert_eq!(all(&gateway), ["192.0.2.1", "192.0.2.9", "2001:db8::1"]);
    let answered: Vec<_> = gateway.names().map(|(name, is)| (&**name, is)).collect();
    assert_eq!(answered, [("a.x", true), ("b.x", false)]);
    assert!(!gateway.answered("c.x", &both(&["192.0.2.7"], &[])), "not a name of this gateway");
}

#[test]
fn a_changed_record_adds_at_once_and_takes_away_after_three_answers_linkerd2_10635() {
    let mut gateway = addresses("a.x");
    gateway.answered("a.x", &both(&["192.0.2.1"], &[]));
    assert!(gateway.answered("a.x", &both(&["192.0.2.2"], &[])));
    assert_eq!(all(&gateway), ["192.0.2.1", "192.0.2.2"]);
    assert!(!gateway.answered("a.x", &both(&["192.0.2.2"], &[])));
    assert!(gateway.answered("a.x", &both(&["192.0.2.2"], &[])));
    assert_eq!(all(&gateway), ["192.0.2.2"]);
}

#[test]
fn an_address_that_comes_back_in_time_begins_anew() {
    let mut gateway = addresses("a.x");
    for turn in 0..12 {
        let answer = if turn % 3 == 0 { "192.0.2.1" } else { "192.0.2.2" };
        gateway.answered("a.x", &both(&[answer], &[]));
    }
    assert_eq!(all(&gateway), ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn a_vanished_address_goes_with_its_first_failed_probe_before_or_after() {
    let mut gateway = addresses("a.x");
    gateway.answered("a.x", &both(&["192.0.2.1", "192.0.2.2"], &[]));
    assert!(!gateway.probed(ip("192.0.2.1"), true), "a failed probe alone takes nothing away");
    assert!(gateway.answered("a.x", &both(&["192.0.2.2"], &[])));
    assert_eq!(all(&gateway), ["192.0.2.2"]);
    gateway.answered("a.x", &both(&["192.0.2.3"], &[]));
    assert_eq!(all(&gateway), ["192.0.2.2", "192.0.2.3"]);
    assert!(gateway.probed(ip("192.0.2.2"), true));
    assert_eq!(all(&gateway), ["192.0.2.3"]);
}

#[test]
fn a_failed_question_keeps_what_its_last_answer_said() {
    let mut gateway = addresses("a.x");
    gateway.answered("a.x", &both(&["192.0.2.1"], &["2001:db8::1"]));
    for _ in 0..9 {
        // AAAA fails, A answers; a name without any address is no answer either.
        gateway.answered("a.x", &Answer { v4: Some(ips(&["192.0.2.1"])), v6: None });
        assert!(!gateway.answered("a.x", &both(&[], &[])));
        assert!(!gateway.answered("a.x", &Answer::default()));
    }
    assert_eq!(all(&gateway), ["192.0.2.1", "2001:db8::1"]);
    // AAAA says that there are none any more.
    for _ in 0..3 {
        gateway.answered("a.x", &both(&["192.0.2.1"], &[]));
    }
    assert_eq!(all(&gateway), ["192.0.2.1"]);
}

#[test]
fn one_name_that_fails_takes_nothing_from_the_others() {
    let mut gateway = addresses("a.x,b.x");
    gateway.answered("a.x", &both(&["192.0.2.1"], &[]));
    gateway.answered("b.x", &both(&["192.0.2.1", "192.0.2.2"], &[]));
    for _ in 0..5 {
        gateway.answered("b.x", &both(&["192.0.2.2"], &[]));
    }
    assert_eq!(all(&gateway), ["192.0.2.1", "192.0.2.2"], "a.x still names the first");
}

#[test]
fn other_parts_keep_the_answers_of_names_that_stay() {
    let mut gateway = addresses("a.x,b.x,192.0.2.9");
    gateway.answered("a.x", &both(&["192.0.2.1"], &[]));
    gateway.answered("b.x", &both(&["192.0.2.2"], &[]));
    gateway.replace(&parts("b.x,c.x"));
    assert_eq!(all(&gateway), ["192.0.2.2"]);
}

#[test]
fn after_a_restart_without_dns_the_addresses_that_were_written_stay() {
    let written = ips(&["192.0.2.1", "192.0.2.2"]);
    let mut gateway = Addresses::new(&parts("a.x,b.x"), written.clone());
    assert_eq!(all(&gateway), ["192.0.2.1", "192.0.2.2"]);
    for _ in 0..5 {
        gateway.answered("a.x", &both(&["192.0.2.1"], &[]));
    }
    assert_eq!(all(&gateway), ["192.0.2.1", "192.0.2.2"], "b.x may stand for the second");
    for _ in 0..3 {
        gateway.answered("b.x", &both(&["192.0.2.3"], &[]));
    }
    assert_eq!(all(&gateway), ["192.0.2.1", "192.0.2.3"]);
    let literal = Addresses::new(&parts("192.0.2.7"), written);
    assert_eq!(all(&literal), ["192.0.2.7"], "without names there is nothing to wait for");
}

#[test]
fn an_answer_of_thousands_does_not_drive_out_those_that_are_there() {
    let mut gateway = addresses("203.0.113.1,a.x");
    let many = (0..1000u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect();
    gateway.answered("a.x", &Answer { v4: Some(many), v6: None });
    assert_eq!(gateway.all().len(), MAX_ADDRESSES);
    assert!(gateway.all().contains(&ip("203.0.113.1")));
}
