//! Keeps [`State::credentials`] equal to the files: read on an interval and on demand, compared by
//! content, checked, and swapped all or nothing.
//!
//! A bad, partial or missing file changes nothing and shows in log, metric and `/certs`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::{IdentitySettings, RouteSettings};
use crate::observe::metrics::{Certificate, Metrics};
use crate::runtime::fault;
use crate::state::{CredentialsStatus, State};
use crate::tls::credentials::{
    Credentials, CredentialsError, FileContent, Material, RouteMaterial,
};
use crate::tls::facts::CertificateFacts;

mod expiry;

use expiry::Expiry;

/// Wait between attempts while there are no credentials at all.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// Reads of files that change while they are read. A writer that is busy for longer is followed in
/// the next round.
const READ_ATTEMPTS: u32 = 5;

/// Why files gave no credentials.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// What they hold is not usable.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A file cannot be read.
    #[error("{path}: cannot be read: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// Where credentials come from.
#[derive(Clone, Debug)]
pub struct Source {
    identity: IdentitySettings,
    routes: Vec<RouteSettings>,
}

impl Source {
    /// The files that the configuration names.
    pub fn new(identity: &IdentitySettings, routes: &[RouteSettings]) -> Self {
        Self { identity: identity.clone(), routes: routes.to_vec() }
    }

    /// Reads every file.
    ///
    /// # Errors
    /// [`LoadError::Read`] for the first that cannot be read.
    pub fn read(&self) -> Result<Material, LoadError> {
        let settings = &self.identity;
        let mut bound_anchors = Vec::new();
        for trust in &settings.trust {
            for path in &trust.anchors {
                bound_anchors.push((read(path)?, trust.trust_domains.clone()));
            }
        }
        let mut routes = Vec::new();
        for route in &self.routes {
            let Some(pair) = &route.certificate else { continue };
            routes.push(RouteMaterial {
                sni: route.sni.clone(),
                certificate: read(&pair.certificate)?,
                key: read(&pair.key)?,
            });
        }
        Ok(Material {
            name: settings.name.clone(),
            certificate: read(&settings.certificate)?,
            key: read(&settings.key)?,
            anchors: settings.trust_anchors.iter().map(|p| read(p)).collect::<Result<_, _>>()?,
            bound_anchors,
            routes,
        })
    }
}

/// Reads, checks and builds once, without keeping anything: what `check` does.
///
/// # Errors
/// See [`LoadError`].
pub fn load(source: &Source) -> Result<Credentials, LoadError> {
    Ok(Credentials::build(&source.read()?, None, SystemTime::now())?)
}

/// Follows the files. It outlives its own task: one that starts again after a panic goes on from
/// what was accepted.
#[derive(Debug)]
pub struct Follower {
    /// Where to read. Swapped when the configuration names other files; tell [`Follower::look`].
    pub source: ArcSwap<Source>,
    /// Asks for a look at once.
    pub look: Notify,
    /// Hears of the first credentials.
    pub loaded: Notify,
    state: Arc<State>,
    metrics: Arc<Metrics>,
    /// What the credentials in use were made from.
    accepted: ArcSwapOption<Material>,
    expiry: Expiry,
}

impl Follower {
    /// Reads nothing yet.
    pub fn new(source: Source, state: &Arc<State>, metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            source: ArcSwap::from_pointee(source),
            look: Notify::new(),
            loaded: Notify::new(),
            state: Arc::clone(state),
            metrics: Arc::clone(metrics),
            accepted: ArcSwapOption::empty(),
            expiry: Expiry::default(),
        })
    }

    /// Follows until it is dropped.
    pub async fn follow(self: Arc<Self>) {
        loop {
            fault::point("credentials");
            self.look_at_files(READ_ATTEMPTS);
            if let Some(credentials) = &*self.state.credentials.load() {
                self.expiry.tell(&credentials.certificates, SystemTime::now());
            }
            let interval = if self.accepted.load().is_some() {
                // Whoever waits for the first ones hears it now, or finds that it was said.
                self.loaded.notify_one();
                self.source.load().identity.poll_interval
            } else {
                FIRST_INTERVAL
            };
            // Asked or not, the next round looks again.
            let _ = timeout(interval, self.look.notified()).await;
        }
    }

    fn look_at_files(&self, attempts: u32) {
        let now = SystemTime::now();
        let read = self.source.load().read();
        let accepted = self.accepted.load();
        if accepted.as_deref().is_some_and(|accepted| read.as_ref().ok() == Some(accepted)) {
            return self.settle();
        }
        let previous = self.state.credentials.load_full();
        let (material, error) = match read {
            Ok(material) => match Credentials::build(&material, previous.as_deref(), now) {
                Ok(credentials) => {
                    self.accepted.store(Some(Arc::new(material)));
                    return self.accept(credentials, now);
                }
                Err(error) => (Some(material), error.into()),
            },
            Err(error) => (None, error),
        };
        // The files are read one after the other, so a change on the way gives a mix of old and
        // new that never was in them: that is no problem to report, but one to look again.
        if attempts > 1 && self.source.load().read().ok() != material {
            return self.look_at_files(attempts - 1);
        }
        self.refuse(&error);
    }

    fn accept(&self, credentials: Credentials, now: SystemTime) {
        let (identity, generation) = (credentials.identity.clone(), credentials.generation);
        let (anchors, expires) = (credentials.verifier.anchors().len(), credentials.leaf_not_after);
        let certificates = credentials.certificates.iter().map(series).collect();
        // Swapped before anybody is told: who reads the line may rely on it.
        self.state.credentials.store(Some(Arc::new(credentials)));
        self.metrics.credentials_loaded(expires, certificates, now);
        tracing::info!(%identity, generation, anchors,
            expires = %humantime::format_rfc3339_seconds(expires),
            "credentials loaded; new handshakes use them");
        let loaded = self.state.credentials_status.load().loaded + 1;
        self.update(|status| CredentialsStatus {
            loaded,
            loaded_at: Some(now),
            problem: None,
            ..status.clone()
        });
    }

    /// Counts and logs a refusal once, however often the same files are looked at.
    fn refuse(&self, error: &LoadError) {
        let problem: Arc<str> = error.to_string().into();
        if self.state.credentials_status.load().problem.as_ref() == Some(&problem) {
            return;
        }
        self.metrics.credentials_refused();
        let kept = if self.accepted.load().is_some() {
            "the old ones stay in use"
        } else {
            "there are none yet, so the gateway's port stays closed"
        };
        tracing::error!(%error, "credentials refused, {kept}; correct the file");
        self.update(|status| CredentialsStatus {
            refused: status.refused + 1,
            problem: Some(problem.clone()),
            ..status.clone()
        });
    }

    /// The files are again what is in use: an earlier problem is over.
    fn settle(&self) {
        if self.state.credentials_status.load().problem.is_some() {
            tracing::info!("credential files are again those in use");
            self.update(|status| CredentialsStatus { problem: None, ..status.clone() });
        }
    }

    fn update(&self, change: impl Fn(&CredentialsStatus) -> CredentialsStatus) {
        self.state.credentials_status.rcu(|status| change(status));
    }
}

/// What metrics say of a certificate.
fn series(facts: &CertificateFacts) -> Certificate {
    Certificate {
        role: facts.role.label(),
        file: facts.path.display().to_string(),
        subject: facts.subject.clone(),
        serial: facts.serial.clone(),
        not_after: facts.not_after,
        last_use: facts.last_use.clone(),
    }
}

fn read(path: &Path) -> Result<FileContent, LoadError> {
    FileContent::read(path)
        .map_err(|error| LoadError::Read { path: path.display().to_string(), error })
}
