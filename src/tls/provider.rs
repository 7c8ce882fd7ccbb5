//! The cryptographic provider: aws-lc-rs, TLS 1.3 only, the suites and groups of Linkerd.

use std::sync::Arc;

use ::aws_lc_rs::rand;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};

/// TLS 1.3 with AES-128-GCM, AES-256-GCM, ChaCha20 and X25519MLKEM768, X25519, P-256, P-384.
///
/// TLS 1.2 stays out even when another dependency turns rustls' feature on: no 1.2 suite is here
/// and every config names the version too.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// The signature algorithms accepted in chains and handshakes.
pub fn signature_algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

/// What [`provider`] offers, for metrics: cipher suites and key exchange groups, comma-separated.
pub fn offered() -> (String, String) {
    let provider = provider();
    let suites = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite()));
    let groups = provider.kx_groups.iter().map(|group| format!("{:?}", group.name()));
    (suites.collect::<Vec<_>>().join(","), groups.collect::<Vec<_>>().join(","))
}

/// Seeds this thread's random number generator. It happens once per thread and takes about 30 ms
/// (measured: 33.8 ms for a thread's first handshake, 3.5 for the next), which the first client of
/// each worker would wait for.
pub fn warm_up() {
    // Without random numbers the first handshake fails with its own error.
    let _ = rand::fill(&mut [0; 1]);
}
