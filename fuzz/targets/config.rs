//! A configuration file from its bytes to settings or the report of all problems: TOML, known keys,
//! merging, values. What loads is printed, and the print loads to the same settings.

#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::config::load::{Loaded, Sources, load};
use linkerd_gateway::config::print::{json, print};
use linkerd_gateway::config::problem::Problems;

fuzz_target!(|bytes: &[u8]| {
    match load_bytes(bytes) {
        Ok(loaded) => {
            let printed = print(&loaded.tree, true);
            let again = load_bytes(printed.as_bytes());
            let again = again.unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
            assert_eq!(again.settings, loaded.settings, "{printed}");
            let _ = json(&loaded.tree).to_string();
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});

/// Through a file, in memory where run.sh is used: `load` is the only way that the program has.
fn load_bytes(bytes: &[u8]) -> Result<Loaded, Problems> {
    thread_local! {
        static FILE: PathBuf = {
            let parent = std::env::var_os("FUZZ_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
            let directory = parent.join(format!("fuzz-config-{}", std::process::id()));
            std::fs::create_dir_all(&directory).expect("a writable directory");
            directory.join("gateway.toml")
        };
    }
    FILE.with(|file| {
        std::fs::write(file, bytes).expect("room");
        load(&Sources { file: Some(file.clone()), ..Sources::default() })
    })
}
