//! The tasks that keep the gateway running: the closed set behind the `task` metric label, and what
//! an operator should know when one of them has panicked.

macro_rules! tasks {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal, $meaning:literal;)+) => {
        /// A task that survives its own panics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Task {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Task {
            /// All tasks, in the order of their labels.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value of the `task` label in metrics and logs.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// What it means for the gateway while the task is away.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

tasks! {
    /// Accepts on one listener of the data path.
    Acceptor = "acceptor", "new connections to its listener wait in the kernel's queue meanwhile";
    /// Accepts on one listener of the admin API.
    Admin = "admin", "new probes and scrapes wait in the kernel's queue meanwhile";
    /// Serves one connection of the admin API; it is not started again.
    AdminConnection = "admin_connection", "only this connection has ended";
    /// Follows the files of certificates.
    Credentials = "credentials", "renewed certificates are not seen meanwhile; those in use stay";
    /// Follows one DNS name.
    Dns = "dns", "the name's last good answer stays in use meanwhile";
    /// Probes the addresses of one gateway.
    GatewayProbes = "gateway_probes", "the gateway's addresses stay as ready as they are meanwhile";
    /// Says that a worker lives.
    Heartbeat = "heartbeat", "the worker's connections go on; /ready says no if it stays away for 5 s";
    /// Follows the Services of our own cluster.
    Kubernetes = "kubernetes", "changes of exported Services and their pods are not seen meanwhile; what was known stays in use";
    /// Watches memory.
    Memory = "memory", "limits.memory_watermark is not watched meanwhile";
    /// Competes for the mirror's Lease, and leads.
    Mirror = "mirror", "another replica takes over, or this one goes on when it is back; mirrors stay";
    /// Brings federated Services to what their members are.
    MirrorFederation = "mirror_federation", "federated Services stay as they are meanwhile";
    /// Does the work of one Link.
    MirrorLink = "mirror_link", "the mirrors of this one Link stay as they are meanwhile";
    /// Follows the Links.
    MirrorLinks = "mirror_links", "mirrors stay as they are meanwhile; new Links are not seen";
    /// Follows the mirrors of our own cluster.
    MirrorLocal = "mirror_local", "changes by others to mirrors are not seen meanwhile";
    /// Says Events, and what /links shows.
    MirrorReport = "mirror_report", "/links and Events stand still meanwhile";
    /// Reads the configuration again; it is not started again.
    Reload = "reload", "this one reload was given up";
    /// Beats for the service manager.
    Watchdog = "watchdog", "the service manager restarts the process if it stays away";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_unique() {
        assert!(Task::ALL.windows(2).all(|pair| pair[0].label() < pair[1].label()));
        assert!(Task::ALL.iter().enumerate().all(|(index, task)| *task as usize == index));
    }
}
