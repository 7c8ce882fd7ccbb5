//! `certs`: an anchor, an issuer, and leaves for the gateway and a client, to try the gateway or
//! to run one without Linkerd's control plane. With `--leaf` it signs more leaves with an issuer
//! that it made before.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;

use self::authority::Authority;
use self::names::LeafRequest;
use super::{Failure, output};
use crate::model::identity::Identity;

pub mod authority;
pub mod files;
pub mod names;

/// Default validity of an anchor.
pub const ANCHOR_DAYS: u32 = 3650;
/// Default validity of an issuer and of leaves.
pub const DAYS: u32 = 365;
/// Default trust domain, which is Linkerd's.
pub const TRUST_DOMAIN: &str = "cluster.local";
/// Longest validity, about a hundred years.
const MAX_DAYS: i64 = 36_500;

/// Arguments of `certs`.
#[derive(Debug, clap::Args)]
pub struct CertsArgs {
    /// Directory to write to, created when missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Identity of the gateway, DNS-like or spiffe://
    /// [default: linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.TRUST-DOMAIN].
    #[arg(long, value_name = "NAME", value_parser = Identity::parse)]
    identity: Option<Identity>,
    /// Identity of the client
    /// [default: client.default.serviceaccount.identity.linkerd.TRUST-DOMAIN].
    #[arg(long, value_name = "NAME", value_parser = Identity::parse)]
    client_identity: Option<Identity>,
    /// Make SPIFFE IDs the default identities: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT.
    #[arg(long)]
    spiffe: bool,
    /// Trust domain of the default identities and of the authority's names [default: cluster.local].
    #[arg(long, value_name = "NAME", value_parser = names::trust_domain)]
    trust_domain: Option<String>,
    /// A further leaf: its directory in DIR and its identity, or several DNS names for a web
    /// server. Where DIR has an issuer already, only these leaves are written, signed by it.
    #[arg(long = "leaf", value_name = "DIR=NAME[,NAME...]", value_parser = LeafRequest::parse)]
    leaves: Vec<LeafRequest>,
    /// Validity of the anchor in days [default: 3650].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
    anchor_days: Option<u32>,
    /// Validity of the issuer in days, at most the anchor's [default: 365].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
    issuer_days: Option<u32>,
    /// Validity of leaves in days, at most the issuer's.
    #[arg(long, value_name = "N", default_value_t = DAYS,
          value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
    leaf_days: u32,
    /// Replace files that exist. Without --leaf this replaces the anchor too, and whatever the old
    /// one vouched for is trusted no more.
    #[arg(long)]
    force: bool,
}

/// Runs `certs`.
///
/// # Errors
/// Exit 64 when files exist or the existing authority cannot be used, 70 when writing fails.
pub fn certs(args: &CertsArgs) -> Result<(), Failure> {
    if args.out.exists() && !args.out.is_dir() {
        return Err(Failure::usage(anyhow!("{} is not a directory", args.out.display())));
    }
    let reuse = !args.leaves.is_empty() && Authority::exists(&args.out);
    let (authority, mut leaves) = if reuse { reused(args)? } else { created(args)? };
    leaves.extend_from_slice(&args.leaves);
    refuse_repeated(&leaves)?;

    let mut files = if reuse { Vec::new() } else { authority.files() };
    let mut report = String::new();
    for leaf in &leaves {
        let issued = authority.issue(&leaf.names, args.leaf_days).map_err(Failure::usage)?;
        describe(&mut report, leaf, issued.not_after);
        files.extend(issued.files(&leaf.directory));
    }
    let existing = files::existing(&args.out, &files);
    if !args.force && !existing.is_empty() {
        let could_add = !reuse && Authority::exists(&args.out);
        return Err(Failure::usage(refusal(&existing, could_add)));
    }
    files::write(&args.out, &files).map_err(Failure::internal)?;

    let mut text: String = files.iter().fold(String::new(), |text, file| {
        text + &format!("wrote {}\n", args.out.join(&file.path).display())
    });
    text += &report;
    text += &hint(&args.out, &leaves, reuse);
    output::print(text.as_bytes())
}

