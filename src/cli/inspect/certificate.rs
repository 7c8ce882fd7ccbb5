//! `inspect cert`: what a certificate says, and what the gateway would make of it.
//!
//! The fields are shown as x509-parser reads them. What the gateway would do comes from the code
//! that the gateway runs, `model::certificate` and webpki, so that both cannot disagree.

use std::fmt::Write;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::*;

use super::Explained;
use crate::cli::output::{escape, hex};
use crate::model::certificate;
use crate::tls::pem;

mod text;

/// Explains every certificate of a PEM or DER input.
pub(super) fn explain(input: &[u8]) -> Explained {
    let certificates = match split(input) {
        Ok(certificates) => certificates,
        Err(fault) => return Explained { text: String::new(), fault: Some(fault) },
    };
    let mut report = Report::default();
    for (index, der) in certificates.iter().enumerate() {
        report.heading(&format!("certificate {} of {}", index + 1, certificates.len()));
        match parse_x509_certificate(der) {
            Ok(([], parsed)) => {
                report.fields(&parsed, der);
                if index == 0 {
                    report.verdict(&parsed, der);
                }
            }
            Ok(_) => report.malformed(index, "bytes follow its end"),
            Err(error) => report.malformed(index, &escape(&error.to_string())),
        }
    }
    Explained { text: report.text, fault: report.fault }
}

/// The DER of each certificate. DER certificates may follow one another without separators.
fn split(input: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    const MARK: &[u8] = b"-----BEGIN ";
    if input.windows(MARK.len()).any(|window| window == MARK) {
        return pem::certificates(input).map_err(|error| format!("the input {error}"));
    }
    let mut certificates = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let Ok((after, _)) = parse_x509_certificate(rest) else {
            return Err("the input is neither PEM nor a DER certificate".into());
        };
        let (der, _) = rest.split_at(rest.len() - after.len());
        certificates.push(der.to_vec().into());
        rest = after;
    }
    match certificates.is_empty() {
        true => Err("the input is empty".into()),
        false => Ok(certificates),
    }
}

#[derive(Default)]
struct Report {
    text: String,
    fault: Option<String>,
}

impl Report {
    fn heading(&mut self, heading: &str) {
        // Writing to a String does not fail, here and below.
        let _ = writeln!(self.text, "{heading}");
    }

    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.text, "  {name:<12} {value}");
    }

    fn malformed(&mut self, index: usize, reason: &str) {
        self.line("malformed", reason);
        self.fault = Some(format!("certificate {} is malformed: {reason}", index + 1));
    }

    fn fields(&mut self, parsed: &X509Certificate<'_>, der: &[u8]) {
        self.line("subject", &text::name(parsed.subject()));
        self.line("issuer", &text::name(parsed.issuer()));
        self.line("serial", &hex(parsed.raw_serial()));
        let validity = parsed.validity();
        self.line("not before", &text::time(validity.not_before));
        let now = now();
        let left = text::remaining(validity, now);
        self.line("not after", &format!("{} ({left})", text::time(validity.not_after)));
        self.line("key", &text::key(parsed.public_key()));
        for name in text::alternative_names(parsed) {
            self.line("name", &name);
        }
        self.line("usage", &text::extended_key_usage(parsed));
        self.line("authority", if parsed.is_ca() { "yes" } else { "no" });
        self.line("sha256", &hex(digest::digest(&digest::SHA256, der).as_ref()));
    }

    /// What the gateway would read from a peer's leaf, and why it would refuse it whoever signed it.
    fn verdict(&mut self, parsed: &X509Certificate<'_>, der: &CertificateDer<'_>) {
        match certificate::identity(der) {
            Ok(identity) => self.line("identity", &escape(identity.as_str())),
            Err(error) => {
                self.line("identity", "none");
                self.line("refused", &error.to_string());
            }
        }
        if let Err(error) = webpki::EndEntityCert::try_from(der) {
            self.line("refused", &format!("it does not parse for TLS: {error}"));
        }
        if parsed.is_ca() {
            self.line("refused", "as a leaf: it is an authority's certificate");
        }
        // An absent extension allows any use.
        match parsed.extended_key_usage() {
            Ok(Some(usage)) if !usage.value.client_auth => {
                self.line("refused", "from a client: its usage lacks client authentication");
            }
            Ok(_) => {}
            Err(_) => self.line("refused", "its extended key usage is malformed"),
        }
        let now = now();
        if now > parsed.validity().not_after.timestamp() {
            self.line("refused", "it has expired");
        } else if now < parsed.validity().not_before.timestamp() {
            self.line("refused", "it is not valid yet");
        }
    }
}

/// Unix time in seconds.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::certs::authority::Authority;
    use crate::cli::certs::names::LeafNames;

    fn printable(explained: &Explained) -> bool {
        let fault = explained.fault.as_deref().unwrap_or_default();
        let allowed = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
        explained.text.chars().chain(fault.chars()).all(allowed)
    }

    proptest! {
        #[test]
        fn any_bytes_are_explained_printably(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(printable(&explain(&bytes)));
        }
    }

    #[test]
    fn every_damaged_byte_is_explained_printably() {
        let authority = Authority::create("td", 1, 1).expect("an authority");
        let names = LeafNames::parse("web.example,*.web.example").expect("names");
        let leaf = authority.issue(&names, 1).expect("a leaf");
        let chain = pem::certificates(leaf.chain.as_bytes()).expect("PEM");
        for certificate in &chain {
            for at in 0..certificate.len() {
                for value in [0, 0x1b, 0x30, 0x80, 0xff] {
                    let mut der = certificate.to_vec();
                    der[at] = value;
                    assert!(printable(&explain(&der)), "byte {at} as {value}");
                }
            }
        }
    }
}
