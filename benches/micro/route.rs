//! A look into the route table: once per connection.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use linkerd_gateway::model::route::{Endpoint, Route, RouteTable};
use linkerd_gateway::model::service::{Port, Target};

/// Targets of a large cluster.
const TARGETS: usize = 100_000;

/// A hit, a miss, and the building of a whole table after a change.
pub fn lookup(criterion: &mut Criterion) {
    let table = RouteTable::new((0..TARGETS).map(route).collect(), &RouteTable::default());
    let port = Port::new(80).expect("not 0");
    for (case, name) in [("hit", "web.ns54321.svc.cluster.local"), ("miss", "web.nowhere.svc")] {
        criterion.bench_function(&format!("route/{case} among {TARGETS}"), |bencher| {
            bencher.iter(|| table.by_name(black_box(name), port).is_some());
        });
    }
    let mut group = criterion.benchmark_group("route");
    group.sample_size(10);
    group.bench_function(format!("table of {TARGETS} after a change"), |bencher| {
        let changed = || (0..TARGETS).map(route).collect();
        let size = criterion::BatchSize::PerIteration;
        bencher.iter_batched(changed, |routes: Vec<_>| RouteTable::new(routes, &table), size);
    });
    group.finish();
}

fn route(number: usize) -> Route {
    let address = ([127, 0, 0, 1], 9000).into();
    let target = format!("web.ns{number}.svc.cluster.local:80");
    let endpoint = Arc::new(Endpoint::new(address, 1, None));
    Route::new(Target::parse(&target).expect("a target"), vec![endpoint])
}