/// A new authority, and the leaves that always come with one.
fn created(args: &CertsArgs) -> Result<(Authority, Vec<LeafRequest>), Failure> {
    let domain = args.trust_domain.as_deref().unwrap_or(TRUST_DOMAIN);
    let identity = |chosen: &Option<Identity>, account: &str, namespace: &str| match chosen {
        Some(identity) => Ok(identity.clone()),
        None => names::account_identity(account, namespace, domain, args.spiffe),
    };
    let gateway = identity(&args.identity, "linkerd-gateway", "linkerd-multicluster");
    let client = identity(&args.client_identity, "client", "default");
    let leaves = vec![
        LeafRequest::new("gateway", gateway.map_err(Failure::usage)?),
        LeafRequest::new("client", client.map_err(Failure::usage)?),
    ];
    let anchor_days = args.anchor_days.unwrap_or(ANCHOR_DAYS);
    let issuer_days = args.issuer_days.unwrap_or(DAYS);
    let authority = Authority::create(domain, anchor_days, issuer_days);
    Ok((authority.map_err(Failure::internal)?, leaves))
}

/// The authority that is there. Arguments that only shape a new one would be ignored silently, so
/// they are refused.
fn reused(args: &CertsArgs) -> Result<(Authority, Vec<LeafRequest>), Failure> {
    for (given, flag) in [
        (args.identity.is_some(), "--identity"),
        (args.client_identity.is_some(), "--client-identity"),
        (args.spiffe, "--spiffe"),
        (args.trust_domain.is_some(), "--trust-domain"),
        (args.anchor_days.is_some(), "--anchor-days"),
        (args.issuer_days.is_some(), "--issuer-days"),
    ] {
        if given {
            let out = args.out.display();
            return Err(Failure::usage(anyhow!(
                "{flag} is for a new authority, but {out} has one and --leaf uses it"
            )));
        }
    }
    Ok((Authority::load(&args.out).map_err(Failure::usage)?, Vec::new()))
}

fn refuse_repeated(leaves: &[LeafRequest]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    match leaves.iter().find(|leaf| !seen.insert(&leaf.directory)) {
        Some(leaf) => {
            let directory = leaf.directory.display();
            Err(Failure::usage(anyhow!("two leaves would go to the directory {directory}")))
        }
        None => Ok(()),
    }
}

fn refusal(existing: &[PathBuf], could_add: bool) -> anyhow::Error {
    let list: String = existing.iter().map(|path| format!("\n  {}", path.display())).collect();
    let add = match could_add {
        true => "; --leaf DIR=NAME adds a leaf signed by the existing issuer",
        false => "",
    };
    anyhow!("nothing was written, these exist:{list}\n--force replaces them{add}")
}

fn describe(report: &mut String, leaf: &LeafRequest, not_after: u64) {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(not_after);
    let until = humantime::format_rfc3339_seconds(until);
    let (directory, names) = (leaf.directory.display(), leaf.names.as_text());
    // Writing to a String does not fail.
    let _ = writeln!(report, "{directory} is {names} until {until}");
}

fn hint(out: &Path, leaves: &[LeafRequest], reuse: bool) -> String {
    let out = out.display();
    match leaves.first() {
        Some(leaf) if reuse => {
            let directory = leaf.directory.display();
            format!("next: linkerd-gateway inspect cert {out}/{directory}/tls.crt\n")
        }
        _ => format!(
            "next: in the gateway's configuration, [identity] certificate = \
             \"{out}/gateway/tls.crt\", key = \"{out}/gateway/tls.key\", trust_anchors = \
             [\"{out}/ca.crt\"]\n"
        ),
    }
}
