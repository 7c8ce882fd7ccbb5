//! `config`: shows the configuration as the program understands it.

use std::io::{self, Write};
use std::path::PathBuf;

use super::Failure;
use crate::config::load::{Sources, load};
use crate::config::print::print;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print every key with its effective value, as TOML that can be used again.
    Print(PrintArgs),
}

#[derive(Debug, clap::Args)]
struct PrintArgs {
    /// The configuration file, else LINKERD_GATEWAY_CONFIG; config.d/*.toml beside it is read too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say behind each value where it came from.
    #[arg(long)]
    origins: bool,
}

/// Runs `config`.
///
/// # Errors
/// When the configuration is wrong.
pub fn config(args: &ConfigArgs) -> Result<(), Failure> {
    let Command::Print(args) = &args.command;
    let loaded = load(&Sources::from_process(args.config.clone())).map_err(Failure::usage)?;
    let text = print(&loaded.tree, args.origins);
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read it has seen enough: `config print | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Failure::internal),
    }
}
