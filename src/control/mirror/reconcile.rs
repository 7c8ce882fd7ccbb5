//! One Link's groups, each brought from what is observed to what is wanted.
//!
//! Run by the Link's task. Level-triggered: a group is looked at when anything that it depends on
//! has changed, and nothing is remembered but what the indexes hold. The model decides, `apply`
//! writes, and what was written counts at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use kube::api::PostParams;
use kube::core::Request;
use serde_json::{Value, json};

use super::apply::{Permit, WriteError, Writer, call, look};
use super::link::{Changed, LinkState};
use super::queue::Done;
use super::term::Term;
use crate::control::kubernetes::error::Failure;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::mirror::condition::{MirrorCondition, Reason};
use crate::model::mirror::desired::{Desired, desired};
use crate::model::mirror::group::{GroupKey, ObservedGroup};
use crate::model::mirror::keys;
use crate::model::mirror::object::{Kind, Object, Observed};
use crate::model::mirror::plan::{Plan, Write, plan};
use crate::model::mirror::remote::{Context, RemoteView};
use crate::model::mirror::status::ServiceStatus;

/// Looks at one group in a row; each follows writes, or news about what stood against one.
const MOST_ROUNDS: usize = 16;
/// Between two looks at an object that is not ours: it is not watched.
pub const FOREIGN_INTERVAL: Duration = Duration::from_secs(60);
/// After an object was refused as invalid: any change of what it is made of is looked at at once.
const INVALID_INTERVAL: Duration = Duration::from_secs(300);
/// After a namespace was missing although it was seen: the watch of namespaces is late, or the server.
pub const NAMESPACE_INTERVAL: Duration = Duration::from_secs(2);
/// While a Lease is not held: the task ends in a moment, or goes on.
pub const NOT_PERMITTED: Duration = Duration::from_secs(1);

/// Works the queue off for ever.
pub async fn run(term: &Arc<Term>, link: &Arc<LinkState>) {
    link.mark_everything(&term.local);
    let mut working: FuturesUnordered<BoxFuture<'_, (GroupKey, Done)>> = FuturesUnordered::new();
    loop {
        let mut next = pin!(link.queue.next());
        tokio::select! {
            group = &mut next, if working.len() < term.settings.max_writes_in_flight => {
                working.push(Box::pin(async move {
                    let done = group_done(term, link, &group).await;
                    (group, done)
                }));
            }
            Some((group, done)) = working.next() => link.queue.done(group, done),
        }
    }
}

/// What one look decides.
struct Look {
    service: Option<ObjectKey>,
    /// That there is no such Service is known.
    is_gone: bool,
    local: ObjectKey,
    condition: Option<MirrorCondition>,
    plan: Plan,
}

async fn group_done(term: &Arc<Term>, link: &Arc<LinkState>, group: &GroupKey) -> Done {
    let (leadership, hold) = (&*term.leadership, link.lease.hold());
    let holds = [leadership, &*hold];
    let permit = Permit { holds: &holds };
    let mut created = false;
    for _ in 0..MOST_ROUNDS {
        let look = decide(term, link, group);
        if missing_namespace(&look) && term.settings.create_namespaces {
            match create_namespace(term, link, &group.0.namespace, permit).await {
                Ok(()) => continue,
                Err(error) => return failed(term, link, &look, "create its namespace", &error),
            }
        }
        if look.plan.writes.is_empty() {
            let is_blocked = !look.plan.conflicts.is_empty();
            let condition = match look.plan.conflicts.first() {
                Some(conflict) => {
                    Some(MirrorCondition::failed(Reason::Conflict, conflict.message.clone()))
                }
                None => look.condition.clone(),
            };
            say(term, link, &look, condition);
            for conflict in look.plan.conflicts {
                // Whoever made it may have taken it away: it is not watched.
                if !still_there(term, link, conflict.kind, &conflict.key, permit).await {
                    return Done::After(Duration::ZERO);
                }
            }
            return if is_blocked { Done::After(FOREIGN_INTERVAL) } else { Done::Settled };
        }
        for write in &look.plan.writes {
            match term.writer.write(&term.client, write, permit).await {
                Ok(written) => {
                    match write {
                        Write::Create(Object::Service(_)) => created = true,
                        // Its endpoints were missing although it was there.
                        Write::Create(_) if !created => term.metrics.mirror_repaired(&link.cluster),
                        _ => {}
                    }
                    wrote(term, link, write, written);
                }
                Err(error) => {
                    if let Some(done) = refused(term, link, &look, write, error, permit).await {
                        return done;
                    }
                    // What stood against it is known now: look again.
                    break;
                }
            }
        }
    }
    tracing::warn!(link = %link.name, group = %group.0, "no end of changes; looked at again later");
    Done::Failed
}

