//! linkerd-gateway: the gateway between Kubernetes clusters.
//!
//! `proxy` lists the stages of one connection in order, `control` the tasks that feed it, `state`
//! is the only place where they meet. See ARCHITECTURE.md for the tree and the threads.

pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod model;
pub mod net;
pub mod observe;
pub mod proxy;
pub mod runtime;
pub mod state;
pub mod tls;
