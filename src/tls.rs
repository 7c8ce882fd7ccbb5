//! TLS: provider, verification, credentials, streams. The only part of the crate, with
//! `proxy::handshake` and the admin server, that knows rustls.

pub mod chain_cache;
pub mod client;
pub mod configs;
pub mod credentials;
pub mod facts;
pub mod handshake;
pub mod pem;
pub mod provider;
pub mod record;
pub mod stream;
pub mod verify;
