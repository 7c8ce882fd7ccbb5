//! A certificate factory for tests: every odd certificate that a peer could present.
//!
//! ```ignore
//! let ca = TestCa::new("east");
//! let good = ca.identity("web.ns.serviceaccount.identity.linkerd.cluster.local");
//! let odd = ca.leaf().dns("a.b").raw_name(DNS, b"bad\xff").expired().issue();
//! let files = odd.write();           // files.certificate, files.key, in a TempDir
//! ```
//!
//! Names go into the subject alternative names byte for byte and in the order of the calls;
//! nothing is checked. Independent of the program's own `certs` command on purpose, so that a
//! mistake there is not repeated in what tests it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SignatureAlgorithm,
};
use tempfile::TempDir;

/// Context tag of a DNS name in GeneralName.
pub const DNS: u8 = 2;
/// Context tag of an e-mail address.
pub const EMAIL: u8 = 1;
/// Context tag of an IP address.
pub const IP: u8 = 7;
/// Context tag of a URI.
pub const URI: u8 = 6;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// When authorities are valid.
const AUTHORITY: (i64, i64) = (-3 * DAY, 30 * DAY);

/// What kind of key a certificate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Ed25519,
    P256,
    P384,
    Rsa2048,
}

impl Key {
    pub const ALL: [Self; 4] = [Self::Ed25519, Self::P256, Self::P384, Self::Rsa2048];

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Ed25519 => &rcgen::PKCS_ED25519,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        }
    }

    fn generate(self) -> KeyPair {
        let pair = KeyPair::generate_for(self.algorithm()).expect("a key");
        if self != Self::Ed25519 {
            return pair;
        }
        // The generated PKCS#8 holds the public key too (version 2), which openssl cannot read.
        let ed25519 = Ed25519KeyPair::from_pkcs8(pair.serialized_der()).expect("the same key");
        let version_1 = ed25519.to_pkcs8v1().expect("PKCS#8");
        KeyPair::try_from(version_1.as_ref()).expect("the same key")
    }
}

/// What a leaf's extended key usage says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Server and client authentication, as Linkerd issues.
    Both,
    Client,
    /// For something else altogether.
    CodeSigning,
    /// No such extension: any use.
    NotLimited,
    Server,
}

impl Usage {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
        match self {
            Self::Both => vec![ServerAuth, ClientAuth],
            Self::Client => vec![ClientAuth],
            Self::CodeSigning => vec![CodeSigning],
            Self::NotLimited => vec![],
            Self::Server => vec![ServerAuth],
        }
    }
}

/// An anchor with issuers below it; the last one signs leaves.
pub struct TestCa {
    /// PEM of the anchor.
    pub anchor: String,
    /// PEM of the issuers, the one that signs leaves first; the anchor is not among them.
    pub issuers: String,
    signer: Issuer<'static, KeyPair>,
}

impl TestCa {
    /// An anchor and one issuer, P-256.
    pub fn new(name: &str) -> Self {
        Self::with(name, 1, Key::P256)
    }

    /// An anchor and `issuers` below one another: with 0 the anchor itself signs leaves. A leaf's
    /// chain then has `issuers` + 1 certificates.
    pub fn with_depth(name: &str, issuers: usize) -> Self {
        Self::with(name, issuers, Key::P256)
    }

    /// As [`TestCa::with_depth`], with all keys of the authority of one kind.
    pub fn with(name: &str, issuers: usize, key: Key) -> Self {
        Self::build(name, issuers, key, &[AUTHORITY], AUTHORITY)
    }

    /// An anchor and one issuer with these validities, in seconds from now. Several anchors are
    /// renewals of one: the same name and key.
    pub fn with_validity(name: &str, anchors: &[(i64, i64)], issuer: (i64, i64)) -> Self {
        Self::build(name, 1, Key::P256, anchors, issuer)
    }

    fn build(
        name: &str,
        issuers: usize,
        key: Key,
        anchors: &[(i64, i64)],
        issuer: (i64, i64),
    ) -> Self {
        let pair = key.generate();
        let mut params = authority_params(&format!("root.{name}"));
        let mut anchor = String::new();
        for (from, until) in anchors {
            set_validity(&mut params, *from, *until);
            anchor += &params.self_signed(&pair).expect("an anchor").pem();
        }
        let mut signer = Issuer::new(params, pair);
        let mut chain = String::new();
        for level in 1..=issuers {
            let pair = key.generate();
            let mut params = authority_params(&format!("issuer{level}.{name}"));
            set_validity(&mut params, issuer.0, issuer.1);
            let pem = params.signed_by(&pair, &signer).expect("an issuer").pem();
            chain = pem + &chain;
            signer = Issuer::new(params, pair);
        }
        Self { anchor, issuers: chain, signer }
    }

    /// A certificate that every gateway trusting this authority accepts: its one name is
    /// `identity`, a URI if it starts with `spiffe:`, else DNS.
    pub fn identity(&self, identity: &str) -> TestLeaf {
        match identity.starts_with("spiffe:") {
            true => self.leaf().uri(identity).issue(),
            false => self.leaf().dns(identity).issue(),
        }
    }

    /// A leaf to be described: P-256, both usages, valid from an hour ago for a day, no names.
    pub fn leaf(&self) -> LeafBuilder<'_> {
        LeafBuilder {
            ca: self,
            names: Vec::new(),
            extension: None,
            common_name: None,
            usage: Usage::Both,
            is_ca: false,
            validity: (-HOUR, DAY),
            key: Key::P256,
            wrong_key: false,
            with_issuers: true,
        }
    }

    /// Writes the anchor's PEM as `name` into `directory`.
    pub fn write_anchor(&self, directory: &Path, name: &str) -> PathBuf {
        write(directory, name, &self.anchor)
    }
}

