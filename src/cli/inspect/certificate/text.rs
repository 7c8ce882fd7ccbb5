//! Certificate fields as text. Every string that comes from the certificate is escaped here.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::*;
use x509_parser::public_key::PublicKey;

use crate::cli::output::{escape, escape_bytes, hex};

const SECONDS_PER_DAY: i64 = 86_400;
/// Bytes of a malformed value that are shown.
const SHOWN: usize = 256;

/// A distinguished name in certificate order, `CN=web, O=example`. As in RFC 4514, a backslash
/// stands before what would read as the next part.
pub(super) fn name(name: &X509Name<'_>) -> String {
    let attributes = name.iter_attributes().map(|attribute| {
        let oid = attribute.attr_type();
        let kind = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_string(), str::to_owned);
        let value = match attribute.as_str() {
            Ok(value) => escape(value).replace(',', "\\,").replace('+', "\\+"),
            Err(_) => escape_bytes(attribute.as_slice(), SHOWN),
        };
        format!("{kind}={value}")
    });
    let parts: Vec<String> = attributes.collect();
    if parts.is_empty() { "(empty)".into() } else { parts.join(", ") }
}

/// `2026-11-20T10:00:00Z`.
pub(super) fn time(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// How the validity stands at `now` (Unix seconds).
pub(super) fn remaining(validity: &Validity, now: i64) -> String {
    let days = |seconds: i64| match seconds / SECONDS_PER_DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if now > until {
        format!("expired {} ago", days(now - until))
    } else if now < from {
        format!("valid only in {}", days(from - now))
    } else {
        format!("{} left", days(until - now))
    }
}

/// `ECDSA P-256`, `RSA 2048`, `Ed25519`, or the algorithm's object identifier.
pub(super) fn key(key: &SubjectPublicKeyInfo<'_>) -> String {
    let algorithm = key.algorithm.algorithm.to_id_string();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
            let curve = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
            match curve.as_str() {
                "1.2.840.10045.3.1.7" => "ECDSA P-256".into(),
                "1.3.132.0.34" => "ECDSA P-384".into(),
                "1.3.132.0.35" => "ECDSA P-521".into(),
                other => format!("ECDSA on curve {other}"),
            }
        }
        _ if algorithm == "1.3.101.112" => "Ed25519".into(),
        _ => format!("algorithm {algorithm}"),
    }
}

/// One line for each subject alternative name, malformed ones included.
pub(super) fn alternative_names(parsed: &X509Certificate<'_>) -> Vec<String> {
    match parsed.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().map(general_name).collect(),
        Ok(None) => vec!["none".into()],
        Err(_) => vec!["malformed or repeated extension".into()],
    }
}

fn general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS {}", escape(name)),
        GeneralName::URI(name) => format!("URI {}", escape(name)),
        GeneralName::RFC822Name(name) => format!("email {}", escape(name)),
        GeneralName::IPAddress(bytes) => format!("IP {}", address(bytes)),
        GeneralName::DirectoryName(directory) => format!("directory {}", self::name(directory)),
        GeneralName::RegisteredID(oid) => format!("registered {}", oid.to_id_string()),
        GeneralName::OtherName(oid, _) => format!("other {}", oid.to_id_string()),
        GeneralName::X400Address(_) => "X.400 address".into(),
        GeneralName::EDIPartyName(_) => "EDI party".into(),
        GeneralName::Invalid(tag, bytes) => {
            format!("malformed (tag {}) {}", tag.0, escape_bytes(bytes, SHOWN))
        }
    }
}

fn address(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return IpAddr::from(v4).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(v6) => IpAddr::from(v6).to_string(),
        Err(_) => format!("malformed {}", hex(bytes)),
    }
}

/// The purposes that the certificate is limited to.
pub(super) fn extended_key_usage(parsed: &X509Certificate<'_>) -> String {
    let usage = match parsed.extended_key_usage() {
        Ok(Some(usage)) => usage.value,
        Ok(None) => return "not limited".into(),
        Err(_) => return "malformed or repeated extension".into(),
    };
    let known = [
        (usage.any, "any"),
        (usage.server_auth, "server authentication"),
        (usage.client_auth, "client authentication"),
        (usage.code_signing, "code signing"),
        (usage.email_protection, "email"),
        (usage.time_stamping, "time stamping"),
        (usage.ocsp_signing, "OCSP signing"),
    ];
    let known = known.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned());
    let names: Vec<String> = known.chain(usage.other.iter().map(|o| o.to_id_string())).collect();
    names.join(", ")
}
