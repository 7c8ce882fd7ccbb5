//! Leases: who may write. One of ours elects the process that mirrors; Linkerd's own, one for each
//! Link, keep its controllers and us from writing the same objects.
//!
//! Run by `control::mirror` and by each Link's task. Clocks of other machines are never compared
//! with ours: a holder is gone when its Lease has not changed for as long as it promised, counted
//! from when we saw it. A holder that cannot renew stops writing before that: after two thirds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::chain;

/// Longest time between two looks at a Lease that another holds.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Longest time that one call may take; short Leases have less.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a release may take: the process is stopping.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether we hold a Lease right now. Shared with everything that writes.
#[derive(Debug)]
pub struct Hold {
    start: Instant,
    /// Milliseconds after `start`; 0 when it is not held.
    writes_until: AtomicU64,
    /// The same, of when another may take it.
    ends: AtomicU64,
}

impl Default for Hold {
    fn default() -> Self {
        let (writes_until, ends) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { start: Instant::now(), writes_until, ends }
    }
}

impl Hold {
    /// How long a write that begins now may take: until another may take the Lease. `None`: none may
    /// begin.
    pub fn remaining(&self) -> Option<Duration> {
        let now = millis(self.start.elapsed());
        let may_write = now < self.writes_until.load(Ordering::Acquire);
        let left = self.ends.load(Ordering::Acquire).saturating_sub(now);
        (may_write && left > 0).then(|| Duration::from_millis(left))
    }

    /// True while writes may begin.
    pub fn is_held(&self) -> bool {
        self.remaining().is_some()
    }

    /// One that is always held: for plans, which write nothing.
    pub fn assume(&self) {
        self.ends.store(u64::MAX, Ordering::Release);
        self.writes_until.store(u64::MAX, Ordering::Release);
    }

    /// Counted from before the renewal was sent: that is no later than when the server took it.
    fn renewed(&self, sent: Instant, duration: Duration) {
        let sent = sent.saturating_duration_since(self.start);
        self.ends.store(millis(sent + duration), Ordering::Release);
        self.writes_until.store(millis(sent + duration * 2 / 3), Ordering::Release);
    }

    fn lost(&self) {
        self.writes_until.store(0, Ordering::Release);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How we stand to a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not looked at yet.
    Unknown,
    /// We hold it.
    Held,
    /// This one holds it.
    HeldBy(Arc<str>),
    /// The API server does not let us, or does not answer; the text is for a person.
    Failed(Failure, Arc<str>),
}

/// Which Lease, and as whom.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Who we are in it.
    pub identity: Arc<str>,
    /// After which a holder that is not heard of is replaced.
    pub duration: Duration,
}

/// Takes one Lease, keeps it, takes it again when it was lost.
#[derive(Debug)]
pub struct Candidate {
    settings: LeaseSettings,
    hold: Arc<Hold>,
    standing: watch::Sender<Standing>,
}

/// What was last seen of a Lease, and when.
struct Seen {
    lease: Lease,
    at: Instant,
}

impl Candidate {
    /// A candidate that does nothing before [`Candidate::run`].
    pub fn new(settings: LeaseSettings) -> Self {
        Self { settings, hold: Arc::default(), standing: watch::Sender::new(Standing::Unknown) }
    }

    /// What writers ask.
    pub fn hold(&self) -> Arc<Hold> {
        Arc::clone(&self.hold)
    }

    /// How it stands, and its changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Runs for ever. Dropping it keeps the Lease until it expires; see [`Candidate::release`].
    pub async fn run(&self, client: &Client) {
        let api: Api<Lease> = Api::namespaced(client.clone(), &self.settings.namespace);
        let mut seen: Option<Seen> = None;
        let renew_interval = self.settings.duration / 3;
        let look_interval = LOOK_INTERVAL.min(self.settings.duration / 6);
        loop {
            let limit = CALL_TIMEOUT.min(renew_interval);
            let step = timeout(limit, self.step(&api, &mut seen)).await;
            let standing = step.unwrap_or_else(|_| {
                Standing::Failed(Failure::Unreachable, format!("no answer for {limit:?}").into())
            });
            let wait = match &standing {
                Standing::Held => renew_interval,
                Standing::Failed(Failure::Conflict, _) => look_interval / 4,
                _ => look_interval,
            };
            self.stands(standing);
            self.wait(wait).await;
        }
    }

