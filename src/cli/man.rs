//! `man`: manual pages, generated from the definition of the command line.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use super::{Arguments, Failure, output};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write one page per command to this directory, created when missing, instead of the main
    /// page to standard output.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs `man`.
///
/// # Errors
/// Exit 70 when the pages cannot be written.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let command = Arguments::command();
    if let Some(directory) = &args.out {
        return write(command, directory).map_err(Failure::internal);
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Failure::internal)?;
    output::print(&page)
}

fn write(command: clap::Command, directory: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write manual pages to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(cannot)?;
    // Pages of `help` repeat all others.
    clap_mangen::generate_to(command.disable_help_subcommand(true), directory).with_context(cannot)
}
