//! `demo`.

use super::Failure;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs `demo`.
///
/// # Errors
/// When the command fails.
pub fn demo(_args: &DemoArgs) -> Result<(), Failure> {
    Ok(())
}
