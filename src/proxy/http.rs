//! HTTP sessions: each request is seen, decided about, balanced and counted by itself.
//!
//! Beside the byte relay, which stays untouched for opaque bytes. [`session`] is the life of one
//! session; `server2` and `server1` take requests out of a client's connection and put the pieces of
//! the response back, `exchange` is one request from its head to its response's, `attempt` one try of it on one endpoint, and `client1` and
//! `client2` are the endpoint's side. Nothing but requests and pieces of bodies passes between them,
//! so that the framing of either side can be replaced.

mod attempt;
mod body;
mod client1;
mod client2;
pub mod context;
mod exchange;
mod outgoing;
mod pool;
mod pump;
mod record;
mod response;
mod server1;
mod server2;
pub mod session;
mod watch;
pub mod windows;
mod wire;
