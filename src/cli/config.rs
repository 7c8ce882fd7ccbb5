//! `config`: shows the configuration as the program understands it.

use std::path::PathBuf;

use super::{Failure, output};
use crate::config::json_schema;
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
    /// Print what `print` does, and behind each value where it came from.
    Origins(FileArgs),
    /// Print every key with its effective value, as TOML that can be used again.
    Print(FileArgs),
    /// Print a JSON Schema of the configuration file, for editors.
    Schema,
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// The configuration file, else LINKERD_GATEWAY_CONFIG; config.d/*.toml beside it is read too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs `config`.
///
/// # Errors
/// When the configuration is wrong.
pub fn config(args: &ConfigArgs) -> Result<(), Failure> {
    let text = match &args.command {
        Command::Origins(args) => effective(args, true)?,
        Command::Print(args) => effective(args, false)?,
        Command::Schema => format!("{:#}\n", json_schema::document()),
    };
    output::print(text.as_bytes())
}

fn effective(args: &FileArgs, origins: bool) -> Result<String, Failure> {
    let loaded = load(&Sources::from_process(args.config.clone())).map_err(Failure::usage)?;
    Ok(print(&loaded.tree, origins))
}
