//! The data path: one module per stage of a connection, in the order of its life.
//!
//! [`inbound::serve`] is the whole of it as one function. Nothing here may import `control`: what
//! control knows arrives through [`crate::state`].

pub mod accept;
pub mod authorize;
pub mod connect;
pub mod end;
pub mod handshake;
pub mod header;
pub mod http;
pub mod identify;
pub mod inbound;
pub mod limits;
pub mod preface;
pub mod relay;
pub mod route;
pub mod session;
