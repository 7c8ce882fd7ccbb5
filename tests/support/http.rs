//! HTTP on both sides of the gateway: clients as Linkerd's proxies are, services behind, and
//! peers that write single frames or bytes.
//!
//! Drivers run on one background thread, so that a test may block in its own thread, on the
//! gateway's log for instance, and its connections go on nevertheless.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

pub mod backend;
pub mod delay;
pub mod frames;
pub mod hpack;
pub mod linkerd;
pub mod meshed;
pub mod scripted;

/// What clients ask for, and the authority of their requests.
pub const TARGET: &str = "web.test.svc.cluster.local:80";
/// No test takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// Where connections are driven.
pub fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

/// Runs a test's own part.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let limited = async { tokio::time::timeout(LIMIT, future).await };
    runtime().block_on(limited).expect("the test ends in time")
}
