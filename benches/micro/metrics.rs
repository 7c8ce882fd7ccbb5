//! What counting costs: all that one connection counts, and the bytes of one read.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use linkerd_gateway::model::counts::ByteCounts;
use linkerd_gateway::model::identity::Identity;
use linkerd_gateway::model::outcome::Outcome;
use linkerd_gateway::model::service::Target;
use linkerd_gateway::observe::metrics::Metrics;

/// Per connection, per read, and a scrape.
pub fn updates(criterion: &mut Criterion) {
    let metrics = Metrics::new();
    let local = ([10, 0, 0, 1], 4143).into();
    let endpoint = ([10, 0, 0, 2], 80).into();
    let client = Identity::parse("web.default.serviceaccount.identity.linkerd.cluster.local");
    let client = client.expect("an identity");
    let target = Target::parse("web.test.svc.cluster.local:80").expect("a target");
    let rule: Arc<str> = "clients".into();
    criterion.bench_function("metrics/connection", |bencher| {
        bencher.iter(|| {
            metrics.accepted();
            metrics.header(None, Some(&target), &client);
            metrics.authorized(true, &rule);
            let bytes = Arc::<ByteCounts>::default();
            let sides = (
                metrics.client_transport(local, &client, Arc::clone(&bytes)),
                metrics.endpoint_transport(&target, endpoint, None, bytes),
            );
            metrics.outcome(Outcome::Closed);
            sides
        });
    });
    criterion.bench_function("metrics/read", |bencher| {
        let bytes = ByteCounts::default();
        bencher.iter(|| bytes.add_from_client(black_box(65_536)));
    });
    criterion.bench_function("metrics/scrape", |bencher| bencher.iter(|| metrics.encode()));
}
