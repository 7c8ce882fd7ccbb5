//! What an API server hands the mirror as a Link, and the texts within: never panics, a selector is
//! the same after a round through its query, and names that are made are names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::model::discovery::restriction::Restriction;
use linkerd_gateway::model::kubernetes::duration;
use linkerd_gateway::model::kubernetes::selector::Selector;
use linkerd_gateway::model::link;
use linkerd_gateway::model::mirror::name::mirror_name;

fuzz_target!(|bytes: &[u8]| {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let _ = duration::parse(text);
    let _ = Restriction::parse(text);
    if let Ok(selector) = Selector::parse(text) {
        assert_eq!(Selector::parse(&selector.to_string()).as_ref(), Ok(&selector), "{selector}");
    }
    let Ok(object) = serde_json::from_slice(bytes) else { return };
    let parsed = link::parse(&object);
    if !parsed.is_frozen() {
        let name = mirror_name("service", &parsed.link.cluster);
        assert!(name.len() <= 63 && name.starts_with("service"), "{name}");
    }
});
