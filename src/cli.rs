//! The command line: one module per subcommand, exit codes, nothing of the data path.
//!
//! Exit codes: 0 ok, 64 usage or configuration, 69 a dependency is missing at start, 70 internal,
//! 1 a second TERM.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod certs;
pub mod check;
pub mod completions;
pub mod config;
pub mod connect;
pub mod demo;
pub mod explain;
pub mod inspect;
pub mod man;
pub mod mirror;
pub mod output;
pub mod run;

/// A second TERM cut the drain short.
const EXIT_FORCED: u8 = 1;
/// Usage or configuration is wrong.
const EXIT_USAGE: u8 = 64;
/// Something outside is missing: a port is taken, a peer does not answer.
const EXIT_UNAVAILABLE: u8 = 69;
/// A fault of ours, or of the system under us.
const EXIT_INTERNAL: u8 = 70;

/// Joins Kubernetes clusters: mutual TLS in on 4143, checked identities, local services out.
#[derive(Debug, Parser)]
// A flag before a subcommand would be parsed for `run` and silently not used: it is refused.
#[command(name = "linkerd-gateway", version, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create development certificates: anchor, issuer, gateway and client leaves.
    Certs(certs::CertsArgs),
    /// Check a configuration and everything it points to; exit 64 lists all problems.
    Check(check::CheckArgs),
    /// Print a script that completes commands and flags in a shell.
    Completions(completions::CompletionsArgs),
    /// Show the configuration.
    Config(config::ConfigArgs),
    /// Open an authenticated connection to a gateway and pipe standard input and output.
    Connect(connect::ConnectArgs),
    /// Run a gateway with a small built-in service behind it and development certificates.
    Demo(demo::DemoArgs),
    /// Say which policy rule decides about a connection, and why the others do not. Annotations of
    /// Services, which may deny what the policy allows, are not asked; /routes shows them.
    Explain(explain::ExplainArgs),
    /// Explain a certificate or a transport header.
    Inspect(inspect::InspectArgs),
    /// Print the manual page, or write one page per command.
    Man(man::ManArgs),
    /// Say what the mirror of other clusters' Services would do.
    Mirror(mirror::MirrorArgs),
    /// Run the gateway (the default).
    Run(run::RunArgs),
}

/// A command that did not succeed: what to print on standard error, and the exit code.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Wrong usage or configuration: exit 64.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: EXIT_USAGE, error: error.into() }
    }

    /// Something outside is missing: exit 69.
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self { code: EXIT_UNAVAILABLE, error: error.into() }
    }

    /// A second TERM: exit 1.
    pub fn forced() -> Self {
        let error = anyhow::anyhow!("stopped by a second signal; open connections were reset");
        Self { code: EXIT_FORCED, error }
    }

    /// An internal fault: exit 70.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { code: EXIT_INTERNAL, error: error.into() }
    }
}

/// Parses the arguments, runs the command, prints its failure.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Nothing can be reported when standard error itself is closed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match arguments.command {
        Some(Command::Certs(args)) => certs::certs(&args),
        Some(Command::Check(args)) => check::check(&args),
        Some(Command::Completions(args)) => completions::completions(&args),
        Some(Command::Config(args)) => config::config(&args),
        Some(Command::Connect(args)) => connect::connect(&args),
        Some(Command::Demo(args)) => demo::demo(&args),
        Some(Command::Explain(args)) => explain::explain(&args),
        Some(Command::Inspect(args)) => inspect::inspect(&args),
        Some(Command::Man(args)) => man::man(&args),
        Some(Command::Mirror(args)) => mirror::mirror(&args),
        Some(Command::Run(args)) => run::run(&args),
        None => run::run(&arguments.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("linkerd-gateway: {:#}", failure.error);
            ExitCode::from(failure.code)
        }
    }
}
