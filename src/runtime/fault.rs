//! Panics on demand, so that tests on the real binary can prove what survives them.
//!
//! Only in builds with `debug_assertions`: `FAULT_INJECTION=dns:3,connection:1` makes the third pass
//! of the point `dns` and the first of `connection` panic. In a release build a point is nothing,
//! and the variable is not even read; `tests/panics.rs` looks for it in the binary.

/// Panics when the environment asks for it at this pass of the point `name`.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static FAULTS: OnceLock<Vec<(String, AtomicU64)>> = OnceLock::new();
    let faults = FAULTS.get_or_init(|| {
        let text = std::env::var("FAULT_INJECTION").unwrap_or_default();
        let parsed = text.split(',').filter_map(|fault| {
            let (name, pass) = fault.split_once(':')?;
            Some((name.to_owned(), AtomicU64::new(pass.parse().ok()?)))
        });
        parsed.collect()
    });
    for (_, left) in faults.iter().filter(|(fault, _)| fault == name) {
        // Below zero it wraps, and comes round after 2^64 passes.
        assert!(left.fetch_sub(1, Ordering::Relaxed) != 1, "fault injected at {name}");
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &str) {}