/// Asks the model.
fn decide(term: &Term, link: &LinkState, group: &GroupKey) -> Look {
    let parsed = link.parsed();
    let input = link.remote().input(group);
    let gateway = link.gateway.load();
    let context = Context {
        link: &parsed.link,
        is_frozen: parsed.is_frozen(),
        options: term.options,
        gateway: &gateway,
        services_complete: input.complete.services,
        endpoints_complete: input.complete.endpoints,
        namespaces_complete: input.complete.namespaces,
    };
    let view = RemoteView {
        service: input.service.as_deref(),
        endpoints: input.endpoints.as_ref(),
        namespace: input.namespace.as_ref(),
        namespace_exists: term.local.has_namespace(&group.0.namespace),
    };
    let observed = term.local.group(group, std::iter::empty());
    let desired = desired(&context, &view, &observed);
    let observed = everything(term, link, group, &desired);
    let plan = plan(&parsed.link, group, &desired, &observed);
    Look {
        is_gone: input.service.is_none() && input.complete.services,
        service: input.service.map(|service| service.key.clone()),
        local: group.0.clone(),
        condition: desired.condition,
        plan,
    }
}

/// The group, and whatever else has one of the names that are wanted.
fn everything(term: &Term, link: &LinkState, group: &GroupKey, desired: &Desired) -> ObservedGroup {
    let mut observed = term.local.group(group, desired.service_keys());
    let services = desired.service_keys().cloned();
    let names: Vec<_> =
        services.chain(desired.slices.iter().map(|slice| slice.meta.key.clone())).collect();
    link.foreign_of(&names).into_iter().for_each(|foreign| observed.add(foreign));
    observed
}

fn missing_namespace(look: &Look) -> bool {
    look.condition.as_ref().is_some_and(|said| said.reason == Reason::MissingNamespace)
}

/// The write is done: it counts at once.
fn wrote(term: &Term, link: &LinkState, write: &Write, written: Option<Observed<Object>>) {
    let (verb, (kind, key)) = (write.verb(), write.target());
    // Services are what people know; their endpoints change with every liveness.
    match kind {
        Kind::Service => {
            tracing::info!(link = %link.name, kind = kind.label(), object = %key, "{verb}d");
        }
        _ => tracing::debug!(link = %link.name, kind = kind.label(), object = %key, "{verb}d"),
    }
    term.metrics.mirror_write(&link.cluster, verb, kind.label(), "ok");
    match written {
        Some(observed) => term.local.put(observed),
        None => term.local.remove(kind, key),
    }
}

/// A write was refused. `None` when what stood against it is known now and another look helps.
async fn refused(
    term: &Term,
    link: &LinkState,
    look: &Look,
    write: &Write,
    error: WriteError,
    permit: Permit<'_>,
) -> Option<Done> {
    let (verb, (kind, key)) = (write.verb(), write.target());
    let Some(failure) = error.failure() else { return Some(Done::After(NOT_PERMITTED)) };
    term.metrics.mirror_write(&link.cluster, verb, kind.label(), failure.reason());
    let is_stale = match failure {
        Failure::AlreadyExists | Failure::Conflict => true,
        // Gone, or, of a create, its namespace.
        Failure::NotFound if verb == "create" && kind != Kind::Slice => {
            let condition = MirrorCondition::missing_namespace(&key.namespace);
            say(term, link, look, Some(condition));
            return Some(Done::After(NAMESPACE_INTERVAL));
        }
        Failure::NotFound => verb != "create",
        _ => false,
    };
    if is_stale {
        match self::look(&term.client, kind, key, permit).await {
            Ok(found) => {
                note(term, link, kind, key, found);
                return None;
            }
            Err(error) => return Some(failed(term, link, look, "read what is there", &error)),
        }
    }
    let what = format!("{verb} the {} {key}", kind.label());
    Some(failed(term, link, look, &what, &error))
}

