//! The status of a Link: gathered, and written when it has changed, at most once a second.
//!
//! Run by the Link's task. A CRD that prunes our conditions must not make us write for ever: what
//! is compared is what was last sent. `v1alpha1` has no status; the same facts are in `/links`.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use tokio::time::timeout;

use super::apply::Writer;
use super::lease::Standing;
use super::link::LinkState;
use super::links::resource;
use super::term::Term;
use crate::control::kubernetes::watch::chain;
use crate::model::mirror::condition::Reason;
use crate::model::mirror::status::{
    ConditionStatus, LinkCondition, LinkConditionType, LinkStatus, patch, render,
};
use crate::state::links::ConditionView;

/// Changes within this are written together.
const COALESCE: Duration = Duration::from_secs(1);
/// After a write that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// One call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes for ever.
pub async fn run(term: &Arc<Term>, link: &Arc<LinkState>) {
    if let Writer::Record(_) = term.writer {
        return std::future::pending().await;
    }
    let mut told = Vec::new();
    loop {
        link.status_changed.notified().await;
        tokio::time::sleep(COALESCE).await;
        let status = status_of(link);
        announce(term, link, &status, &mut told);
        while let Err(text) = write(term, link).await {
            tracing::warn!(link = %link.name, "the Link's status is not written: {text}; tried again");
            link.error(format!("status: {text}"));
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

/// One write, if one is needed.
async fn write(term: &Term, link: &LinkState) -> Result<(), String> {
    let (version, _) = term.links.standing();
    let Some(version) = version.filter(|version| *version != "v1alpha1") else { return Ok(()) };
    if !term.leadership.is_held() {
        return Ok(());
    }
    let last = Arc::clone(&link.last_status.lock().unwrap_or_else(PoisonError::into_inner));
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let new = render(&status_of(link), &last, &now);
    let Some(patch) = patch(&last, &new) else { return Ok(()) };
    let api: Api<DynamicObject> =
        Api::namespaced_with(term.client.clone(), &term.settings.namespace, &resource(version));
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    let sent = api.patch_status(&link.name, &parameters, &patch);
    match timeout(CALL_TIMEOUT, sent).await {
        Ok(Ok(_)) => {
            let mut last = link.last_status.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Arc::new(new);
            Ok(())
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer for {CALL_TIMEOUT:?}")),
    }
}

/// Conditions that have turned false, as Events.
fn announce(term: &Term, link: &LinkState, status: &LinkStatus, told: &mut Vec<LinkCondition>) {
    for condition in &status.conditions {
        let reason = match condition.kind {
            LinkConditionType::CredentialsValid => "CredentialsInvalid",
            LinkConditionType::TargetReachable => "TargetUnreachable",
            LinkConditionType::SpecValid => "InvalidLink",
            LinkConditionType::GatewayAlive | LinkConditionType::ServicesMirrored => continue,
        };
        let before = told.iter().find(|before| before.kind == condition.kind);
        let is_news = before.is_none_or(|before| before.status != condition.status);
        if condition.status == ConditionStatus::False && is_news {
            term.events.link(link, reason, &condition.message);
        }
    }
    told.clone_from(&status.conditions);
}

fn status_of(link: &LinkState) -> LinkStatus {
    let (mirrored, federated) = link.statuses();
    let conditions = vec![
        credentials(link),
        gateway(link),
        services(link),
        target(link),
    ];
    LinkStatus { conditions, mirrored, federated, generation: link.parsed().link.generation }
}

/// Whether its work is done at all, and whether what is mirrored is well.
fn services(link: &LinkState) -> LinkCondition {
    let kind = LinkConditionType::ServicesMirrored;
    let of = |status, reason, message| LinkCondition { kind, status, reason, message };
    let parsed = link.parsed();
    if parsed.is_frozen() {
        let problems: Vec<_> =
            parsed.problems.iter().map(|p| format!("{}: {}", p.field, p.expected)).collect();
        return of(ConditionStatus::False, "InvalidLink", problems.join("; "));
    }
    match &*link.lease.standing().borrow() {
        Standing::Held => {}
        Standing::HeldBy(holder) => {
            let message = format!(
                "{holder} holds the lease service-mirror-write-{} and renews it: the Link is left \
                 to it; scale that controller down to let this one take over",
                link.name
            );
            return of(ConditionStatus::False, "LeaseHeldByOther", message);
        }
        Standing::Unknown => return of(ConditionStatus::Unknown, "Pending", String::new()),
        Standing::Failed(failure, text) => {
            let message = format!("the lease service-mirror-write-{}: {text}", link.name);
            return of(ConditionStatus::Unknown, failure.reason(), message);
        }
    }
    let counts = link.counts();
    let is_problem = |(reason, _): &&(Arc<str>, usize)| **reason != *Reason::Mirrored.label();
    let problems: Vec<_> = counts.iter().filter(is_problem).collect();
    if problems.is_empty() {
        let mirrored = counts.first().map_or(0, |(_, count)| *count);
        return of(ConditionStatus::True, "Mirrored", format!("{mirrored} Services are mirrored"));
    }
    let list: Vec<_> = problems.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    of(ConditionStatus::False, "NotAllMirrored", list.join(", "))
}

fn credentials(link: &LinkState) -> LinkCondition {
    let view = credentials_view(link);
    condition(LinkConditionType::CredentialsValid, &view)
}

fn target(link: &LinkState) -> LinkCondition {
    condition(LinkConditionType::TargetReachable, &target_view(link))
}

fn gateway(link: &LinkState) -> LinkCondition {
    let kind = LinkConditionType::GatewayAlive;
    let of = |status, reason, message| LinkCondition { kind, status, reason, message };
    let parsed = link.parsed();
    if parsed.link.gateway.is_none() {
        return of(ConditionStatus::Unknown, "NoGateway", "the Link names no gateway".to_owned());
    }
    let addresses = link.addresses.load();
    if addresses.is_empty() {
        let message = "no address of the gateway is known: its names do not resolve yet";
        return of(ConditionStatus::Unknown, "NoAddress", message.to_owned());
    }
    let each: Vec<_> = addresses
        .iter()
        .map(|address| match &address.reason {
            Some(reason) if address.liveness != "alive" => {
                format!("{} is {} ({reason})", address.address, address.liveness)
            }
            _ => format!("{} is {}", address.address, address.liveness),
        })
        .collect();
    let message = each.join("; ");
    let count = |liveness| addresses.iter().filter(|a| a.liveness == liveness).count();
    match (count("alive"), count("down")) {
        (0, 0) => of(ConditionStatus::Unknown, "NotProbed", message),
        (0, down) if down == addresses.len() => of(ConditionStatus::False, "Down", message),
        (0, _) => of(ConditionStatus::Unknown, "SomeDown", message),
        (_, 0) => of(ConditionStatus::True, "Alive", message),
        (_, _) => of(ConditionStatus::True, "SomeDown", message),
    }
}

fn condition(kind: LinkConditionType, view: &ConditionView) -> LinkCondition {
    let status = match view.status {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    };
    LinkCondition { kind, status, reason: view.reason, message: view.message.clone() }
}

/// Whether the credentials are usable.
pub fn credentials_view(link: &LinkState) -> ConditionView {
    let credentials = link.credentials.borrow();
    match (&credentials.problem, &credentials.client) {
        (Some((reason, text)), _) => {
            ConditionView { status: "False", reason, message: text.to_string() }
        }
        (None, Some(_)) => {
            ConditionView { status: "True", reason: "Loaded", message: String::new() }
        }
        (None, None) => ConditionView { status: "Unknown", reason: "Pending", message: String::new() },
    }
}

/// Whether the target's API server answers.
pub fn target_view(link: &LinkState) -> ConditionView {
    let remote = link.remote();
    if let Some((watch, (failure, text))) = remote.failures().into_iter().next() {
        let message = match failure {
            crate::control::kubernetes::error::Failure::Forbidden => format!(
                "the credentials lack the right to list and watch {watch} (list {watch}); nothing \
                 new that needs it is mirrored, what exists is kept: {text}"
            ),
            _ => format!("watching {watch}: {text}; mirrors stay as they are"),
        };
        return ConditionView { status: "False", reason: failure.reason(), message };
    }
    let complete = remote.completeness();
    match link.credentials.borrow().client {
        None => ConditionView { status: "Unknown", reason: "NoCredentials", message: String::new() },
        Some(_) if complete.services => {
            ConditionView { status: "True", reason: "Watching", message: String::new() }
        }
        Some(_) => ConditionView { status: "Unknown", reason: "Listing", message: String::new() },
    }
}
