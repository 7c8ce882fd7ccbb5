//! The transport header's decoder: never panics, says the same of every prefix, and what it took
//! for complete survives being encoded and decoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::model::header::{Decoded, decode, encode};
use linkerd_gateway::model::service::MAX_NAME;

fuzz_target!(|bytes: &[u8]| {
    let mut name = [0; MAX_NAME];
    let whole = decode(bytes, &mut name);
    if let Ok(Decoded::Complete { header, length }) = whole {
        assert!(length <= bytes.len());
        let mut encoded = Vec::new();
        encode(&header, &mut encoded);
        let mut again = [0; MAX_NAME];
        let decoded = decode(&encoded, &mut again);
        assert_eq!(decoded, Ok(Decoded::Complete { header, length: encoded.len() }));
    }
    // A reader sees prefixes first. None may be refused that becomes a header with more bytes, and
    // none may be complete otherwise than the whole.
    for end in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let mut name = [0; MAX_NAME];
        match decode(&bytes[..end], &mut name) {
            Ok(Decoded::Incomplete) => {}
            Ok(complete) => assert_eq!(Ok(complete), whole),
            Err(error) => assert_eq!(Err(error), whole),
        }
    }
});