/// Describes a leaf; [`LeafBuilder::issue`] makes it.
#[derive(Clone)]
pub struct LeafBuilder<'c> {
    ca: &'c TestCa,
    names: Vec<(u8, Vec<u8>)>,
    extension: Option<Vec<u8>>,
    common_name: Option<String>,
    usage: Usage,
    is_ca: bool,
    validity: (i64, i64),
    key: Key,
    wrong_key: bool,
    with_issuers: bool,
}

impl LeafBuilder<'_> {
    /// Adds a DNS name.
    pub fn dns(self, name: &str) -> Self {
        self.raw_name(DNS, name.as_bytes())
    }

    /// Adds a URI.
    pub fn uri(self, uri: &str) -> Self {
        self.raw_name(URI, uri.as_bytes())
    }

    /// Adds a name of any kind with any bytes.
    pub fn raw_name(mut self, tag: u8, bytes: &[u8]) -> Self {
        self.names.push((tag, bytes.to_vec()));
        self
    }

    /// Makes `der` the value of the subject alternative name extension, whatever names were added.
    pub fn raw_names_extension(mut self, der: &[u8]) -> Self {
        self.extension = Some(der.to_vec());
        self
    }

    /// Sets the subject's common name; the subject is empty without.
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.into());
        self
    }

    /// Sets the extended key usage.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Makes it a certificate with CA:true.
    pub fn authority(mut self) -> Self {
        self.is_ca = true;
        self
    }

    /// Valid from and until so many seconds from now; negative is the past.
    pub fn valid(mut self, from: i64, until: i64) -> Self {
        self.validity = (from, until);
        self
    }

    /// Ended an hour ago.
    pub fn expired(self) -> Self {
        self.valid(-2 * DAY, -HOUR)
    }

    /// Begins in an hour.
    pub fn not_yet_valid(self) -> Self {
        self.valid(HOUR, DAY)
    }

    /// Sets the kind of key.
    pub fn key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    /// Returns a key of the same kind that does not belong to the certificate.
    pub fn wrong_key(mut self) -> Self {
        self.wrong_key = true;
        self
    }

    /// Leaves the issuers out of the chain.
    pub fn without_issuers(mut self) -> Self {
        self.with_issuers = false;
        self
    }

    /// Signs it.
    pub fn issue(self) -> TestLeaf {
        self.sign().0
    }

    /// Signs it, and a certificate for `name` with its key, as if it were an authority: the chain
    /// of that one is itself, this leaf and the issuers.
    pub fn issue_below(self, name: &str) -> (TestLeaf, TestLeaf) {
        let (leaf, params, pair) = self.sign();
        let ca = TestCa {
            anchor: String::new(),
            issuers: leaf.chain.clone(),
            signer: Issuer::new(params, pair),
        };
        let below = ca.leaf().dns(name).issue();
        (leaf, below)
    }

    fn sign(self) -> (TestLeaf, CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        set_validity(&mut params, self.validity.0, self.validity.1);
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = self.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.is_ca = match self.is_ca {
            true => IsCa::Ca(BasicConstraints::Unconstrained),
            false => IsCa::ExplicitNoCa,
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.usage.purposes();
        let names: Vec<u8> =
            self.names.iter().flat_map(|(tag, bytes)| der(0x80 | tag, bytes)).collect();
        let has_names = !self.names.is_empty();
        let extension = self.extension.or(has_names.then(|| der(SEQUENCE, &names)));
        let extension = extension.map(|value| CustomExtension::from_oid_content(SAN, value));
        params.custom_extensions.extend(extension);

        let pair = self.key.generate();
        let certificate = params.signed_by(&pair, &self.ca.signer).expect("a leaf");
        let issuers = if self.with_issuers { &self.ca.issuers } else { "" };
        let key = if self.wrong_key { &self.key.generate() } else { &pair };
        let leaf = TestLeaf {
            der: certificate.der().to_vec(),
            certificate: certificate.pem(),
            chain: certificate.pem() + issuers,
            key: key.serialize_pem(),
        };
        (leaf, params, pair)
    }
}

/// A leaf as PEM.
pub struct TestLeaf {
    /// The leaf alone, DER.
    pub der: Vec<u8>,
    /// The leaf alone.
    pub certificate: String,
    /// The leaf, then its issuers.
    pub chain: String,
    /// PKCS#8.
    pub key: String,
}

/// A leaf in files of its own directory, removed on drop.
pub struct LeafFiles {
    pub directory: TempDir,
    /// Chain.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl TestLeaf {
    /// Writes `tls.crt` (the chain) and `tls.key` into a new directory.
    pub fn write(&self) -> LeafFiles {
        let directory = TempDir::new().expect("a directory");
        let (certificate, key) = self.write_to(directory.path());
        LeafFiles { directory, certificate, key }
    }

    /// Writes `tls.crt` (the chain) and `tls.key` into `directory`, which is created when missing,
    /// and returns their paths.
    pub fn write_to(&self, directory: &Path) -> (PathBuf, PathBuf) {
        (write(directory, "tls.crt", &self.chain), write(directory, "tls.key", &self.key))
    }
}

const SEQUENCE: u8 = 0x30;
/// id-ce-subjectAltName.
const SAN: &[u64] = &[2, 5, 29, 17];

/// One DER element; contents up to 65,535 bytes.
pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short content");
    let [high, low] = length.to_be_bytes();
    let mut out = match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Sets the validity in seconds from now. Not a function that returns a time, because its type is
/// of a crate that only rcgen depends on.
fn set_validity(params: &mut CertificateParams, from: i64, until: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let at = |offset| Duration::from_secs(now.checked_add_signed(offset).expect("after 1970"));
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + at(from);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + at(until);
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(directory).expect("a directory");
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}
