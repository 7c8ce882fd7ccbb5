//! The status of a Link: gathered, and written when it has changed, at most once a second.
//!
//! Run by the Link's task. A CRD that prunes our conditions must not make us write for ever: what
//! is compared is what was last sent. `v1alpha1` has no status; the same facts are in `/links`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::Resource;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::apply::{Permit, Writer, call};
use super::lease::Standing;
use super::link::LinkState;
use super::links::{LinkObject, resource};
use super::remote::LACKS_ROOM;
use super::term::Term;
use crate::control::kubernetes::error::Failure;
use crate::model::mirror::status::{
    AddressReport, ConditionStatus, LinkCondition, LinkConditionType, LinkStatus, gateway_alive,
    normal, patch, patch_of_conditions, render, spec_valid, with_conditions_of,
};
use crate::state::links::ConditionView;

/// Why not all of a target is mirrored, and of the Event about it.
const TOO_LARGE: &str = "TargetTooLarge";

/// Changes within this are written together.
const COALESCE: Duration = Duration::from_secs(1);
/// A status names every Service: one of many weighs a megabyte and is written less often. So many
/// Services add a second, up to [`MOST_COALESCE`].
const SERVICES_PER_SECOND: usize = 200;
const MOST_COALESCE: u64 = 30;
/// Between two looks at whether all Services have been looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After a write that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Writes for ever.
pub async fn run(term: &Arc<Term>, link: &Arc<LinkState>) {
    if let Writer::Record(_) = term.writer {
        return std::future::pending().await;
    }
    let (mut told, mut has_lists) = (Vec::new(), false);
    loop {
        let is_open = !has_lists && link.lease.hold().is_held();
        // Nothing tells when the last Service has been looked at.
        let look = async {
            while !link.is_surveyed(&term.federation) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = link.status_changed.notified() => {}
            () = look, if is_open => {}
        }
        let more = (link.service_count() / SERVICES_PER_SECOND) as u64;
        tokio::time::sleep(COALESCE + Duration::from_secs(more.min(MOST_COALESCE))).await;
        let status = status_of(link);
        announce(term, link, &status, &mut told);
        let mut is_told = false;
        has_lists = loop {
            let text = match write(term, link).await {
                Ok(has_lists) => break has_lists,
                Err(text) => text,
            };
            if !std::mem::replace(&mut is_told, true) {
                let link = &link.name;
                tracing::warn!(%link, "the Link's status is not written: {text}; tried again");
            }
            link.error(format!("status: {text}"));
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
    }
}

/// One write, if one is needed. True when it was, or would have been, one of what is said of Services,
/// too.
async fn write(term: &Term, link: &LinkState) -> Result<bool, String> {
    let (version, _) = term.links.standing();
    let Some(version) = version.filter(|version| *version != "v1alpha1") else { return Ok(true) };
    if !term.leadership.is_held() {
        return Ok(true);
    }
    let permit = Permit { holds: &[&term.leadership] };
    let last = link.last_status().clone();
    let last = match last {
        Some(last) => last,
        None => read(term, link, version, permit).await?,
    };
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut new = render(&status_of(link), &last, &now);
    // Whoever holds the Lease writes what is said of Services, once all of them were looked at.
    let has_lists = link.lease.hold().is_held() && link.is_surveyed(&term.federation);
    let patch = match has_lists {
        true => patch(&last, &new),
        false => {
            new = with_conditions_of(&last, &new);
            patch_of_conditions(&last, &new)
        }
    };
    let Some(patch) = patch else { return Ok(has_lists) };
    let patch = RawValue::from_string(patch).map_err(|error| error.to_string())?;
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    let request = Request::new(links_path(term, version));
    let request = request.patch_subresource("status", &link.name, &parameters, &patch);
    match call::<IgnoredAny>(&term.client, request, permit).await {
        Ok(_) => {
            // Unless it is to be read anew.
            if let Some(last) = &mut *link.last_status() {
                *last = new.into();
            }
            Ok(has_lists)
        }
        Err(error) if error.failure() == Some(Failure::NotFound) => Ok(has_lists),
        Err(error) => Err(error.to_string()),
    }
}

/// A Link of which only the status is asked.
#[derive(Deserialize)]
struct WithStatus {
    #[serde(default)]
    status: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct WithStatuses {
    items: Vec<WithStatus>,
}

/// Reads the status as it is.
async fn read(
    term: &Term,
    link: &LinkState,
    version: &str,
    permit: Permit<'_>,
) -> Result<Arc<str>, String> {
    // A list, which needs no right but that of the watch.
    let one = ListParams::default().fields(&format!("metadata.name={}", link.name));
    let request = Request::new(links_path(term, version)).list(&one);
    let found = call::<WithStatuses>(&term.client, request, permit).await;
    let found = found.map_err(|error| error.to_string())?.items.into_iter().next();
    let status = found.and_then(|link| link.status);
    let status: Arc<str> = status.map(|status| normal(status.get())).unwrap_or_default().into();
    *link.last_status() = Some(Arc::clone(&status));
    Ok(status)
}

fn links_path(term: &Term, version: &str) -> String {
    LinkObject::url_path(&resource(version), Some(&term.settings.namespace))
}

/// Conditions that have turned false, as Events.
fn announce(term: &Term, link: &LinkState, status: &LinkStatus, told: &mut Vec<LinkCondition>) {
    for condition in &status.conditions {
        let reason = match condition.kind {
            LinkConditionType::CredentialsValid => "CredentialsInvalid",
            LinkConditionType::TargetReachable => "TargetUnreachable",
            LinkConditionType::SpecValid => "InvalidLink",
            LinkConditionType::ServicesMirrored if condition.reason == TOO_LARGE => TOO_LARGE,
            LinkConditionType::GatewayAlive | LinkConditionType::ServicesMirrored => continue,
        };
        let before = told.iter().find(|before| before.kind == condition.kind);
        let is_as_before = |before: &LinkCondition| {
            before.status == condition.status
                && (before.reason == condition.reason || reason != TOO_LARGE)
        };
        let is_news = !before.is_some_and(is_as_before);
        if condition.status == ConditionStatus::False && is_news {
            term.events.link(link, reason, &condition.message);
        }
    }
    told.clone_from(&status.conditions);
}

fn status_of(link: &LinkState) -> LinkStatus {
    let (mirrored, federated) = link.statuses();
    let parsed = link.parsed();
    let mut conditions =
        vec![credentials(link), gateway(link), spec_valid(&parsed.problems), target(link)];
    conditions.extend(left_undone(link));
    LinkStatus { conditions, mirrored, federated, generation: parsed.link.generation }
}

/// Why its work is not done, or not all of it: because of another Link, of its Lease, or of too large
/// a target.
fn left_undone(link: &LinkState) -> Option<LinkCondition> {
    let kind = LinkConditionType::ServicesMirrored;
    if let Some(older) = &link.older {
        let message = format!(
            "the Link {older} has the same targetClusterName and is older: it works, this one does \
             nothing; delete one of them or give it another targetClusterName"
        );
        let status = ConditionStatus::False;
        return Some(LinkCondition { kind, status, reason: "DuplicateTarget", message });
    }
    let lease = format!("the lease service-mirror-write-{}", link.name);
    let (status, reason, message) = match &*link.lease.standing().borrow() {
        Standing::Held | Standing::Unknown if link.remote().lacks() => {
            (ConditionStatus::False, TOO_LARGE, LACKS_ROOM.to_owned())
        }
        Standing::Held | Standing::Unknown => return None,
        Standing::HeldBy(holder) => {
            let message = format!(
                "{holder} holds {lease} and renews it: the Link is left to it; scale that \
                 controller down to let this one take over"
            );
            (ConditionStatus::False, "LeaseHeldByOther", message)
        }
        Standing::Failed(failure, text) => {
            (ConditionStatus::Unknown, failure.reason(), format!("{lease} cannot be taken: {text}"))
        }
    };
    Some(LinkCondition { kind, status, reason, message })
}

fn credentials(link: &LinkState) -> LinkCondition {
    let view = credentials_view(link);
    condition(LinkConditionType::CredentialsValid, &view)
}

fn target(link: &LinkState) -> LinkCondition {
    condition(LinkConditionType::TargetReachable, &target_view(link))
}

fn gateway(link: &LinkState) -> LinkCondition {
    if link.parsed().link.gateway.is_none() {
        let message = "the Link names no gateway".to_owned();
        let (kind, status) = (LinkConditionType::GatewayAlive, ConditionStatus::Unknown);
        return LinkCondition { kind, status, reason: "NoGateway", message };
    }
    let addresses = link.addresses.load();
    let reports = addresses.iter().filter_map(|view| {
        let is_up = match view.liveness {
            "alive" => Some(true),
            "down" => Some(false),
            _ => None,
        };
        let reason = view.reason.as_deref().filter(|_| is_up != Some(true)).unwrap_or_default();
        Some(AddressReport { address: view.address.parse().ok()?, is_up, reason })
    });
    gateway_alive(&reports.collect::<Vec<_>>())
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
    // A Secret that cannot be read takes nothing from the client that was made of it.
    let unreadable = credentials.unreadable.as_ref().filter(|_| credentials.client.is_none());
    match (credentials.problem.as_ref().or(unreadable), &credentials.client) {
        (Some((reason, text)), _) => {
            ConditionView { status: "False", reason, message: text.to_string() }
        }
        (None, Some(_)) => {
            ConditionView { status: "True", reason: "Loaded", message: String::new() }
        }
        (None, None) => {
            ConditionView { status: "Unknown", reason: "Pending", message: String::new() }
        }
    }
}

/// Whether the target's API server answers.
pub fn target_view(link: &LinkState) -> ConditionView {
    let remote = link.remote();
    if let Some((watch, (failure, text))) = remote.failures().into_iter().next() {
        let message = match failure {
            Failure::Forbidden => format!(
                "the credentials lack the right to list and watch {watch} (list {watch}); nothing \
                 new that needs it is mirrored, what exists is kept: {text}"
            ),
            _ => format!("watching {watch}: {text}; mirrors stay as they are"),
        };
        return ConditionView { status: "False", reason: failure.reason(), message };
    }
    let complete = remote.completeness();
    match link.credentials.borrow().client {
        None => {
            ConditionView { status: "Unknown", reason: "NoCredentials", message: String::new() }
        }
        Some(_) if remote.lacks() => {
            ConditionView { status: "True", reason: "Watching", message: LACKS_ROOM.to_owned() }
        }
        Some(_) if complete.services => {
            ConditionView { status: "True", reason: "Watching", message: String::new() }
        }
        Some(_) => ConditionView { status: "Unknown", reason: "Listing", message: String::new() },
    }
}
