//! What is read from a peer's certificate by our own parser: never panics, and an identity that it
//! finds is one that the configuration would take too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::model::certificate;
use linkerd_gateway::model::identity::Identity;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(identity) = certificate::identity(bytes) {
        let parsed = Identity::parse(identity.as_str()).expect("a name that can be configured");
        assert_eq!(parsed, identity);
    }
    let _ = certificate::validity(bytes);
    // The same bytes as a name: certificates are hard to guess, names are not.
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if let Ok(identity) = Identity::parse(text) {
        assert!(identity.as_str().is_ascii());
        assert_eq!(Identity::parse(identity.as_str()).as_ref(), Ok(&identity));
    }
});
