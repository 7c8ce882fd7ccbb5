//! The conditions of a Link as a whole.

use std::net::IpAddr;

use super::document::{self, Condition};
use super::{ConditionStatus, LinkCondition, LinkConditionType, first};
use crate::model::link::{FieldProblem, Stops};

/// The longest message that a condition may have in Kubernetes, in characters.
const MAX_MESSAGE: usize = 32_768;
/// So many addresses are named one by one.
const MAX_ADDRESSES: usize = 50;

/// What is known of one address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressReport<'a> {
    /// The address.
    pub address: IpAddr,
    /// Whether it answers; `None` when that is not known.
    pub is_up: Option<bool>,
    /// Why it does not, or why that is not known.
    pub reason: &'a str,
}

/// `GatewayAlive`: true when any address is up, false when all are down, and each with its reason.
/// Without addresses it is not known.
pub fn gateway_alive(addresses: &[AddressReport<'_>]) -> LinkCondition {
    let count = |state| addresses.iter().filter(|address| address.is_up == state).count();
    let (up, down) = (count(Some(true)), count(Some(false)));
    let (status, reason) = match (addresses.len(), up, down) {
        (0, _, _) => (ConditionStatus::Unknown, "NoAddress"),
        (all, up, _) if up == all => (ConditionStatus::True, "AllUp"),
        (_, 1.., 0) => (ConditionStatus::True, "SomeUnknown"),
        (_, 1.., _) => (ConditionStatus::True, "SomeDown"),
        (all, _, down) if down == all => (ConditionStatus::False, "AllDown"),
        _ => (ConditionStatus::Unknown, "Unknown"),
    };
    let mut sorted: Vec<_> = addresses.iter().collect();
    sorted.sort_by_key(|address| (address.is_up, address.address));
    let mut parts: Vec<_> = sorted.iter().take(MAX_ADDRESSES).map(|one| describe(one)).collect();
    if sorted.len() > MAX_ADDRESSES {
        parts.push(format!("{} more", sorted.len() - MAX_ADDRESSES));
    }
    let message = match parts.is_empty() {
        true => {
            "the gateway has no address yet: is gatewayAddress of the Link resolvable?".to_owned()
        }
        false => parts.join("; "),
    };
    LinkCondition { kind: LinkConditionType::GatewayAlive, status, reason, message }
}

/// `SpecValid`: which fields are wrong, what was expected, and what that stops.
pub fn spec_valid(problems: &[FieldProblem]) -> LinkCondition {
    let is_frozen = problems.iter().any(|problem| problem.stops == Stops::Mirroring);
    let (status, reason, consequence) = match (problems.len(), is_frozen) {
        (0, _) => (ConditionStatus::True, "Valid", ""),
        (_, true) => (
            ConditionStatus::False,
            "InvalidField",
            ". Until this is corrected nothing of this Link is created, changed or deleted",
        ),
        (_, false) => (
            ConditionStatus::False,
            "InvalidProbe",
            ". Until this is corrected the gateway is not probed",
        ),
    };
    let problem = |problem: &FieldProblem| format!("{}: {}", problem.field, problem.expected);
    let problems: Vec<_> = problems.iter().map(problem).collect();
    let message = format!("{}{consequence}", problems.join("; "));
    LinkCondition { kind: LinkConditionType::SpecValid, status, reason, message }
}

pub(super) fn render<'a>(
    condition: &'a LinkCondition,
    generation: i64,
    known: &'a [Condition<'_>],
    now: &'a str,
) -> Condition<'a> {
    let (kind, status) = (condition.kind.label(), condition.status.label());
    Condition {
        kind: kind.into(),
        status: status.into(),
        reason: condition.reason.into(),
        message: first(MAX_MESSAGE, &condition.message).into(),
        last_transition_time: document::transition(known, kind, status, now),
        observed_generation: Some(generation),
        local_ref: None,
    }
}

fn describe(address: &AddressReport<'_>) -> String {
    let state = match address.is_up {
        Some(true) => "up",
        Some(false) => "down",
        None => "not known",
    };
    match address.reason {
        "" => format!("{} is {state}", address.address),
        reason => format!("{} is {state}: {reason}", address.address),
    }
}
