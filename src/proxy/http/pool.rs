//! Connections to endpoints that wait for their next request: one pool per worker, so that nothing
//! is locked and a request never changes threads.
//!
//! HTTP/1 connections wait for `http.pool_idle_timeout` and serve one request at a time; HTTP/2 ones
//! carry many, and a hot endpoint gets several.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::client2::Http2;
use super::watch::Watch;
use crate::model::counts::ByteCounts;
use crate::model::route::Endpoint;
use crate::observe::metrics::Transport;
use crate::proxy::end::{End, Fault};
use crate::runtime::spawn_here;

/// How long an HTTP/2 connection without requests is kept: its handshake cost far more than an
/// HTTP/1 connection's.
const HTTP2_IDLE: Duration = Duration::from_secs(60);
/// Requests in flight on each connection of an endpoint before it gets another one. One connection
/// is one stream of TLS on one core of the endpoint's, and has windows for so many.
pub const HOT: usize = 64;
/// HTTP/2 connections to one endpoint, for each worker.
const MOST_HTTP2: usize = 16;
/// The least time between two looks for connections that have waited for long enough.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool::default());
}

/// An HTTP/1 connection to an endpoint.
pub struct Connection {
    end: End,
    bytes: Arc<ByteCounts>,
    counted: Counted,
    watch: Watch,
    /// It has served a request before.
    pub reused: bool,
}

impl Connection {
    /// A new one, counted by `transport`.
    pub fn new(
        end: End,
        bytes: Arc<ByteCounts>,
        transport: Transport,
        user_timeout: Duration,
    ) -> Self {
        let counted = Counted { transport: Some(transport), errno: None };
        Self { end, bytes, counted, watch: Watch::new(user_timeout), reused: false }
    }

    /// As [`End::poll_read`].
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, Fault>> {
        let read = self.end.poll_read(cx, buffer);
        if let Poll::Ready(Ok(count)) = read {
            self.bytes.add_to_client(count as u64);
        }
        read
    }

    /// As [`End::poll_write_pieces`].
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Fault>> {
        let written = self.end.poll_write_pieces(cx, pieces);
        if let Poll::Ready(Ok(count)) = written {
            self.bytes.add_from_client(count as u64);
        }
        written
    }

    /// As [`End::poll_flush`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.end.poll_flush(cx)
    }

    /// To be called before waiting for the endpoint: see [`Watch::poll`].
    ///
    /// # Errors
    /// It has gone.
    pub fn poll_watch(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.watch.poll(cx, true, 0, &self.end)
    }

    /// Closes it between two requests, which is no reset.
    pub fn close(mut self) {
        self.end.disarm();
        self.counted.errno = Some("");
    }

    /// Its bytes alone, for a protocol that is not ours.
    pub fn into_end(mut self) -> End {
        self.counted.errno = Some("");
        self.end
    }

    /// False when the endpoint has closed it, or said something that nobody asked for.
    fn is_quiet(&self) -> bool {
        let read = self.end.tcp().try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// Counts the connection out, as what it was when it ended.
struct Counted {
    transport: Option<Transport>,
    errno: Option<&'static str>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        // One that we break off counts as such by itself.
        if let (Some(transport), Some(errno)) = (self.transport.take(), self.errno) {
            transport.close(errno);
        }
    }
}

/// Where the connections of one endpoint wait.
#[derive(Clone)]
pub struct Place {
    endpoint: Arc<Endpoint>,
    bounds: Bounds,
    /// What is connected for one client's sake is not given to another.
    is_private: bool,
}

/// Bounds of waiting.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `http.pool_idle_timeout`.
    pub idle: Duration,
    /// `http.max_idle_connections`.
    pub most: usize,
}

/// How a request on HTTP/2 goes on.
pub enum Choice {
    /// With this connection.
    Use(Http2),
    /// With a new one, unless another request is faster: whoever holds the lock connects.
    Dial(Arc<tokio::sync::Mutex<()>>),
}

impl Place {
    /// That of `endpoint`.
    pub fn new(endpoint: Arc<Endpoint>, bounds: Bounds, is_private: bool) -> Self {
        Self { endpoint, bounds, is_private }
    }

