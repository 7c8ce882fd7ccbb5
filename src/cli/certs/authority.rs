//! A private certificate authority: an anchor, one issuer below it, and the leaves it signs.
//!
//! Used by `certs`, `demo` and whatever else needs certificates that a Linkerd proxy would
//! accept: ECDSA P-256, one identity as the only name. The one place that creates certificates;
//! nothing of the gateway's data path calls it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::files::NewFile;
use super::names::LeafNames;
use crate::tls::pem;

/// The anchor's certificate in the authority's directory.
pub const ANCHOR: &str = "ca.crt";
/// The anchor's key. Leaves are signed without it, so it may be kept elsewhere.
pub const ANCHOR_KEY: &str = "ca.key";
/// The issuer's certificate.
pub const ISSUER: &str = "issuer.crt";
/// The issuer's key.
pub const ISSUER_KEY: &str = "issuer.key";
/// A leaf's certificate, then its issuer's, in the leaf's directory.
pub const LEAF: &str = "tls.crt";
/// A leaf's key.
pub const LEAF_KEY: &str = "tls.key";

/// Added at both ends of every validity, as Linkerd's identity service does, for peers whose
/// clocks differ.
const CLOCK_SKEW: u64 = 20;
const SECONDS_PER_DAY: u64 = 86_400;
/// Longest common name (RFC 5280 A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;
/// Bytes of a serial number: CA/Browser Forum rules ask for 8 random ones, RFC 5280 allows 20.
const SERIAL: usize = 16;

/// An anchor with an issuer that can sign.
pub struct Authority {
    anchor: Signed,
    /// `None` when the authority was loaded.
    anchor_key: Option<String>,
    issuer: Signed,
    signer: Issuer<'static, KeyPair>,
}

/// A leaf with its chain and key.
pub struct Leaf {
    /// PEM: the leaf, then the issuer. The anchor is not part of it.
    pub chain: String,
    /// PEM, PKCS#8.
    pub key: String,
    /// Last second of its validity, Unix time.
    pub not_after: u64,
}

/// A certificate as PEM and DER, and its end.
struct Signed {
    pem: String,
    der: CertificateDer<'static>,
    not_after: u64,
}

impl Authority {
    /// A new anchor and issuer, named after the trust domain as Linkerd's documentation does.
    ///
    /// # Errors
    /// When the system gives no keys or random numbers.
    pub fn create(trust_domain: &str, anchor_days: u32, issuer_days: u32) -> anyhow::Result<Self> {
        let anchor_key = KeyPair::generate()?;
        let not_after = expiry(anchor_days)?;
        let params = authority_params("root.linkerd", trust_domain, 1, not_after)?;
        let anchor = Signed::new(&params.self_signed(&anchor_key)?, not_after);

        let root = Issuer::from_params(&params, &anchor_key);
        let key = KeyPair::generate()?;
        let not_after = expiry(issuer_days)?.min(anchor.not_after);
        let params = authority_params("identity.linkerd", trust_domain, 0, not_after)?;
        let issuer = Signed::new(&params.signed_by(&key, &root)?, not_after);

        let anchor_key = Some(anchor_key.serialize_pem());
        Ok(Self { anchor, anchor_key, issuer, signer: Issuer::new(params, key) })
    }

    /// True when `directory` has a part of an authority.
    pub fn exists(directory: &Path) -> bool {
        [ANCHOR, ISSUER, ISSUER_KEY].iter().any(|name| directory.join(name).exists())
    }

    /// Reads what [`Authority::files`] wrote; the anchor's key is not needed.
    ///
    /// # Errors
    /// When a file is missing or malformed. Whether they fit together shows when a leaf is issued.
    pub fn load(directory: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let broken = |name: &str| format!("{} is malformed", directory.join(name).display());
        let anchor = Signed::parse(read(ANCHOR)?).with_context(|| broken(ANCHOR))?;
        let issuer = Signed::parse(read(ISSUER)?).with_context(|| broken(ISSUER))?;
        let key = KeyPair::from_pem(&read(ISSUER_KEY)?).with_context(|| broken(ISSUER_KEY))?;
        let signer = Issuer::from_ca_cert_der(&issuer.der, key).with_context(|| broken(ISSUER))?;
        Ok(Self { anchor, anchor_key: None, issuer, signer })
    }

    /// The anchor's certificate as PEM: what peers have to trust.
    pub fn anchor(&self) -> &str {
        &self.anchor.pem
    }

