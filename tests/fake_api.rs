//! The fake API server itself.

mod support;

use support::kubernetes::FakeApi;

#[test]
fn it_starts() {
    assert!(FakeApi::start().url().starts_with("https://127.0.0.1:"));
}
