//! PROXY headers: never a panic, the same length for every prefix, and what was read of one is what
//! is read again after it was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::net::proxy_protocol::{HeaderError, Identified, decode, encode, header_length};

fuzz_target!(|bytes: &[u8]| {
    let whole = header_length(bytes);
    // A reader sees prefixes first. None may be refused that becomes a header with more bytes, and
    // none may end elsewhere than the whole.
    for end in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        match header_length(&bytes[..end]) {
            Ok(None) => {}
            Err(HeaderError::Missing) => assert_eq!(whole, Err(HeaderError::Missing)),
            told => assert_eq!(told, whole),
        }
    }
    // Whatever its first bytes say of its length.
    let _ = decode(bytes);
    let Ok(Some(length)) = whole else { return };
    let Some(header) = bytes.get(..length) else { return };
    if let Ok(Some(proxied)) = decode(header) {
        let client = Identified { identity: "a.b", server_name: Some("c.d") };
        let written = encode(&proxied, &client).expect("short");
        assert_eq!(header_length(&written), Ok(Some(written.len())));
        assert_eq!(decode(&written), Ok(Some(proxied)));
    }
});