    /// The authority's own files. A loaded authority has no anchor key to write.
    pub fn files(&self) -> Vec<NewFile> {
        let mut files = vec![
            NewFile { path: ANCHOR.into(), text: self.anchor.pem.clone(), secret: false },
            NewFile { path: ISSUER.into(), text: self.issuer.pem.clone(), secret: false },
            NewFile {
                path: ISSUER_KEY.into(),
                text: self.signer.key().serialize_pem(),
                secret: true,
            },
        ];
        let key = self.anchor_key.clone();
        files.extend(key.map(|text| NewFile { path: ANCHOR_KEY.into(), text, secret: true }));
        files
    }

    /// Signs a new key for `names`, valid for `days` but never longer than the issuer.
    ///
    /// # Errors
    /// When the result would not verify: the authority has expired, or its files do not belong
    /// together.
    pub fn issue(&self, names: &LeafNames, days: u32) -> anyhow::Result<Leaf> {
        let key = KeyPair::generate()?;
        let not_after = expiry(days)?.min(self.issuer.not_after);
        let certificate = leaf_params(names, not_after)?.signed_by(&key, &self.signer)?;
        self.verify(certificate.der())
            .context("what this issuer signs does not verify: its files may not fit together")?;
        let chain = certificate.pem() + &self.issuer.pem;
        Ok(Leaf { chain, key: key.serialize_pem(), not_after })
    }

    /// Checks as a peer would that trusts the anchor.
    fn verify(&self, leaf: &CertificateDer<'_>) -> Result<(), webpki::Error> {
        let anchor = webpki::anchor_from_trusted_cert(&self.anchor.der)?;
        let leaf = webpki::EndEntityCert::try_from(leaf)?;
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            std::slice::from_ref(&self.issuer.der),
            UnixTime::now(),
            webpki::KeyUsage::client_auth(),
            None,
            None,
        )?;
        Ok(())
    }
}

impl Leaf {
    /// The leaf's files below `directory`.
    pub fn files(self, directory: &Path) -> Vec<NewFile> {
        vec![
            NewFile { path: directory.join(LEAF), text: self.chain, secret: false },
            NewFile { path: directory.join(LEAF_KEY), text: self.key, secret: true },
        ]
    }
}

impl Signed {
    fn new(certificate: &rcgen::Certificate, not_after: u64) -> Self {
        Self { pem: certificate.pem(), der: certificate.der().clone(), not_after }
    }

    fn parse(pem: String) -> anyhow::Result<Self> {
        let certificates = pem::certificates(pem.as_bytes()).context("not one certificate")?;
        let [der] = <[_; 1]>::try_from(certificates)
            .map_err(|found| anyhow!("it has {} certificates, not one", found.len()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)?;
        let not_after = u64::try_from(parsed.validity().not_after.timestamp())?;
        Ok(Self { pem, der, not_after })
    }
}

fn authority_params(
    role: &str,
    trust_domain: &str,
    path_length: u8,
    not_after: u64,
) -> anyhow::Result<CertificateParams> {
    let mut params = params(not_after)?;
    // An authority needs a subject, and the role alone is one when the domain is very long.
    let name = format!("{role}.{trust_domain}");
    let name = if name.len() > MAX_COMMON_NAME { role } else { &name };
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(names: &LeafNames, not_after: u64) -> anyhow::Result<CertificateParams> {
    let mut params = params(not_after)?;
    params.subject_alt_names = match names {
        LeafNames::Identity(identity) => {
            let text = Ia5String::try_from(identity.as_str())?;
            vec![if identity.is_spiffe() { SanType::URI(text) } else { SanType::DnsName(text) }]
        }
        LeafNames::Web(names) => {
            let names = names.iter().map(|name| Ia5String::try_from(name.as_str()));
            names.map(|name| name.map(SanType::DnsName)).collect::<Result<_, _>>()?
        }
    };
    let common_name = match names {
        LeafNames::Identity(identity) => Some(identity.as_str()),
        LeafNames::Web(names) => names.first().map(String::as_str),
    };
    if let Some(name) = common_name.filter(|name| name.len() <= MAX_COMMON_NAME) {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// What all certificates have in common.
fn params(not_after: u64) -> anyhow::Result<CertificateParams> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + Duration::from_secs(now()?.saturating_sub(CLOCK_SKEW));
    params.not_after = epoch + Duration::from_secs(not_after);
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn serial() -> anyhow::Result<SerialNumber> {
    let mut bytes = [0_u8; SERIAL];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the system gives no random numbers")?;
    // Positive, and without leading zeros, which some parsers refuse.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn expiry(days: u32) -> anyhow::Result<u64> {
    Ok(now()? + u64::from(days) * SECONDS_PER_DAY + CLOCK_SKEW)
}

fn now() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(now.context("the clock stands before 1970")?.as_secs())
}
