//! Starts what talks to API servers, on a thread of its own: however much a large cluster has to
//! say, it takes nothing from the data path, from `/ready`, or from the rest of control.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{App, StartError};
use crate::control::discovery::Discovery;
use crate::control::discovery::kubernetes::Follower;
use crate::model::task::Task;
use crate::runtime::supervise::Supervisor;
use crate::runtime::{self, Thread};

impl App {
    /// The thread `kubernetes`; none when nothing is configured that needs an API server. An API
    /// server that does not answer is no error: it is asked until it does.
    pub(super) fn start_kubernetes(
        &self,
        discovery: &Arc<Discovery>,
        stop: &CancellationToken,
    ) -> Result<Option<Thread>, StartError> {
        let settings = &self.loaded.settings.kubernetes;
        if !settings.enabled {
            return Ok(None);
        }
        let gate = self.state.readiness.latch("kubernetes");
        let follower = Follower::new(settings, discovery, &self.metrics, gate);
        let supervisor = Supervisor::new(&self.metrics, stop);
        let thread = runtime::spawn_thread("kubernetes", async move {
            supervisor.spawn_until(supervisor.token(), Task::Kubernetes, move || {
                let follower = Arc::clone(&follower);
                async move {
                    follower.follow().await;
                    Ok(())
                }
            });
            supervisor.finished().await;
        })?;
        Ok(Some(thread))
    }
}
