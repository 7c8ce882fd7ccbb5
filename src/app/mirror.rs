//! Starts the mirror, on a thread of its own: however much other clusters have to say, it takes
//! nothing from the data path or from `/ready`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{App, StartError};
use crate::config::Settings;
use crate::control::discovery::Discovery;
use crate::control::kubernetes::client::Access;
use crate::control::mirror::Mirror;
use crate::model::task::Task;
use crate::runtime::supervise::Supervisor;
use crate::runtime::{self, Thread};

impl App {
    /// The threads that talk to API servers.
    pub(super) fn start_apart(
        &self,
        discovery: &Arc<Discovery>,
        stop: &CancellationToken,
    ) -> Result<Vec<Thread>, StartError> {
        let mirror = self.start_mirror(stop)?;
        Ok(mirror.into_iter().chain(self.start_kubernetes(discovery, stop)?).collect())
    }

    /// The thread `mirror`; none when it is switched off. An API server that does not answer is no
    /// error: it is asked until it does.
    fn start_mirror(&self, stop: &CancellationToken) -> Result<Option<Thread>, StartError> {
        let settings = &self.loaded.settings;
        if !settings.mirror.enabled {
            return Ok(None);
        }
        // Beside a gateway it is secondary: that one is ready without it.
        let contact = is_alone(settings).then(|| self.state.readiness.latch("mirror"));
        let mirror = Arc::new(Mirror {
            settings: settings.mirror.clone(),
            dns: settings.dns.clone(),
            access: access(settings),
            state: Arc::clone(&self.state),
            metrics: Arc::clone(&self.metrics),
            contact,
        });
        let (supervisor, stop) = (Supervisor::new(&self.metrics, stop), stop.clone());
        let thread = runtime::spawn_thread("mirror", async move {
            supervisor.spawn(Task::Mirror, move || {
                let (mirror, stop) = (Arc::clone(&mirror), stop.clone());
                async move {
                    mirror.run(stop).await;
                    Ok(())
                }
            });
            supervisor.finished().await;
        })?;
        Ok(Some(thread))
    }
}

/// True when this process does nothing but mirror: it is ready without certificates.
pub(super) fn is_alone(settings: &Settings) -> bool {
    settings.mirror.enabled && !settings.gateway.enabled && !settings.kubernetes.enabled
}

/// How our own API server is reached.
pub(crate) fn access(settings: &Settings) -> Access {
    settings.kubernetes.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig)
}
