//! `connect`.

use super::Failure;

/// Arguments of `connect`.
#[derive(Debug, clap::Args)]
pub struct ConnectArgs {}

/// Runs `connect`.
///
/// # Errors
/// When the command fails.
pub fn connect(_args: &ConnectArgs) -> Result<(), Failure> {
    Ok(())
}
