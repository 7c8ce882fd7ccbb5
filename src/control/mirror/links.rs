//! The Links of a namespace: watched in whichever version is served, each given a task of its own.
//!
//! Run by `control::mirror` while this process leads. A Link's task is started, told of a new
//! specification, or stopped; what one of them does never delays another. A cluster without the Link
//! CRD is no error: it is looked for again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use kube::api::{ApiResource, ListParams};
use kube::core::Object;
use kube::{Api, Client};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::link::{self, LinkState};
use super::term::Term;
use super::view::{modes, problems};
use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::{Said, Scope, chain, follow};
use crate::model::kubernetes::index::{Index, WatchEvent};
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::{ParsedLink, parse};
use crate::model::task::Task;
use crate::runtime::supervise::Supervisor;

/// The resource, and what its watch is called.
pub const LINKS: &str = "links";
/// Served versions, the one that knows most first.
const VERSIONS: [&str; 3] = ["v1alpha3", "v1alpha2", "v1alpha1"];
/// Between two looks for the CRD.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// One look.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the task of a Link that is gone may take to end.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// A Link as the API has it. Its status, which may weigh a megabyte and changes whenever we write it,
/// is not looked at.
pub type LinkObject = Object<Option<Value>, IgnoredAny>;

/// How a Link resource of this version is reached.
pub fn resource(version: &str) -> ApiResource {
    ApiResource {
        group: "multicluster.linkerd.io".into(),
        version: version.into(),
        api_version: format!("multicluster.linkerd.io/{version}"),
        kind: "Link".into(),
        plural: LINKS.into(),
    }
}

/// The task of one Link.
struct Running {
    state: Arc<LinkState>,
    supervisor: Supervisor,
    stop: CancellationToken,
}

/// Runs for ever; ends its Links' tasks when `stop` is cancelled.
pub async fn run(term: Arc<Term>, stop: CancellationToken) {
    // Ends the tasks also when this one panics: it starts them anew then.
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    let links = Mutex::new(Index::<Arc<ParsedLink>>::default());
    let changed = Notify::new();
    let mut running = BTreeMap::new();
    let tasks = async {
        loop {
            changed.notified().await;
            let (now, is_complete) = {
                let links = links.lock().unwrap_or_else(PoisonError::into_inner);
                let all = links.iter().map(|(key, parsed)| (key.clone(), Arc::clone(parsed)));
                (all.collect::<BTreeMap<_, _>>(), links.is_complete())
            };
            if is_complete {
                reconcile(&term, &mut running, now, &stop).await;
            }
        }
    };
    tokio::select! {
        () = tasks => {}
        () = watch(&term, &links, &changed) => {}
        () = stop.cancelled() => {}
    }
    stop.cancel();
    join_all(running.into_values().map(|ended| end(&term, ended))).await;
}

