//! The admin server without free file descriptors: it waits instead of spinning, and answers again
//! as soon as there are some. Alone in its process, because the limit is the process's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use linkerd_gateway::control::admin::{Admin, Scope};
use linkerd_gateway::observe::metrics::Metrics;

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap()
}

#[tokio::test]
async fn no_free_descriptor_is_waited_out_without_spinning() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let admin = Arc::new(Admin {
        state: Arc::default(),
        metrics: Metrics::new(),
        clock: || 0,
        filter: None,
        shutdown: None,
    });
    // It waits in the accept queue while nothing can accept it.
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).unwrap();
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    tracker.spawn(admin.serve(listener, Scope::Full, stop, tracker.clone()));
    let start = cpu_time();
    let early = tokio::time::timeout(Duration::from_secs(1), client.read(&mut [0])).await;
    let used = cpu_time() - start;
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(early.is_err(), "answered without a descriptor");
    assert!(used < Duration::from_millis(200), "spun for {used:?}");
    let mut response = String::new();
    let read = client.read_to_string(&mut response);
    tokio::time::timeout(Duration::from_secs(5), read).await.expect("answered in time").unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}
