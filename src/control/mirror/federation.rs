//! Federated Services: one reconciler over the members in all targets and in our own cluster.
//!
//! Run by `control::mirror` while this process leads. A cluster whose members are not known (its
//! Link is frozen, led by another, or not listed yet) keeps its entry as it is.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::apply::{Permit, WriteError, look};
use super::lease::{Hold, Standing};
use super::link::{Changed, LinkState};
use super::queue::Done;
use super::reconcile::{
    FOREIGN_INTERVAL, NAMESPACE_INTERVAL, NOT_PERMITTED, again, create_namespace,
};
use super::remote::Remote;
use super::term::Term;
use crate::control::kubernetes::error::Failure;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::ParsedLink;
use crate::model::mirror::condition::{MirrorCondition, Reason};
use crate::model::mirror::federated::{
    FederatedPlan, FederatedView, LinkMember, MemberCluster, Membership, federated_key, plan,
};
use crate::model::mirror::keys;
use crate::model::mirror::object::{Kind, MirrorService, Object, Observed};
use crate::model::mirror::plan::Write;
use crate::model::mirror::remote::RemoteService;
use crate::model::mirror::status::ServiceStatus;

/// Looks at one Service in a row.
const MOST_ROUNDS: usize = 8;

/// Works the queue off for ever.
pub async fn run(term: &Arc<Term>) {
    // The sender lives as long as the term.
    let _ = term.local_complete.subscribe().wait_for(|complete| *complete).await;
    term.federation.clear();
    term.federation.mark_all(term.local.federated());
    for link in term.links.working() {
        term.federation.mark_all(link.members(&term.local));
    }
    let mut working: FuturesUnordered<BoxFuture<'_, (ObjectKey, Done)>> = FuturesUnordered::new();
    loop {
        let mut next = pin!(term.federation.next());
        tokio::select! {
            member = &mut next, if working.len() < term.settings.max_writes_in_flight => {
                working.push(Box::pin(async move {
                    let done = one(term, &member).await;
                    (member, done)
                }));
            }
            Some((member, done)) = working.next() => term.federation.done(member, done),
        }
    }
}

/// What is known of one Link's member, owned.
struct Known {
    link: Arc<LinkState>,
    parsed: Arc<ParsedLink>,
    member: Member,
}

enum Member {
    Unknown,
    No,
    Yes(Arc<RemoteService>),
}

impl Member {
    fn view(&self) -> Membership<'_> {
        match self {
            Self::Unknown => Membership::Unknown,
            Self::No => Membership::No,
            Self::Yes(service) => Membership::Yes(service),
        }
    }
}

async fn one(term: &Arc<Term>, member: &ObjectKey) -> Done {
    let mut foreign: Option<Observed<MirrorService>> = None;
    for _ in 0..MOST_ROUNDS {
        let links: Vec<_> =
            term.links.working().into_iter().map(|link| known(link, member)).collect();
        let local = local(term, member);
        let key = federated_key(member);
        let observed = term.local.service(&key).or_else(|| foreign.clone());
        let FederatedPlan { plan, conditions } =
            decide(term, member, &links, &local, observed.as_ref());
        let holds: Vec<_> = links.iter().map(|known| known.link.lease.hold()).collect();
        let of_local = term.local_lease.hold();
        let permit = permitted(term, &links, &holds, &local, &of_local);
        let permit = Permit { holds: &permit };
        let mut has_failed = false;
        if let Some(link) = wants_namespace(term, &links, &conditions) {
            match create_namespace(term, link, &member.namespace, permit).await {
                Ok(()) => continue,
                Err(error) if error.failure().is_none() => return Done::After(NOT_PERMITTED),
                Err(error) => {
                    let text = format!("cannot create the namespace {}: {error}", member.namespace);
                    tracing::warn!(link = %link.name, service = %member, "{text}; tried again");
                    link.error(format!("{member}: {text}"));
                    has_failed = true;
                }
            }
        }
        let say_all = |failed: Option<&MirrorCondition>| {
            for (cluster, condition) in &conditions {
                let failed = failed.filter(|_| condition.is_mirrored);
                let condition = failed.unwrap_or(condition).clone();
                say(term, &links, cluster, member, &key, Some(condition));
            }
        };
        let Some(write) = plan.writes.first() else {
            let conflict = plan.conflicts.first();
            let failed =
                conflict.map(|it| MirrorCondition::failed(Reason::Conflict, it.message.clone()));
            say_all(failed.as_ref());
            forget(term, &links, &conditions, member, &key);
            return match plan.conflicts.is_empty() {
                true if has_failed => Done::Failed,
                true => Done::Settled,
                false => Done::After(FOREIGN_INTERVAL),
            };
        };
        match term.writer.write(&term.client, write, permit).await {
            Ok(written) => wrote(term, write, &key, written),
            Err(error) => match refused(term, write, &key, error, permit).await {
                Ok(found) => foreign = found,
                Err((done, failed)) => {
                    failed.iter().for_each(|failed| say_all(Some(failed)));
                    return done;
                }
            },
        }
    }
    tracing::warn!(service = %member, "no end of changes to a federated Service; looked at again later");
    Done::Failed
}

