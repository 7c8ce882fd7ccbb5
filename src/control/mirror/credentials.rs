//! The Secret with a Link's kubeconfig: found, followed, made a client of.
//!
//! Run by each Link's task. A rotation is a new client and nothing else. A Secret that is no
//! kubeconfig changes nothing either: the last good client stays in use, and the condition says why.
//! A Secret that was deleted ends the use of what was in it; mirrors stay as they are.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::control::kubernetes::client;
use crate::control::kubernetes::watch::{Health, Said, Scope, chain, follow};
use crate::model::kubernetes::index::Index;

/// The type of Secrets with a target's kubeconfig.
const SECRET_TYPE: &str = "mirror.linkerd.io/remote-kubeconfig";
/// Their key.
const KUBECONFIG: &str = "kubeconfig";
/// Between two looks for a Secret under another name, while the expected one is not there.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// So long a Secret may be away before another is looked for.
const GRACE: Duration = Duration::from_secs(15);
/// Why there is no client.
const SECRET_MISSING: &str = "SecretMissing";
/// One look.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How the credentials of a Link are.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A client of the target's API server; it changes with the Secret.
    pub client: Option<Client>,
    /// The Secret that it is from.
    pub secret: Option<Arc<str>>,
    /// Grows with every new client.
    pub generation: u64,
    /// Why there is no client, or not a newer one: a reason and a text for a person.
    pub problem: Option<(&'static str, Arc<str>)>,
    /// Why the Secret cannot be read just now.
    pub unreadable: Option<(&'static str, Arc<str>)>,
}

impl Credentials {
    /// True while a Secret is looked for.
    pub fn is_wanting(&self) -> bool {
        let is_other = |(reason, _): &(&str, Arc<str>)| *reason != SECRET_MISSING;
        self.client.is_none() && !self.problem.as_ref().is_some_and(is_other)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (generation, problem) = (&self.generation, &self.problem);
        f.debug_struct("Credentials")
            .field("generation", generation)
            .field("problem", problem)
            .finish_non_exhaustive()
    }
}

/// What a Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Kubeconfig(Arc<[u8]>),
    /// The Secret is there, the key is not.
    NoKey,
}

/// The Secret of a Link that states none.
pub fn default_name(cluster: &str) -> String {
    format!("cluster-credentials-{cluster}")
}

/// Follows the Secret that a Link states, for ever.
pub async fn follow_stated(
    own: &Client,
    namespace: &str,
    name: &str,
    credentials: &watch::Sender<Credentials>,
) {
    follow_secret(own, namespace, name, &watch::Sender::new(None), credentials).await;
}

/// Follows the Secret of a Link that states none, for ever: the one with the default name, or while
/// there is none the only other one of the right type that no other Link has (`is_of_another`, which
/// is told whether it would be new to this one, and may not know).
pub async fn follow_default(
    own: &Client,
    namespace: &str,
    cluster: &str,
    is_of_another: impl Fn(&str, bool) -> Option<bool>,
    credentials: &watch::Sender<Credentials>,
) {
    let default = default_name(cluster);
    let api: Api<Secret> = Api::namespaced(own.clone(), namespace);
    loop {
        let held = watch::Sender::new(None);
        let other = tokio::select! {
            () = follow_secret(own, namespace, &default, &held, credentials) => continue,
            other = only_other(&api, &default, &held, &is_of_another) => other,
        };
        tracing::info!(secret = %other, %namespace, "no {default}; using the only Secret of its type");
        let (held, its) = (watch::Sender::new(None), watch::Sender::new(None));
        let nobody = watch::Sender::default();
        let is_there = async {
            let mut held = held.subscribe();
            let is_there = |held: &Option<Held>| !matches!(held, None | Some(Held::Nothing));
            drop(held.wait_for(is_there).await);
        };
        let is_taken = async {
            while is_of_another(&other, false) != Some(true) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = follow_secret(own, namespace, &other, &its, credentials) => {}
            () = watch_secret(own, namespace, &default, &held, &nobody) => {}
            next = only_other(&api, &other, &its, &is_of_another) => {
                tracing::info!(secret = %next, %namespace, "{other} is gone; using the only one left");
            }
            () = is_there => {
                tracing::info!(secret = %default, %namespace, "using it: it is there now");
            }
            () = is_taken => {
                tracing::warn!(secret = %other, %namespace, "not using it: another Link does");
            }
        }
    }
}

async fn follow_secret(
    own: &Client,
    namespace: &str,
    name: &str,
    held: &watch::Sender<Option<Held>>,
    credentials: &watch::Sender<Credentials>,
) {
    tokio::join!(
        watch_secret(own, namespace, name, held, credentials),
        use_secret(name, namespace, held.subscribe(), credentials),
    );
}

