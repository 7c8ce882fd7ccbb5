//! TLS: provider, verification, credentials. The only part of the crate, with `proxy::handshake`
//! and the admin server, that knows rustls.

pub mod credentials;
