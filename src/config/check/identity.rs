//! `[identity]`: our own name and files, and whom we trust.

use std::path::PathBuf;

use super::values::duration;
use super::{LONGEST, SHORTEST_INTERVAL, path};
use crate::config::raw::{Cursor, Value};
use crate::config::{IdentitySettings, TrustSettings};
use crate::model::identity::{Identity, is_trust_domain};

/// Reads `[identity]`.
pub fn identity(at: &Cursor<'_>) -> Option<IdentitySettings> {
    let source = at.required("source", "\"files\"", source);
    let name = at.optional("name", name);
    let certificate = at.required("certificate", "the path of a PEM file: leaf first", path);
    let key = at.required("key", "the path of the certificate's private key, PEM", path);
    let poll_interval =
        at.required("poll_interval", "a duration", |at| duration(at, SHORTEST_INTERVAL..=LONGEST));
    let trust = at.optional("trust", |at| at.list("tables like [[identity.trust]]", trust));
    let anchors = anchors(at);
    source?;
    Some(IdentitySettings {
        name: name?,
        certificate: certificate?,
        key: key?,
        trust_anchors: anchors?,
        trust: trust?.unwrap_or_default(),
        poll_interval: poll_interval?,
    })
}

fn source(at: &Cursor<'_>) -> Option<()> {
    match at.text() {
        Some("files") => Some(()),
        Some(later @ ("linkerd" | "spire")) => at
            .refuse(format!("found \"{later}\", which is not in this version, expected \"files\"")),
        _ => at.wrong("\"files\""),
    }
}

/// An identity, in either form.
pub fn name(at: &Cursor<'_>) -> Option<Identity> {
    let expected = "an identity like \"web.ns.serviceaccount.identity.linkerd.cluster.local\" or \
                    \"spiffe://cluster.local/ns/web\"";
    at.parsed(expected, |text| Identity::parse(text).ok())
}

/// `trust_anchors`, which may be empty only when `[[identity.trust]]` has anchors instead.
fn anchors(at: &Cursor<'_>) -> Option<Vec<PathBuf>> {
    let bound = at.child("trust").is_some_and(
        |trust| matches!(&trust.entries("").as_deref(), Some(entries) if !entries.is_empty()),
    );
    let expected = "a list of PEM files with at least one trust anchor";
    let anchors = match at.child("trust_anchors") {
        None if bound => return Some(Vec::new()),
        None => return at.missing("trust_anchors", expected),
        Some(anchors) => anchors,
    };
    if !bound && is_empty(&anchors) {
        return anchors.refuse(format!("is empty, expected {expected}"));
    }
    anchors.list(expected, path)
}

fn trust(at: &Cursor<'_>) -> Option<TrustSettings> {
    at.table()?;
    let anchors = "a list of PEM files with at least one trust anchor";
    let domains = "a list with at least one trust domain like \"cluster.local\"";
    let anchors = at.required("anchors", anchors, |at| filled(at, anchors, path));
    let trust_domains = at.required("trust_domains", domains, |at| filled(at, domains, domain));
    Some(TrustSettings { anchors: anchors?, trust_domains: trust_domains? })
}

fn domain(at: &Cursor<'_>) -> Option<String> {
    let expected = "a trust domain of lower-case letters, digits, '.', '-' and '_'";
    at.parsed(expected, |text| is_trust_domain(text).then(|| text.to_owned()))
}

fn filled<T>(
    at: &Cursor<'_>,
    expected: &str,
    read: impl Fn(&Cursor<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    if is_empty(at) {
        return at.refuse(format!("is empty, expected {expected}"));
    }
    at.list(expected, read)
}

fn is_empty(at: &Cursor<'_>) -> bool {
    matches!(at.value(), Value::Array(entries) if entries.is_empty())
}
