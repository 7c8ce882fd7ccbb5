//! A configuration directory of a test, and short ways to load it.

use std::fs;
use std::path::{Path, PathBuf};

use linkerd_gateway::config::Settings;
use linkerd_gateway::config::load::{Loaded, Sources, load};
use linkerd_gateway::config::problem::Problems;

/// The keys that have no default.
pub const IDENTITY: &str =
    "[identity]\ncertificate = \"c\"\nkey = \"k\"\ntrust_anchors = [\"a\"]\n";

/// A directory with `gateway.toml`, gone at the end of the test.
pub struct Directory {
    directory: tempfile::TempDir,
}

impl Directory {
    /// With `text` as `gateway.toml`.
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let new = Self { directory };
        new.write("gateway.toml", text);
        new
    }

    /// Writes another file of it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self) -> PathBuf {
        self.path().join("gateway.toml")
    }

    /// Its sources, with no environment and no flags.
    pub fn sources(&self) -> Sources {
        Sources { file: Some(self.file()), ..Sources::default() }
    }

    /// The text of all problems; paths are shown relative to the directory.
    pub fn problems(&self, sources: &Sources) -> String {
        text(&load(sources).expect_err("problems"), self.path())
    }
}

/// Problems as text, without the directory's own path.
pub fn text(problems: &Problems, directory: &Path) -> String {
    problems.to_string().replace(&format!("{}/", directory.display()), "")
}

/// The settings of a file.
pub fn settings(text: &str) -> Settings {
    loaded(text).settings
}

/// A file, loaded without environment.
pub fn loaded(text: &str) -> Loaded {
    load(&Directory::new(text).sources()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// The problems of a file that are no problems of a missing identity.
pub fn problems(text: &str) -> String {
    let directory = Directory::new(text);
    directory.problems(&directory.sources())
}

/// Environment variables.
pub fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
