//! `run`, the default command: loads the configuration and serves until it is told to stop.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::Failure;
use crate::app::{App, Ended, StartError};
use crate::config::LogFormat;
use crate::config::load::{Loaded, Sources, load};
use crate::observe::logs::{self, Filter, Queue};
use crate::runtime::{self, Thread};

/// How long what is left of the log may take to be written at the end.
const LOG_DEADLINE: Duration = Duration::from_secs(1);

/// Arguments of `run`. Each flag is also a key of the configuration and stands over it; values are
/// checked there, so that their problems are listed with the others.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration file, else LINKERD_GATEWAY_CONFIG; config.d/*.toml beside it is read too.
    #[arg(long, value_name = "FILE")]
    // Not clap's `env`: that would make an empty variable an error of every subcommand.
    config: Option<PathBuf>,
    /// What is logged, like info or warn,linkerd_gateway=debug (log.level).
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// text or json (log.format).
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Worker threads of the data path (runtime.workers).
    #[arg(long, value_name = "NUMBER")]
    workers: Option<String>,
    /// Where clients connect, ip:port; may be repeated (gateway.listen).
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Where the admin API listens, ip:port (admin.listen).
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Run one module alone, beside the admin API: mirror.enabled = true, and gateway.enabled and
    /// kubernetes.enabled = false. It is ready at its first contact with the API server.
    #[arg(long, value_name = "MODULE")]
    only: Option<Module>,
}

/// What can run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Module {
    /// The mirror of other clusters' Services.
    Mirror,
}

impl RunArgs {
    /// The process's environment, the file and the flags that were given.
    pub fn sources(&self) -> Sources {
        let mut sources = Sources::from_process(self.config.clone());
        let single = [
            ("log.level", &self.log, "--log"),
            ("log.format", &self.log_format, "--log-format"),
            ("runtime.workers", &self.workers, "--workers"),
            ("admin.listen", &self.admin_listen, "--admin-listen"),
        ];
        for (key, value, flag) in single {
            sources.flags.extend(value.clone().map(|value| (key.to_owned(), value, flag)));
        }
        if let Some(Module::Mirror) = self.only {
            let keys = [
                ("mirror.enabled", "true"),
                ("gateway.enabled", "false"),
                ("kubernetes.enabled", "false"),
            ];
            let flags = keys.map(|(key, value)| (key.to_owned(), value.to_owned(), "--only"));
            sources.flags.extend(flags);
        }
        let listen = self.listen.iter().cloned();
        sources.flags.extend(listen.map(|value| ("gateway.listen".to_owned(), value, "--listen")));
        sources
    }
}

/// The addresses of a running gateway, ports filled in.
pub(super) struct Addresses {
    /// The data path's listeners.
    pub(super) gateway: Vec<SocketAddr>,
    /// The admin API.
    pub(super) admin: SocketAddr,
}

/// Runs the gateway until TERM or INT.
///
/// # Errors
/// Exit 64 when the configuration is wrong, 69 when an address is taken, 1 after a second TERM.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    serve(args.sources(), advice, |_| {})
}

/// How to move a listener, by the configuration's key for it.
fn advice(key: &str) -> String {
    match key {
        "admin.listen" => format!("set another address with {key} or --admin-listen"),
        "gateway.listen" => format!("set another address with {key} or --listen"),
        _ => format!("set another address with {key}"),
    }
}

/// Runs a configuration until TERM or INT. `advice` says what to do about a listener that
/// cannot be opened, by its key; `ready` is called once connections are accepted.
pub(super) fn serve(
    sources: Sources,
    advice: impl Fn(&str) -> String,
    ready: impl FnOnce(&Addresses),
) -> Result<(), Failure> {
    let loaded = load(&sources).map_err(Failure::usage)?;
    let log = &loaded.settings.log;
    let logging = logs::init(&log.level, log.format == LogFormat::Json, log.access);
    let (filter, lines) = logging.map_err(Failure::usage)?;
    let _writing = Writing::start(lines).map_err(Failure::unavailable)?;
    start(loaded, sources, filter, advice, ready)
}

fn start(
    loaded: Loaded,
    sources: Sources,
    filter: Filter,
    advice: impl Fn(&str) -> String,
    ready: impl FnOnce(&Addresses),
) -> Result<(), Failure> {
    let descriptors = runtime::raise_descriptor_limit();
    let app = App::bind(loaded, sources, filter);
    let unavailable = |error| match error {
        StartError::Listen { key, error: ref cause, .. } => {
            let taken = cause.kind() == ErrorKind::AddrInUse;
            let stop = if taken { "stop it, or " } else { "" };
            Failure::unavailable(anyhow!("{error}; {stop}{}", advice(key)))
        }
        passed @ StartError::Passed { .. } => Failure::usage(passed),
        other => Failure::unavailable(other),
    };
    let app = app.map_err(unavailable)?;
    let addresses = Addresses { gateway: app.listeners(), admin: app.admin() };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %addresses.admin,
        metrics = ?app.metrics_listeners(), descriptors,
        "starting");
    match app.run(|| ready(&addresses)).map_err(unavailable)? {
        Ended::Stopped => Ok(()),
        Ended::Forced => Err(Failure::forced()),
    }
}

/// The thread that writes the log. Dropping it writes what is left.
struct Writing {
    lines: Arc<Queue>,
    thread: Option<Thread>,
}

impl Writing {
    fn start(lines: Arc<Queue>) -> std::io::Result<Self> {
        let written = Arc::clone(&lines);
        let thread = Thread::spawn("log", move || written.run(std::io::stderr()))?;
        Ok(Self { lines, thread: Some(thread) })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.lines.close();
        self.thread.take().into_iter().for_each(|thread| thread.join(LOG_DEADLINE));
    }
}
