//! The status of a Link.

use serde_json::{Value, json};

use super::fixture::{ip, key};
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::{FieldProblem, Stops};
use crate::model::mirror::condition::{MirrorCondition, Reason};
use crate::model::mirror::status::{
    AddressReport, ConditionStatus, LinkCondition, LinkConditionType, LinkStatus, MAX_BYTES,
    ServiceStatus, gateway_alive, normal, patch, render, spec_valid, with_conditions_of,
};

const THEN: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-02-02T00:00:00Z";

fn entry(name: &str, condition: MirrorCondition) -> ServiceStatus {
    ServiceStatus { remote: key(name), local: key(&format!("{name}-remote")), condition }
}

fn reachable(status: ConditionStatus) -> LinkCondition {
    let message = "https://192.0.2.1:6443 refused the connection".to_owned();
    LinkCondition {
        kind: LinkConditionType::TargetReachable,
        status,
        reason: "Unreachable",
        message,
    }
}

fn rendered(status: &LinkStatus, last: &str) -> Value {
    parsed(&render(status, last, NOW))
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Facts 1.3.
#[test]
fn entries_have_the_shape_of_linkerds() {
    let missing = MirrorCondition::failed(Reason::MissingNamespace, "no namespace");
    let status = LinkStatus {
        mirrored: vec![entry("b", missing), entry("a", MirrorCondition::mirrored())],
        federated: vec![entry("f", MirrorCondition::mirrored())],
        ..LinkStatus::default()
    };
    let json = rendered(&status, "");
    let reference =
        |name| json!({ "group": "core", "kind": "Service", "name": name, "namespace": "ns1" });
    let first = json!({
        "controllerName": "linkerd.io/service-mirror",
        "remoteRef": reference("a"),
        "conditions": [{
            "type": "Mirrored",
            "status": "True",
            "reason": "Mirrored",
            "message": "",
            "lastTransitionTime": NOW,
            "localRef": reference("a-remote"),
        }],
    });
    assert_eq!(json["mirrorServices"][0], first);
    let second = &json["mirrorServices"][1]["conditions"][0];
    assert_eq!(second["status"], "False");
    assert_eq!(second["reason"], "MissingNamespace");
    assert_eq!(second["message"], "no namespace");
    assert!(second.get("localRef").is_none());
    assert_eq!(json["federatedServices"][0]["remoteRef"], reference("f"));
}

#[test]
fn times_of_transitions_stay_until_the_status_changes_and_nothing_is_sent_for_nothing() {
    let mut status = LinkStatus {
        conditions: vec![reachable(ConditionStatus::True)],
        mirrored: vec![entry("a", MirrorCondition::mirrored())],
        ..LinkStatus::default()
    };
    let first = render(&status, "", THEN);
    let sent = patch("", &first).expect("a patch");
    assert_eq!(parsed(&sent), json!({ "status": parsed(&first) }));
    let again = render(&status, &first, NOW);
    assert_eq!(again, first);
    assert_eq!(patch(&first, &again), None);
    status.conditions[0].status = ConditionStatus::False;
    status.mirrored[0].condition = MirrorCondition::failed(Reason::Error, "x");
    status.mirrored.push(entry("b", MirrorCondition::mirrored()));
    let text = render(&status, &first, NOW);
    let changed = parsed(&text);
    assert_eq!(changed["conditions"][0]["lastTransitionTime"], NOW);
    assert_eq!(changed["mirrorServices"][0]["conditions"][0]["lastTransitionTime"], NOW);
    status.mirrored[0].condition = MirrorCondition::failed(Reason::Error, "another text");
    let later = render(&status, &text, "2027-01-01T00:00:00Z");
    assert_eq!(parsed(&later)["mirrorServices"][0]["conditions"][0]["lastTransitionTime"], NOW);
    assert!(patch(&text, &later).is_some());
    status.mirrored.reverse();
    assert_eq!(render(&status, &later, NOW), later, "the order of the input means nothing");
}

/// What a status may hold before us, by anyone, is no reason to panic.
#[test]
fn a_strange_last_status_is_read_as_none() {
    let status = LinkStatus {
        conditions: vec![reachable(ConditionStatus::True)],
        mirrored: vec![entry("a", MirrorCondition::mirrored())],
        ..LinkStatus::default()
    };
    let clean = render(&status, "", NOW);
    for last in [
        json!(7),
        json!(null),
        json!({ "conditions": {}, "mirrorServices": "x" }),
        json!({ "conditions": [null, 1], "mirrorServices": [{ "remoteRef": 1 }, null, []] }),
        json!({ "conditions": [{ "type": "TargetReachable", "status": "True" }] }),
    ] {
        assert_eq!(render(&status, &last.to_string(), NOW), clean);
    }
}

/// "status list with 2000 services"
#[test]
fn two_thousand_services_are_listed_within_one_megabyte() {
    let long = |index: usize| format!("a-service-with-a-rather-long-name-{index:05}");
    let mirrored =
        (0..2000).map(|index| entry(&long(index), MirrorCondition::mirrored())).collect();
    let text = render(&LinkStatus { mirrored, ..LinkStatus::default() }, "", NOW);
    assert_eq!(parsed(&text)["mirrorServices"].as_array().map(Vec::len), Some(2000));
    let bytes = text.len();
    assert!((600_000..MAX_BYTES).contains(&bytes), "{bytes} bytes");
}

#[test]
fn of_more_only_those_that_are_not_mirrored_are_listed_with_a_summary() {
    let condition = |index: usize| match index % 1000 {
        7 => MirrorCondition::failed(Reason::Conflict, "taken"),
        _ => MirrorCondition::mirrored(),
    };
    let mirrored = (0..10_000).map(|index| entry(&format!("s{index}"), condition(index)));
    let mut status = LinkStatus { mirrored: mirrored.collect(), ..LinkStatus::default() };
    let json = rendered(&status, "");
    assert_eq!(json["mirrorServices"].as_array().map(Vec::len), Some(10));
    let summary = &json["conditions"][0];
    assert_eq!(
        (&summary["type"], &summary["status"]),
        (&json!("ServicesMirrored"), &json!("False"))
    );
    let message = summary["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("9990 of 10000 Services are mirrored"), "{message}");
    // All fail, each with much to say.
    for entry in &mut status.mirrored {
        entry.condition = MirrorCondition::failed(Reason::Error, "é".repeat(5_000));
    }
    let text = render(&status, "", NOW);
    let (bytes, json) = (text.len(), parsed(&text));
    assert!(bytes < MAX_BYTES + 5_000, "{bytes} bytes");
    let listed = json["mirrorServices"].as_array().map(Vec::len).unwrap_or_default();
    let message = json["conditions"][0]["message"].as_str().unwrap_or_default();
    assert!(listed > 500 && message.ends_with(&format!("the first {listed}")), "{message}");
}

#[test]
fn namespaces_keep_services_by_one_name_apart() {
    let mut other = entry("a", MirrorCondition::failed(Reason::Error, "x"));
    other.remote = ObjectKey::new("ns2", "a");
    let mirrored = vec![entry("a", MirrorCondition::mirrored()), other];
    let status = LinkStatus { mirrored, ..LinkStatus::default() };
    let first = render(&status, "", THEN);
    assert_eq!(render(&status, &first, NOW), first);
}

/// An API server sorts keys, adds spaces, prunes, and knows fields that we do not.
#[test]
fn what_is_read_equals_what_was_sent_when_it_says_the_same() {
    let status = LinkStatus {
        conditions: vec![reachable(ConditionStatus::True)],
        mirrored: vec![entry("a", MirrorCondition::failed(Reason::Error, "\u{1}\" é"))],
        federated: vec![entry("f", MirrorCondition::mirrored())],
        generation: 3,
    };
    let sent = render(&status, "", THEN);
    let mut stored = parsed(&sent);
    stored["unknown"] = json!(1);
    stored["mirrorServices"][0]["conditions"][0]["unknown"] = json!([]);
    let read = format!("{stored:#}");
    assert_eq!(normal(&read), sent);
    assert_eq!(render(&status, &normal(&read), NOW), sent);
}

/// Another holds the Lease: its entries stay as it wrote them, also with words that are not ours.
#[test]
fn the_conditions_of_the_link_can_be_written_alone() {
    let mut status = LinkStatus {
        conditions: vec![reachable(ConditionStatus::True)],
        mirrored: vec![entry("a", MirrorCondition::mirrored())],
        ..LinkStatus::default()
    };
    let theirs = render(&status, "", THEN).replace("\"Mirrored\"", "\"Theirs\"");
    status.mirrored.clear();
    status.conditions[0].status = ConditionStatus::False;
    let new = with_conditions_of(&theirs, &render(&status, &theirs, NOW));
    let (new, theirs) = (parsed(&new), parsed(&theirs));
    assert_eq!(new["mirrorServices"], theirs["mirrorServices"]);
    assert_eq!(new["conditions"][0]["status"], "False");
}

#[test]
fn the_gateways_condition_names_each_address() {
    let report = |text, is_up, reason| AddressReport { address: ip(text), is_up, reason };
    let some = [
        report("192.0.2.1", Some(true), ""),
        report("192.0.2.2", Some(false), "connection refused"),
        report("192.0.2.3", None, "no credentials"),
    ];
    let condition = gateway_alive(&some);
    assert_eq!((condition.status, condition.reason), (ConditionStatus::True, "SomeDown"));
    assert_eq!(
        condition.message,
        "192.0.2.3 is not known: no credentials; 192.0.2.2 is down: connection refused; 192.0.2.1 is up"
    );
    for (reports, status, reason) in [
        (&some[..1], ConditionStatus::True, "AllUp"),
        (&some[1..2], ConditionStatus::False, "AllDown"),
        (&some[1..], ConditionStatus::Unknown, "Unknown"),
        (&some[..0], ConditionStatus::Unknown, "NoAddress"),
    ] {
        let condition = gateway_alive(reports);
        assert_eq!((condition.status, condition.reason), (status, reason));
    }
}

#[test]
fn a_wrong_field_is_named_with_what_was_expected_and_what_it_stops() {
    assert_eq!(spec_valid(&[]).status, ConditionStatus::True);
    let problem = |stops| FieldProblem {
        field: "spec.gatewayPort".to_owned(),
        expected: "expected a number from 1 to 65535, found 0".to_owned(),
        stops,
    };
    let condition = spec_valid(&[problem(Stops::Mirroring)]);
    assert_eq!(condition.reason, "InvalidField");
    assert!(condition.message.starts_with("spec.gatewayPort: expected a number from 1 to 65535"));
    assert!(condition.message.contains("nothing of this Link is created, changed or deleted"));
    assert_eq!(spec_valid(&[problem(Stops::Probing)]).reason, "InvalidProbe");
}
