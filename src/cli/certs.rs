//! `certs`.

use super::Failure;

/// Arguments of `certs`.
#[derive(Debug, clap::Args)]
pub struct CertsArgs {}

/// Runs `certs`.
///
/// # Errors
/// When the command fails.
pub fn certs(_args: &CertsArgs) -> Result<(), Failure> {
    Ok(())
}
