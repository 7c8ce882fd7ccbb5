//! `check`: is this configuration correct, and is what it points to there? Changes nothing and
//! opens no sockets.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::{Failure, output};
use crate::config::Settings;
use crate::config::load::{Loaded, Sources, load};
use crate::config::warnings::warnings;
use crate::control::credentials::{self, Source};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration file, else LINKERD_GATEWAY_CONFIG; config.d/*.toml beside it is read too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs `check`. Warnings go to standard error and change nothing else.
///
/// # Errors
/// When the configuration is wrong, or a file that it names.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = load(&Sources::from_process(args.config.clone())).map_err(Failure::usage)?;
    for warning in warnings(&loaded.settings) {
        eprintln!("warning: {}", output::escape(&warning));
    }
    credential_files(&loaded.settings)?;
    println!("configuration ok: {}", summary(&loaded));
    Ok(())
}

/// Checks the PEM files that the settings name: that each can be read, and then that together they
/// are credentials which the gateway would use.
fn credential_files(settings: &Settings) -> Result<(), Failure> {
    let problems: Vec<_> = named_files(settings)
        .into_iter()
        .filter_map(|(key, path)| {
            let error = File::open(path).and_then(|mut file| file.read(&mut [0])).err()?;
            Some(format!("\n{key}: {} cannot be read: {error}", path.display()))
        })
        .collect();
    if problems.is_empty() {
        let source = Source::new(&settings.identity, &settings.routes);
        return credentials::load(&source)
            .map(|_| ())
            .context("the credentials cannot be used")
            .map_err(Failure::usage);
    }
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    let message = format!("{} {noun} with named files{}", problems.len(), problems.concat());
    Err(Failure::usage(anyhow!(message)))
}

/// All files that the settings name, each with the key that names it.
fn named_files(settings: &Settings) -> Vec<(String, &Path)> {
    let identity = &settings.identity;
    let mut files = vec![
        ("identity.certificate".to_owned(), identity.certificate.as_path()),
        ("identity.key".to_owned(), identity.key.as_path()),
    ];
    for (index, path) in identity.trust_anchors.iter().enumerate() {
        files.push((format!("identity.trust_anchors[{index}]"), path));
    }
    for (index, trust) in identity.trust.iter().enumerate() {
        for (anchor, path) in trust.anchors.iter().enumerate() {
            files.push((format!("identity.trust[{index}].anchors[{anchor}]"), path));
        }
    }
    for (index, route) in settings.routes.iter().enumerate() {
        if let Some(pair) = &route.certificate {
            files.push((format!("route[{index}].certificate"), &pair.certificate));
            files.push((format!("route[{index}].key"), &pair.key));
        }
    }
    files
}

fn summary(loaded: &Loaded) -> String {
    let Settings { gateway, admin, routes, .. } = &loaded.settings;
    let noun = if routes.len() == 1 { "route" } else { "routes" };
    let listen: Vec<_> = gateway.listen.iter().map(|own| own.address.to_string()).collect();
    let gateway = if gateway.enabled { listen.join(", ") } else { "disabled".to_owned() };
    let files: Vec<_> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let files = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    format!("{} {noun}, gateway {gateway}, admin {} ({files})", routes.len(), admin.listen)
}
