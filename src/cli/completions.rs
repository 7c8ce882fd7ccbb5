//! `completions`: a script with which a shell completes our commands and flags. Generated from the
//! same definition that parses them, so it cannot be out of date.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, Failure, output};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell that will read it.
    shell: Shell,
}

/// Runs `completions`.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(args.shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
    output::print(&script)
}
