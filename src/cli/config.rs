//! `config`.

use super::Failure;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {}

/// Runs `config`.
///
/// # Errors
/// When the command fails.
pub fn config(_args: &ConfigArgs) -> Result<(), Failure> {
    Ok(())
}