/// The Link for which the namespace is to be made, when that is what stands in the way.
fn wants_namespace<'a>(
    term: &Term,
    links: &'a [Known],
    conditions: &[(MemberCluster, MirrorCondition)],
) -> Option<&'a LinkState> {
    let is_missing = conditions.iter().any(|(_, c)| c.reason == Reason::MissingNamespace);
    if !is_missing || !term.settings.create_namespaces {
        return None;
    }
    let member = links.iter().find(|known| matches!(known.member, Member::Yes(_)))?;
    Some(&member.link)
}

/// Only what is known by a Lease that is held has decided anything.
fn permitted<'a>(
    term: &'a Term,
    links: &[Known],
    holds: &'a [Arc<Hold>],
    local: &Member,
    of_local: &'a Hold,
) -> Vec<&'a Hold> {
    let remote = links.iter().map(|known| &known.member).zip(holds.iter().map(|hold| &**hold));
    let known = remote.chain([(local, of_local)]);
    let used = known.filter(|(member, _)| !matches!(member, Member::Unknown));
    [&*term.leadership].into_iter().chain(used.map(|(_, hold)| hold)).collect()
}

fn known(link: Arc<LinkState>, member: &ObjectKey) -> Known {
    let parsed = link.parsed();
    let remote = link.remote();
    let is_known = link.is_active() && remote.completeness().services;
    let member = if is_known { member_of(&parsed, &remote, member) } else { Member::Unknown };
    Known { link, parsed, member }
}

fn member_of(parsed: &ParsedLink, remote: &Remote, member: &ObjectKey) -> Member {
    let (service, namespace) = remote.service(member);
    let Some(service) = service else { return Member::No };
    match parsed.link.federates(&service.labels, namespace.as_ref()) {
        None => Member::Unknown,
        Some(false) => Member::No,
        Some(true) => Member::Yes(service),
    }
}

/// The local member. While another holds Linkerd's Lease for them its entry is left alone.
fn local(term: &Term, member: &ObjectKey) -> Member {
    if !term.local_lease.hold().is_held() {
        return Member::Unknown;
    }
    match term.local.member(member) {
        None => Member::Unknown,
        Some(None) => Member::No,
        // What is itself a mirror is no member, whatever labels were copied to it.
        Some(Some(service)) if service.labels.contains_key(keys::MIRRORED) => Member::No,
        Some(Some(service)) => Member::Yes(service),
    }
}

fn decide(
    term: &Term,
    member: &ObjectKey,
    links: &[Known],
    local: &Member,
    observed: Option<&Observed<MirrorService>>,
) -> FederatedPlan {
    let members: Vec<_> = links
        .iter()
        .map(|known| LinkMember { link: &known.parsed.link, member: known.member.view() })
        .collect();
    plan(&FederatedView {
        service: member,
        links: &members,
        links_complete: term.links.is_whole(),
        local: local.view(),
        local_excluded_labels: &term.excluded_labels,
        local_excluded_annotations: &term.excluded_annotations,
        namespace_exists: term.local.has_namespace(&member.namespace),
        observed,
    })
}