async fn watch_secret(
    own: &Client,
    namespace: &str,
    name: &str,
    held: &watch::Sender<Option<Held>>,
    credentials: &watch::Sender<Credentials>,
) {
    let scope = Scope { fields: format!("metadata.name={name}"), ..Scope::default() };
    let index = Mutex::new(Index::<Held>::default());
    let convert = |secret: Secret| {
        let kubeconfig = secret.data.and_then(|mut data| data.remove(KUBECONFIG));
        Some(kubeconfig.map_or(Held::NoKey, |bytes| Held::Kubeconfig(bytes.0.into())))
    };
    let api = |client| Api::namespaced(client, namespace);
    follow(own, api, &scope, &Health::default(), convert, |said| match said {
        Said::Works => {
            credentials.send_if_modified(|now| now.unreadable.take().is_some());
        }
        Said::Event(event) => {
            let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
            index.take(event);
            if !index.is_complete() {
                return;
            }
            let now = index.iter().next().map_or(Held::Nothing, |(_, held)| held.clone());
            held.send_if_modified(|before| {
                let changed = before.as_ref() != Some(&now);
                *before = Some(now);
                changed
            });
        }
        Said::Expired(_) => {}
        Said::Failed(failure, text) => {
            let text = format!("the Secret {name} cannot be read: {text}");
            credentials.send_if_modified(|now| {
                let unreadable = Some((failure.reason(), Arc::from(text)));
                let changed = now.unreadable != unreadable;
                now.unreadable = unreadable;
                changed
            });
        }
    })
    .await;
}

/// Makes clients of what the Secret holds.
async fn use_secret(
    name: &str,
    namespace: &str,
    mut held: watch::Receiver<Option<Held>>,
    credentials: &watch::Sender<Credentials>,
) {
    loop {
        let now = held.borrow_and_update().clone();
        match now {
            None => {}
            Some(Held::Nothing) => {
                let text = format!(
                    "there is no Secret {name} in {namespace}; create it with the target's \
                     kubeconfig (linkerd multicluster link-gen prints it)"
                );
                tell(credentials, SECRET_MISSING, &text);
                credentials.send_if_modified(|now| {
                    now.secret = None;
                    now.client.take().is_some()
                });
            }
            Some(Held::NoKey) => {
                let text = format!("the Secret {name} in {namespace} has no key {KUBECONFIG}");
                tell(credentials, "KubeconfigMissing", &text);
            }
            Some(Held::Kubeconfig(bytes)) => match made(&bytes).await {
                Ok(client) => {
                    tracing::info!(secret = %name, %namespace, "credentials of a target loaded");
                    credentials.send_modify(|now| {
                        (now.client, now.secret) = (Some(client), Some(name.into()));
                        now.generation += 1;
                        now.problem = None;
                    });
                }
                Err(text) => {
                    let text = format!("the Secret {name} in {namespace}: {text}");
                    tell(credentials, "KubeconfigInvalid", &text);
                }
            },
        }
        if held.changed().await.is_err() {
            return;
        }
    }
}

async fn made(kubeconfig: &[u8]) -> Result<Client, String> {
    let text =
        std::str::from_utf8(kubeconfig).map_err(|_| format!("the key {KUBECONFIG} is no text"))?;
    client::from_secret(text).await.map_err(|error| chain(&error))
}

/// Completes with the name of the only Secret of the right type that is not another Link's, once the
/// one named `name` is known not to be there.
async fn only_other(
    api: &Api<Secret>,
    name: &str,
    held: &watch::Sender<Option<Held>>,
    is_of_another: impl Fn(&str, bool) -> Option<bool>,
) -> String {
    let mut held = held.subscribe();
    let mut was_there = false;
    loop {
        // The sender lives as long as this does.
        let is_gone = |held: &Option<Held>| {
            was_there |= !matches!(held, None | Some(Held::Nothing));
            *held == Some(Held::Nothing)
        };
        let _ = held.wait_for(is_gone).await;
        if std::mem::take(&mut was_there) {
            // Some are renewed by deleting and creating them.
            tokio::time::sleep(GRACE).await;
            continue;
        }
        // It may list nothing but the Secret of the expected name: then there is no other.
        if let Ok(Ok(list)) = timeout(CALL_TIMEOUT, api.list(&ListParams::default())).await {
            let is_ours = |secret: &Secret| secret.type_.as_deref() == Some(SECRET_TYPE);
            let names = list.items.into_iter().filter(is_ours).filter_map(|s| s.metadata.name);
            let mut names = names.filter(|name| is_of_another(name, true) == Some(false));
            if let (Some(only), None) = (names.next(), names.next())
                && only != name
            {
                return only;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn tell(credentials: &watch::Sender<Credentials>, reason: &'static str, text: &str) {
    credentials.send_if_modified(|now| {
        let problem = Some((reason, Arc::from(text)));
        let changed = now.problem != problem;
        now.problem = problem;
        changed
    });
}
