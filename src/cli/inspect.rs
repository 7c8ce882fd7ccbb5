//! `inspect`.

use super::Failure;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {}

/// Runs `inspect`.
///
/// # Errors
/// When the command fails.
pub fn inspect(_args: &InspectArgs) -> Result<(), Failure> {
    Ok(())
}
