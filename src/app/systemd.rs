//! What the service manager is told (sd_notify): ready, reloading, stopping, a status line, and the
//! watchdog's beat. Without `NOTIFY_SOCKET` all of it does nothing; it never holds the gateway up.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::reload::Reloader;
use crate::model::task::Task;
use crate::runtime::supervise::Supervisor;
use crate::state::State;

/// Speaks to the service manager.
pub(super) struct Manager {
    /// How often it wants to hear that we live, halved; `None` when it does not watch.
    beat: Option<Duration>,
}

impl Manager {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub(super) fn new() -> Self {
        let beat = sd_notify::watchdog_enabled().map(|timeout| timeout / 2);
        Self { beat: beat.filter(|beat| !beat.is_zero()) }
    }

    /// Connections are accepted.
    pub(super) fn ready(&self, reloader: &Reloader) {
        notify(&[NotifyState::Ready, NotifyState::Status(&in_force(reloader))]);
    }

    /// Reloads, and says so before and after. The time lets the manager tell this reload from an
    /// earlier one (`Type=notify-reload`).
    pub(super) fn reload(&self, reloader: &mut Reloader) {
        let before = reloader.state.configuration.load().generation;
        let now = NotifyState::monotonic_usec_now().ok();
        let mut reloading = vec![NotifyState::Reloading];
        reloading.extend(now);
        notify(&reloading);
        reloader.reload();
        let mut status = in_force(reloader);
        if reloader.state.configuration.load().generation == before {
            status.push_str("; the last reload was refused, see the log");
        }
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// TERM has come.
    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// A line for people.
    pub(super) fn status(&self, text: &str) {
        notify(&[NotifyState::Status(text)]);
    }

    /// Beats while every worker does, for ever: a gateway whose data path hangs is restarted. It
    /// runs among the control tasks, so that it also stops when these hang.
    pub(super) fn watch(&self, supervisor: &Supervisor, state: &Arc<State>) {
        let Some(beat) = self.beat else { return };
        let state = Arc::clone(state);
        supervisor.spawn_until(supervisor.token(), Task::Watchdog, move || {
            let state = Arc::clone(&state);
            async move {
                let mut beats = tokio::time::interval(beat);
                loop {
                    beats.tick().await;
                    if state.readiness.is_beating() {
                        notify(&[NotifyState::Watchdog]);
                    }
                }
            }
        });
    }
}

fn in_force(reloader: &Reloader) -> String {
    let generation = reloader.state.configuration.load().generation;
    format!("accepting connections, configuration generation {generation}")
}

fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
