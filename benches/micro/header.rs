//! The transport header: decoded once per connection, encoded once per onward TLS connection.

use std::hint::black_box;

use criterion::Criterion;
use linkerd_gateway::model::header::{Header, decode, encode};
use linkerd_gateway::model::service::{MAX_NAME, Port};

/// Both directions, with a name as long as they usually are.
pub fn codec(criterion: &mut Criterion) {
    let header = Header {
        name: Some("podinfo.test.svc.cluster.local"),
        port: Port::new(9898).expect("not 0"),
        session: None,
    };
    let mut bytes = Vec::with_capacity(512);
    encode(&header, &mut bytes);
    criterion.bench_function("header/decode", |bencher| {
        let mut name = [0; MAX_NAME];
        bencher.iter(|| decode(black_box(&bytes), &mut name).is_ok());
    });
    criterion.bench_function("header/encode", |bencher| {
        let mut out = Vec::with_capacity(512);
        bencher.iter(|| {
            out.clear();
            encode(black_box(&header), &mut out);
        });
    });
}