/// Watches in the best version that is served, and looks for one while there is none.
async fn watch(term: &Term, links: &Mutex<Index<Arc<ParsedLink>>>, changed: &Notify) {
    let mut told = None;
    loop {
        match served(term).await {
            Ok(Some(version)) => {
                tracing::info!(%version, namespace = %term.settings.namespace, "watching Links");
                term.links.version(Some(version));
                term.links.problem(None);
                told = None;
                let missing = Notify::new();
                tokio::select! {
                    () = watch_version(term, version, links, changed, &missing) => {}
                    () = missing.notified() => {}
                }
            }
            Ok(None) => tell(
                term,
                &mut told,
                "the API server serves no Links: install the CRD \
                 links.multicluster.linkerd.io (config/crds, or Linkerd's multicluster extension)",
            ),
            Err(text) => tell(term, &mut told, &format!("Links cannot be listed: {text}")),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Says a problem once, until it is another.
fn tell(term: &Term, told: &mut Option<String>, text: &str) {
    if told.as_deref() != Some(text) {
        tracing::warn!("the mirror waits: {text}");
        term.links.problem(Some(text));
        *told = Some(text.to_owned());
    }
}

/// The best version that is served. Asked by a list, which needs no right but that of the watch.
async fn served(term: &Term) -> Result<Option<&'static str>, String> {
    for version in VERSIONS {
        let (api, one) = (api(term, term.client.clone(), version), ListParams::default().limit(1));
        let list = api.list(&one);
        match timeout(CALL_TIMEOUT, list).await {
            Ok(Ok(_)) => return Ok(Some(version)),
            Ok(Err(error)) if Failure::of(&error) == Failure::NotFound => {}
            Ok(Err(error)) => return Err(chain(&error)),
            Err(_) => return Err(format!("no answer for {CALL_TIMEOUT:?}")),
        }
    }
    Ok(None)
}

fn api(term: &Term, client: Client, version: &str) -> Api<LinkObject> {
    Api::namespaced_with(client, &term.settings.namespace, &resource(version))
}

async fn watch_version(
    term: &Term,
    version: &'static str,
    links: &Mutex<Index<Arc<ParsedLink>>>,
    changed: &Notify,
    missing: &Notify,
) {
    let api = |client| api(term, client, version);
    let convert = |object: LinkObject| {
        let metadata = serde_json::to_value(object.metadata).ok()?;
        Some(Arc::new(parse(&json!({ "metadata": metadata, "spec": object.spec }))))
    };
    let scope = Scope::default();
    follow(&term.client, api, &scope, &term.links.health, convert, |said| match said {
        Said::Works => {
            term.links.problem(None);
            term.watch_failing("", LINKS, None);
        }
        Said::Event(event) => {
            let is_end = matches!(event, WatchEvent::ListEnds);
            let news = links.lock().unwrap_or_else(PoisonError::into_inner).take(event);
            if is_end || !news.is_empty() {
                changed.notify_one();
            }
        }
        Said::Expired(_) => {}
        Said::Failed(Failure::NotFound, _) => missing.notify_one(),
        Said::Failed(failure, text) => {
            term.links.problem(Some(&format!("Links: {}: {text}", failure.reason())));
            term.watch_failing("", LINKS, Some((failure, text)));
        }
    })
    .await;
}

/// Starts, tells and stops tasks, so that each of `now` has what it needs.
async fn reconcile(
    term: &Arc<Term>,
    running: &mut BTreeMap<ObjectKey, Running>,
    now: BTreeMap<ObjectKey, Arc<ParsedLink>>,
    stop: &CancellationToken,
) {
    let now = choose(now);
    let is_same = |key: &ObjectKey, old: &Running| {
        let parsed = old.state.parsed();
        now.get(key).is_some_and(|(new, older)| {
            let new = &new.link;
            new.uid == parsed.link.uid
                && new.cluster == parsed.link.cluster
                && *older == old.state.older
        })
    };
    let gone: Vec<_> = running.extract_if(.., |key, old| !is_same(key, old)).collect();
    if !gone.is_empty() {
        // Nothing is measured of them any more when their series go. One that is replaced is missing
        // for a moment: nobody may think that its target is no longer linked.
        publish(term, running, false);
    }
    for (_, gone) in gone {
        tracing::info!(link = %gone.state.name, "the Link's work ends; its mirrors stay");
        gone.stop.cancel();
        end(term, gone).await;
    }
    for (key, (parsed, older)) in now {
        match running.get(&key) {
            Some(old) => old.state.replace(term, &parsed),
            None => drop(running.insert(key, start(term, &parsed, older, stop))),
        }
    }
    publish(term, running, true);
    // Entries of a cluster whose Link is gone go, those of a new one come.
    term.federation.mark_all(term.local.federated());
}

/// Says which Links there are, and whether these are all.
fn publish(term: &Term, running: &BTreeMap<ObjectKey, Running>, is_complete: bool) {
    let (mut working, mut idle) = (BTreeMap::new(), Vec::new());
    for state in running.values().map(|running| Arc::clone(&running.state)) {
        match state.older {
            None => drop(working.insert(Arc::clone(&state.cluster), state)),
            Some(_) => idle.push(state),
        }
    }
    term.links.replace(working, idle, is_complete);
}

/// Of Links with one target the oldest works: the others are given its name.
fn choose(
    now: BTreeMap<ObjectKey, Arc<ParsedLink>>,
) -> BTreeMap<ObjectKey, (Arc<ParsedLink>, Option<Arc<str>>)> {
    let mut oldest: BTreeMap<Arc<str>, (Arc<str>, ObjectKey)> = BTreeMap::new();
    for (key, parsed) in &now {
        let link = &parsed.link;
        let this = (Arc::clone(&link.created), key.clone());
        let best = oldest.entry(Arc::clone(&link.cluster)).or_insert_with(|| this.clone());
        if this < *best {
            *best = this;
        }
    }
    let older = |key: &ObjectKey, parsed: &ParsedLink| {
        let (_, oldest) = oldest.get(&parsed.link.cluster)?;
        (oldest != key).then(|| Arc::clone(&oldest.name))
    };
    now.into_iter()
        .map(|(key, parsed)| {
            let older = older(&key, &parsed);
            (key, (parsed, older))
        })
        .collect()
}

fn start(
    term: &Arc<Term>,
    parsed: &Arc<ParsedLink>,
    older: Option<Arc<str>>,
    stop: &CancellationToken,
) -> Running {
    let link = &parsed.link;
    let name = &link.key.name;
    tracing::info!(link = %name, cluster = %link.cluster, modes = ?modes(link), "Link found");
    if let Some(older) = &older {
        tracing::warn!(link = %name, cluster = %link.cluster,
            "the Link {older} has the same targetClusterName and is older; this one does nothing");
    }
    for problem in problems(parsed) {
        tracing::warn!(link = %name, "the Link is wrong: {problem}");
    }
    let state = Arc::new(LinkState::new(term, parsed, older));
    let stop = stop.child_token();
    let supervisor = Supervisor::new(&term.metrics, &stop);
    let (term, of) = (Arc::clone(term), Arc::clone(&state));
    supervisor.spawn_until(supervisor.token(), Task::MirrorLink, move || {
        let (term, of) = (Arc::clone(&term), Arc::clone(&of));
        async move {
            link::run(&term, &of).await;
            Ok(())
        }
    });
    Running { state, supervisor, stop }
}

/// Waits for a task whose token is cancelled, and gives its Lease away.
async fn end(term: &Term, ended: Running) {
    if timeout(END_DEADLINE, ended.supervisor.finished()).await.is_err() {
        tracing::warn!(link = %ended.state.name, "the Link's task does not end; left behind");
    }
    ended.state.lease.release(&term.client).await;
    if ended.state.older.is_none() {
        term.metrics.gateway_gone(&ended.state.cluster);
        term.metrics.mirror_gone(&ended.state.cluster);
        term.outages.forget(&ended.state.cluster);
    }
}