    /// Waits, and notices within that time that a Lease which could not be renewed is lost.
    async fn wait(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let step = match *self.standing.borrow() {
                Standing::Held => left.min(self.settings.duration / 12),
                _ => left,
            };
            tokio::time::sleep(step.max(Duration::from_millis(1))).await;
            if *self.standing.borrow() == Standing::Held && !self.hold.is_held() {
                let text = "it could not be renewed in time".into();
                self.stands(Standing::Failed(Failure::Unreachable, text));
            }
        }
    }

    /// A failed renewal is no loss yet: the Lease is ours for as long as we may write.
    fn stands(&self, standing: Standing) {
        let is_kept = matches!(standing, Standing::Failed(..)) && self.hold.is_held();
        if is_kept {
            return;
        }
        if standing != Standing::Held {
            self.hold.lost();
        }
        self.standing.send_if_modified(|now| {
            let changed = *now != standing;
            *now = standing;
            changed
        });
    }

    /// One look, and one try to take it when it is there to be taken.
    async fn step(&self, api: &Api<Lease>, seen: &mut Option<Seen>) -> Standing {
        // While we hold it nobody else writes it: a renewal needs no look before.
        if !self.hold.is_held() || seen.is_none() {
            match api.get_opt(&self.settings.name).await {
                Ok(Some(lease)) => observe(seen, lease),
                Ok(None) => *seen = None,
                Err(error) => return failed(&error),
            }
        }
        if let Some(holder) = seen.as_ref().and_then(|seen| self.foreign(seen)) {
            return Standing::HeldBy(holder);
        }
        let sent = Instant::now();
        let written = match seen {
            Some(seen) => {
                let lease = self.taken(Some(&seen.lease));
                api.replace(&self.settings.name, &PostParams::default(), &lease).await
            }
            None => api.create(&PostParams::default(), &self.taken(None)).await,
        };
        match written {
            Ok(lease) => {
                *seen = Some(Seen { lease, at: sent });
                self.hold.renewed(sent, self.settings.duration);
                Standing::Held
            }
            Err(error) => {
                let is_old =
                    matches!(Failure::of(&error), Failure::Conflict | Failure::AlreadyExists);
                if !is_old {
                    return failed(&error);
                }
                // Someone was faster, or has edited it: what we know of it is old.
                *seen = None;
                Standing::Failed(Failure::Conflict, "another wrote it first".into())
            }
        }
    }

    /// Its holder, when that is someone else who is still there.
    fn foreign(&self, seen: &Seen) -> Option<Arc<str>> {
        let spec = seen.lease.spec.as_ref()?;
        let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
        let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        let is_there = seen.at.elapsed() < Duration::from_secs(seconds);
        (holder != &*self.settings.identity && is_there).then(|| holder.into())
    }

    /// The Lease as ours.
    fn taken(&self, before: Option<&Lease>) -> Lease {
        let settings = &self.settings;
        let now = MicroTime(Timestamp::now());
        let old = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_renewal = old.holder_identity.as_deref() == Some(&settings.identity);
        let transitions = old.lease_transitions.unwrap_or(0);
        let first = before.is_none();
        // Whole seconds, and never fewer than we count ourselves.
        let part = u64::from(settings.duration.subsec_nanos() > 0);
        let seconds = i32::try_from(settings.duration.as_secs() + part).unwrap_or(i32::MAX);
        Lease {
            metadata: self.metadata(before),
            spec: Some(LeaseSpec {
                acquire_time: old.acquire_time.filter(|_| is_renewal).or(Some(now.clone())),
                holder_identity: Some(settings.identity.to_string()),
                lease_duration_seconds: Some(seconds),
                lease_transitions: Some(transitions + i32::from(!is_renewal && !first)),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    /// What a server and others have put there stays.
    fn metadata(&self, before: Option<&Lease>) -> ObjectMeta {
        before.map(|lease| lease.metadata.clone()).unwrap_or_else(|| ObjectMeta {
            name: Some(self.settings.name.to_string()),
            namespace: Some(self.settings.namespace.to_string()),
            ..ObjectMeta::default()
        })
    }

    /// Gives the Lease away, so that another need not wait for its end. To be called when nothing
    /// writes any more; what fails leaves it to expire.
    pub async fn release(&self, client: &Client) {
        let was_held = self.hold.ends.swap(0, Ordering::AcqRel) > millis(self.hold.start.elapsed());
        self.hold.lost();
        if !was_held {
            return;
        }
        let api: Api<Lease> = Api::namespaced(client.clone(), &self.settings.namespace);
        let release = async {
            let Some(mut lease) = api.get_opt(&self.settings.name).await? else { return Ok(()) };
            let Some(spec) = &mut lease.spec else { return Ok(()) };
            if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            api.replace(&self.settings.name, &PostParams::default(), &lease).await.map(drop)
        };
        let lease = &self.settings.name;
        match timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(())) => tracing::info!(%lease, "lease released"),
            Ok(Err(error)) => {
                tracing::warn!(%lease, "lease not released, it expires by itself: {}", chain(&error));
            }
            Err(_) => tracing::warn!(%lease, "lease not released in time, it expires by itself"),
        }
        self.standing.send_replace(Standing::Unknown);
    }
}

/// The time is that of the last change, as we saw it.
fn observe(seen: &mut Option<Seen>, lease: Lease) {
    let is_same = seen.as_ref().is_some_and(|seen| {
        seen.lease.metadata.uid == lease.metadata.uid && seen.lease.spec == lease.spec
    });
    let at = match seen {
        Some(seen) if is_same => seen.at,
        _ => Instant::now(),
    };
    *seen = Some(Seen { lease, at });
}

fn failed(error: &kube::Error) -> Standing {
    Standing::Failed(Failure::of(error), chain(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(identity: &str) -> Candidate {
        Candidate::new(LeaseSettings {
            namespace: "mirror".into(),
            name: "lease".into(),
            identity: identity.into(),
            duration: Duration::from_secs(30),
        })
    }

    #[test]
    fn writes_stop_after_two_thirds_and_never_outlast_the_lease() {
        let hold = Hold::default();
        assert!(!hold.is_held());
        let now = Instant::now();
        hold.renewed(now, Duration::from_secs(30));
        assert!(hold.remaining().is_some_and(|left| left > Duration::from_secs(28)));
        hold.renewed(now, Duration::from_millis(3));
        std::thread::sleep(Duration::from_millis(3));
        assert!(!hold.is_held());
        hold.renewed(Instant::now(), Duration::from_secs(30));
        hold.lost();
        assert!(!hold.is_held());
    }

    #[test]
    fn a_holder_is_judged_by_what_we_saw_and_not_by_its_clock() {
        let (ours, theirs) = (candidate("west-1"), candidate("east-1"));
        let mut lease = theirs.taken(None);
        // A clock that is years behind: the Lease is fresh nonetheless.
        let spec = lease.spec.as_mut().expect("a spec");
        spec.renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH));
        let mut seen = None;
        observe(&mut seen, lease.clone());
        assert_eq!(ours.foreign(seen.as_ref().expect("seen")).as_deref(), Some("east-1"));
        assert_eq!(theirs.foreign(seen.as_ref().expect("seen")), None);

        // Seen long ago and unchanged since.
        let long_ago = Instant::now().checked_sub(Duration::from_secs(31)).expect("an uptime");
        seen.as_mut().expect("seen").at = long_ago;
        observe(&mut seen, lease.clone());
        assert_eq!(ours.foreign(seen.as_ref().expect("seen")), None, "not renewed: free");
        let spec = lease.spec.as_mut().expect("a spec");
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        observe(&mut seen, lease);
        assert!(ours.foreign(seen.as_ref().expect("seen")).is_some(), "renewed: taken");
    }

    #[test]
    fn a_renewal_keeps_what_a_takeover_changes() {
        let (ours, theirs) = (candidate("west-1"), candidate("east-1"));
        let first = theirs.taken(None);
        let renewed = theirs.taken(Some(&first));
        let taken = ours.taken(Some(&renewed));
        let spec = |lease: &Lease| lease.spec.clone().expect("a spec");
        assert_eq!(spec(&first).acquire_time, spec(&renewed).acquire_time);
        assert_eq!(spec(&renewed).lease_transitions, Some(0));
        assert_eq!(spec(&taken).lease_transitions, Some(1));
        assert_eq!(spec(&taken).holder_identity.as_deref(), Some("west-1"));
        assert_ne!(spec(&taken).acquire_time, spec(&renewed).acquire_time);
    }
}