    /// The HTTP/1 connection that was used last and still lives.
    pub fn take(&self) -> Option<Connection> {
        if self.is_private {
            return None;
        }
        POOL.with_borrow_mut(|pool| {
            let idle = &mut pool.of(&self.endpoint).idle;
            while let Some((mut connection, since)) = idle.pop() {
                if since.elapsed() < self.bounds.idle && connection.is_quiet() {
                    connection.reused = true;
                    return Some(connection);
                }
                connection.close();
            }
            None
        })
    }

    /// Keeps a connection for the next request.
    pub fn give_back(&self, connection: Connection) {
        if self.is_private {
            return connection.close();
        }
        self.keep(|Pooled { idle, .. }| match idle.len() < self.bounds.most {
            true => idle.push((connection, Instant::now())),
            false => connection.close(),
        });
    }

    /// Puts something into the pool, and sees to it that it does not stay for ever.
    fn keep(&self, put: impl FnOnce(&mut Pooled)) {
        let begin = POOL.with_borrow_mut(|pool| {
            put(pool.of(&self.endpoint));
            !std::mem::replace(&mut pool.is_swept, true)
        });
        if begin {
            spawn_here(sweep(self.bounds.idle));
        }
    }

    /// The HTTP/2 connection with the fewest requests, or the right to open one. Those made with
    /// older credentials than `generation` finish what they have. `dials` is who holds the lock.
    pub fn choose(&self, generation: u64, dials: bool) -> Choice {
        POOL.with_borrow_mut(|pool| {
            let of = pool.of(&self.endpoint);
            of.http2.retain(|connection| connection.is_usable(generation));
            let count = of.http2.len();
            let least = of.http2.iter().min_by_key(|connection| connection.in_flight());
            let is_dialing = !dials && of.dialing.try_lock().is_err();
            match least {
                Some(connection)
                    if connection.in_flight() < HOT || count >= MOST_HTTP2 || is_dialing =>
                {
                    Choice::Use(connection.clone())
                }
                _ => Choice::Dial(Arc::clone(&of.dialing)),
            }
        })
    }

    /// Lets other requests use a new connection.
    pub fn share(&self, connection: &Http2) {
        if !self.is_private {
            self.keep(|pooled| pooled.http2.push(connection.clone()));
        }
    }
}

#[derive(Default)]
struct Pool {
    /// By the endpoint's address in memory, which its entry keeps alive.
    endpoints: HashMap<usize, Pooled>,
    /// A task looks for connections that have waited for long enough.
    is_swept: bool,
}

struct Pooled {
    /// Alive, so that no other endpoint gets its address.
    _endpoint: Arc<Endpoint>,
    idle: Vec<(Connection, Instant)>,
    http2: Vec<Http2>,
    dialing: Arc<tokio::sync::Mutex<()>>,
}

impl Pool {
    fn of(&mut self, endpoint: &Arc<Endpoint>) -> &mut Pooled {
        self.endpoints.entry(Arc::as_ptr(endpoint) as usize).or_insert_with(|| Pooled {
            _endpoint: Arc::clone(endpoint),
            idle: Vec::new(),
            http2: Vec::new(),
            dialing: Arc::default(),
        })
    }

    /// Drops what has waited for long enough; false when nothing is left.
    fn sweep(&mut self, idle: Duration) -> bool {
        self.endpoints.retain(|_, pooled| {
            let waits = |(connection, since): &mut (Connection, Instant)| {
                since.elapsed() >= idle || !connection.is_quiet()
            };
            pooled.idle.extract_if(.., waits).for_each(|(connection, _)| connection.close());
            pooled.http2.retain(|connection| !connection.is_idle_for(HTTP2_IDLE));
            // A dialing lock that somebody holds is as good as a connection.
            !pooled.idle.is_empty()
                || !pooled.http2.is_empty()
                || Arc::strong_count(&pooled.dialing) > 1
        });
        !self.endpoints.is_empty()
    }
}

async fn sweep(idle: Duration) {
    loop {
        tokio::time::sleep((idle / 2).max(SWEEP_INTERVAL)).await;
        let goes_on = POOL.with_borrow_mut(|pool| {
            pool.is_swept = pool.sweep(idle);
            pool.is_swept
        });
        if !goes_on {
            return;
        }
    }
}
