//! What the mirror would do, without doing it: for `linkerd-gateway mirror plan`.
//!
//! The same watches and reconcilers as ever, with a writer that only keeps what it is given. It
//! takes no Lease, writes no status and says no Events.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::apply::{Planned, Writer};
use super::lease::{Candidate, LeaseSettings};
use super::link::LinkState;
use super::remote::LACKS_ROOM;
use super::term::Term;
use super::{Mirror, federation, links, local};
use crate::control::kubernetes::client::{self, ClientError};

/// Between two looks at whether everything is decided.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Looks in a row that must find nothing to do.
const QUIET_LOOKS: u32 = 3;

/// A plan.
#[derive(Debug, Default)]
pub struct MirrorPlan {
    /// The writes, in the order in which they would be made.
    pub writes: Vec<Planned>,
    /// What could not be decided in time, and why.
    pub undecided: Vec<String>,
    /// Links that were looked at.
    pub links: usize,
}

impl Mirror {
    /// Decides everything that can be decided within `limit`.
    ///
    /// # Errors
    /// When there is no client of our own API server.
    pub async fn plan(&self, limit: Duration) -> Result<MirrorPlan, ClientError> {
        let client = client::own(&self.access).await?;
        let nobody: Arc<str> = "plan".into();
        let candidate = Candidate::new(LeaseSettings {
            namespace: Arc::clone(&self.settings.namespace),
            name: Arc::clone(&nobody),
            identity: Arc::clone(&nobody),
            duration: self.settings.lease_duration,
        });
        candidate.hold().assume();
        let writer = Writer::Record(Mutex::default());
        let term = Arc::new(self.new_term(&client, &candidate, &nobody, writer));
        term.local_lease.hold().assume();
        let stop = CancellationToken::new();
        let undecided = tokio::select! {
            undecided = settled(&term, limit) => undecided,
            () = local::watch::run(&term) => Vec::new(),
            () = federation::run(&term) => Vec::new(),
            () = links::run(Arc::clone(&term), stop.clone()) => Vec::new(),
        };
        stop.cancel();
        let links = term.links.working().len();
        let writes = match &term.writer {
            Writer::Record(writes) => {
                std::mem::take(&mut *writes.lock().unwrap_or_else(PoisonError::into_inner))
            }
            Writer::Api => Vec::new(),
        };
        Ok(MirrorPlan { writes, undecided, links })
    }
}

/// Waits until everything is decided, or for `limit`: what is not decided then.
async fn settled(term: &Term, limit: Duration) -> Vec<String> {
    let until = Instant::now() + limit;
    let mut quiet = 0;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let open = open(term);
        quiet = if open.is_empty() { quiet + 1 } else { 0 };
        if quiet >= QUIET_LOOKS || Instant::now() >= until {
            return open;
        }
    }
}

/// What is not decided yet.
fn open(term: &Term) -> Vec<String> {
    let mut open = Vec::new();
    if !term.local.is_complete() {
        open.push("our own cluster: its mirrors are not listed".to_owned());
    }
    let (_, problem) = term.links.standing();
    if !term.links.is_complete() {
        open.push(problem.map_or("the Links are not listed".to_owned(), |text| text.to_string()));
    }
    let links = term.links.working();
    open.extend(
        links.iter().filter_map(|link| Some(format!("Link {}: {}", link.name, waits(link)?))),
    );
    if !term.federation.is_idle() {
        open.push("federated Services are not decided".to_owned());
    }
    open
}

/// What a Link waits for.
fn waits(link: &LinkState) -> Option<String> {
    let parsed = link.parsed();
    if parsed.is_frozen() {
        // That is a decision: nothing is done.
        return None;
    }
    {
        let credentials = link.credentials.borrow();
        if let Some((_, text)) = credentials.problem.as_ref().or(credentials.unreadable.as_ref()) {
            return Some(text.to_string());
        }
    }
    let remote = link.remote();
    if let Some((watch, (_, text))) = remote.failures().into_iter().next() {
        return Some(format!("{watch}: {text}"));
    }
    if remote.lacks() {
        return Some(LACKS_ROOM.to_owned());
    }
    let complete = remote.completeness();
    let is_listed = complete.services
        && complete.namespaces
        && (complete.endpoints || remote.wanted.selectors.is_empty());
    if !is_listed {
        return Some("its target is not listed".to_owned());
    }
    if link.gateway.load().addresses.is_none() && parsed.link.gateway.is_some() {
        return Some("its gateway has no address".to_owned());
    }
    (!link.queue.is_idle()).then(|| "not everything is decided".to_owned())
}
