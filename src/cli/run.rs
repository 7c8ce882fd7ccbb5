//! `run`.

use super::Failure;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {}

/// Runs `run`.
///
/// # Errors
/// When the command fails.
pub fn run(_args: &RunArgs) -> Result<(), Failure> {
    Ok(())
}
