//! A client's chain: verified in full, and found again.

use std::time::{Duration, SystemTime};

use criterion::Criterion;
use linkerd_gateway::cli::certs::authority::Authority;
use linkerd_gateway::cli::certs::names::LeafNames;
use linkerd_gateway::model::identity::{Identity, TrustBindings};
use linkerd_gateway::tls::pem;
use linkerd_gateway::tls::verify::{Anchor, Role, Verifier};
use rustls::pki_types::{CertificateDer, UnixTime};

/// A second verification of the same bytes hits the cache; each of many leaves of one identity
/// pushes out another one.
pub fn verification(criterion: &mut Criterion) {
    let authority = Authority::create("cluster.local", 1, 1).expect("an authority");
    let name = "web.default.serviceaccount.identity.linkerd.cluster.local";
    let names = LeafNames::Identity(Identity::parse(name).expect("an identity"));
    let chains: Vec<_> = std::iter::repeat_with(|| {
        let leaf = authority.issue(&names, 1).expect("a leaf");
        pem::certificates(leaf.chain.as_bytes()).expect("PEM")
    })
    .take(1000)
    .collect();
    let anchor = pem::certificates(authority.anchor().as_bytes()).expect("PEM").swap_remove(0);
    let anchors = vec![Anchor::new(anchor).expect("an anchor")];
    let verifier = Verifier::new(anchors, TrustBindings::default());
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // One clock for all: the cache must not expire while this runs.
    let now = UnixTime::since_unix_epoch(since_1970.unwrap_or(Duration::ZERO));
    let verify = |chain: &Vec<CertificateDer<'_>>| {
        let (leaf, issuers) = chain.split_first().expect("a leaf");
        verifier.verify(Role::Client, leaf, issuers, now).expect("a trusted chain")
    };
    criterion.bench_function("chain/known", |bencher| {
        bencher.iter(|| verify(&chains[0]));
    });
    criterion.bench_function("chain/never seen", |bencher| {
        let mut next = chains.iter().cycle();
        bencher.iter(|| next.next().map(verify));
    });
}
