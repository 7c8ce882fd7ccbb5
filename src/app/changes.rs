//! Watches the configuration's files by content, when that is configured. Mounted ConfigMaps change
//! by symlink, so nothing but the content tells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::load::{Loaded, files_of};

/// The content of every file, as it was when last looked at.
pub(super) struct Changes {
    interval: Option<Duration>,
    main: Option<PathBuf>,
    seen: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl Changes {
    pub(super) fn new(loaded: &Loaded) -> Self {
        let interval = loaded.settings.runtime.config_poll_interval;
        let main = loaded.files.first().cloned();
        let seen = main.as_deref().map(contents).unwrap_or_default();
        Self { interval, main, seen }
    }

    /// Completes when a file has changed, come or gone; never when nothing is watched.
    pub(super) async fn next(&mut self) {
        let (Some(interval), Some(main)) = (self.interval, &self.main) else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(interval).await;
            let now = contents(main);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// The file and those of its `config.d`; a file that cannot be read counts as such.
fn contents(main: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).ok();
        (path, bytes)
    };
    files_of(main).into_iter().map(read).collect()
}
