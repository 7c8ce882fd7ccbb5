//! `check`.

use super::Failure;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {}

/// Runs `check`.
///
/// # Errors
/// When the command fails.
pub fn check(_args: &CheckArgs) -> Result<(), Failure> {
    Ok(())
}