/// Takes what a look at one object found.
fn note(
    term: &Term,
    link: &LinkState,
    kind: Kind,
    key: &ObjectKey,
    found: Option<Observed<Object>>,
) {
    let is_watched = |object: &Object| match object.kind() {
        Kind::Slice => object.meta().has_label(keys::MANAGED_BY, keys::MANAGER),
        _ => object.meta().has_label(keys::MIRRORED, keys::TRUE),
    };
    link.foreign(kind, key, None);
    match found {
        Some(found) if is_watched(&found.object) => term.local.put(found),
        Some(found) => {
            term.local.remove(kind, key);
            link.foreign(kind, key, Some(found));
        }
        None => term.local.remove(kind, key),
    }
}

/// Looks again at an object in the way, unless it is watched.
async fn still_there(
    term: &Term,
    link: &LinkState,
    kind: Kind,
    key: &ObjectKey,
    permit: Permit<'_>,
) -> bool {
    let known = link.foreign_of(std::slice::from_ref(key));
    let Some(known) = known.iter().find(|known| known.object.kind() == kind) else { return true };
    match self::look(&term.client, kind, key, permit).await {
        Ok(found) => {
            let same = found.as_ref().is_some_and(|found| found.version == known.version);
            note(term, link, kind, key, found);
            same
        }
        Err(_) => true,
    }
}

fn failed(term: &Term, link: &LinkState, look: &Look, what: &str, error: &WriteError) -> Done {
    let Some(failure) = error.failure() else { return Done::After(NOT_PERMITTED) };
    if let Some(pause) = error.retry_after() {
        link.queue.pause(pause);
    }
    let text = format!("cannot {what}: {}: {error}", failure.reason());
    match term.is_told(failure) {
        true => tracing::debug!(link = %link.name, mirror = %look.local, "{text}; tried again"),
        false => tracing::warn!(link = %link.name, mirror = %look.local, "{text}; tried again"),
    }
    link.error(format!("{}: {text}", look.local));
    let reason = match failure {
        Failure::Invalid => Reason::InvalidService,
        _ => Reason::Error,
    };
    say(term, link, look, Some(MirrorCondition::failed(reason, text)));
    again(error)
}

/// When a write that has failed is tried again.
pub fn again(error: &WriteError) -> Done {
    match error.is_of_the_object() {
        true => Done::After(INVALID_INTERVAL),
        false => Done::Failed,
    }
}

/// Says what has become of the Service, in the status and, when that is news, in an Event.
fn say(term: &Term, link: &LinkState, look: &Look, condition: Option<MirrorCondition>) {
    if look.service.is_none() && !look.is_gone {
        // What was said of it holds until more is known.
        return;
    }
    let said = look.service.clone().zip(condition);
    let status = said.clone().map(|(remote, condition)| ServiceStatus {
        remote,
        local: look.local.clone(),
        condition,
    });
    let Some(Changed(before)) = link.says(&look.local, status) else { return };
    let Some((service, condition)) = said else { return };
    let was = before.map(|before| before.condition.reason);
    if was != Some(condition.reason) {
        term.events.service(link, &service, &condition);
    }
}

/// Creates the namespace that a mirror, or a federated Service, needs.
pub async fn create_namespace(
    term: &Term,
    link: &LinkState,
    namespace: &str,
    permit: Permit<'_>,
) -> Result<(), WriteError> {
    if let Writer::Record(_) = term.writer {
        term.local.namespace_created(namespace);
        return Ok(());
    }
    let body = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": { keys::MIRRORED: keys::TRUE, keys::CLUSTER: &*link.cluster },
        },
    });
    let request = Request::new("/api/v1/namespaces")
        .create(&PostParams::default(), body.to_string().into_bytes());
    match call::<Value>(&term.client, request, permit).await {
        Ok(_) => tracing::info!(link = %link.name, %namespace, "namespace created"),
        Err(error) if error.failure() == Some(Failure::AlreadyExists) => {}
        Err(error) => return Err(error),
    }
    term.local.namespace_created(namespace);
    Ok(())
}