fn wrote(term: &Term, write: &Write, key: &ObjectKey, written: Option<Observed<Object>>) {
    let verb = write.verb();
    tracing::info!(object = %key, "federated Service {verb}d");
    term.metrics.mirror_write("", verb, Kind::Service.label(), "ok");
    match written {
        Some(observed) => term.local.put(observed),
        None => term.local.remove(Kind::Service, key),
    }
}

/// What stands against a write: another look helps, with what has the name and is not ours; or it
/// has to wait.
async fn refused(
    term: &Term,
    write: &Write,
    key: &ObjectKey,
    error: WriteError,
    permit: Permit<'_>,
) -> Result<Option<Observed<MirrorService>>, (Done, Option<MirrorCondition>)> {
    let Some(failure) = error.failure() else { return Err((Done::After(NOT_PERMITTED), None)) };
    term.metrics.mirror_write("", write.verb(), Kind::Service.label(), failure.reason());
    let is_stale =
        matches!(failure, Failure::AlreadyExists | Failure::Conflict | Failure::NotFound);
    if is_stale {
        if failure == Failure::NotFound && write.verb() == "create" {
            let condition = MirrorCondition::missing_namespace(&key.namespace);
            return Err((Done::After(NAMESPACE_INTERVAL), Some(condition)));
        }
        match look(&term.client, Kind::Service, key, permit).await {
            Ok(Some(found)) if found.object.meta().has_label(keys::MIRRORED, keys::TRUE) => {
                term.local.put(found);
                return Ok(None);
            }
            Ok(found) => {
                term.local.remove(Kind::Service, key);
                return Ok(found.and_then(|found| match found.object {
                    Object::Service(object) => Some(Observed { version: found.version, object }),
                    _ => None,
                }));
            }
            Err(_) => {}
        }
    }
    if let Some(pause) = error.retry_after() {
        term.federation.pause(pause);
    }
    let text =
        format!("cannot {} a federated Service: {}: {error}", write.verb(), failure.reason());
    match term.is_told(failure) {
        true => tracing::debug!(object = %key, "{text}; tried again"),
        false => tracing::warn!(object = %key, "{text}; tried again"),
    }
    let reason = match error.is_of_the_object() {
        true => Reason::InvalidService,
        false => Reason::Error,
    };
    Err((again(&error), Some(MirrorCondition::failed(reason, text))))
}

/// Says what has become of a member, in its Link's status.
fn say(
    term: &Term,
    links: &[Known],
    cluster: &MemberCluster,
    member: &ObjectKey,
    local: &ObjectKey,
    condition: Option<MirrorCondition>,
) {
    let MemberCluster::Remote(cluster) = cluster else { return };
    let Some(known) = links.iter().find(|known| known.link.cluster == *cluster) else { return };
    let status = condition.clone().map(|condition| ServiceStatus {
        remote: member.clone(),
        local: local.clone(),
        condition,
    });
    let Some(Changed(before)) = known.link.says_federated(member, status) else { return };
    let Some(condition) = condition else { return };
    if before.map(|before| before.condition.reason) != Some(condition.reason) {
        term.events.service(&known.link, member, &condition);
    }
}

/// Of who is no member any more nothing is said.
fn forget(
    term: &Term,
    links: &[Known],
    conditions: &[(MemberCluster, MirrorCondition)],
    member: &ObjectKey,
    local: &ObjectKey,
) {
    for known in links.iter().filter(|known| matches!(known.member, Member::No)) {
        let cluster = MemberCluster::Remote(Arc::clone(&known.link.cluster));
        if !conditions.iter().any(|(said, _)| *said == cluster) {
            say(term, links, &cluster, member, local, None);
        }
    }
}

/// Looks at every member again when Linkerd's Lease for local ones is taken or lost.
pub async fn follow_lease(term: &Arc<Term>) {
    let mut standing = term.local_lease.standing();
    let mut told = None;
    loop {
        let now = standing.borrow_and_update().clone();
        match &now {
            Standing::HeldBy(holder) if told.as_ref() != Some(&now) => tracing::info!(
                %holder,
                "another holds the lease local-service-mirror-write: members of federated Services \
                 in our own cluster are left to it"
            ),
            _ => {}
        }
        told = Some(now);
        term.federation.mark_all(term.local.federated());
        if standing.changed().await.is_err() {
            return;
        }
    }
}
