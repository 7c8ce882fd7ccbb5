//! The configuration file and its `config.d`: which files there are, and their text as a tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::config::problem::Report;
use crate::config::raw::{Origin, Table, parse_document};

/// `file` and what is in `config.d` beside it, in the order of the names.
pub fn find(file: Option<&Path>, report: &Report) -> Vec<PathBuf> {
    let Some(file) = file else {
        return Vec::new();
    };
    let directory = file.with_file_name("config.d");
    let mut files = vec![file.to_owned()];
    match list(&directory) {
        Ok(more) => files.extend(more),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A file that happens to have the name is not ours.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
        Err(error) => report.add_file(format!("cannot be listed: {error}"), whole(&directory)),
    }
    files
}

/// The content of `file`; `None` when that was reported.
pub fn read(file: &Path, report: &Report) -> Option<Table> {
    let bytes = fs::read(file)
        .map_err(|error| report.add_file(format!("cannot be read: {error}"), whole(file)))
        .ok()?;
    let path: Arc<Path> = file.into();
    let at = |line| Origin::File { path: Arc::clone(&path), line };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = bytes.iter().take(error.valid_up_to());
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        report.add_file("is not UTF-8 text", at(line));
    });
    // Some editors begin files with a byte order mark, which is no TOML.
    let text = text.ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    parse_document(text, &path)
        .map_err(|syntax| {
            report.add_file(format!("is not TOML: {}", syntax.message), at(syntax.line));
        })
        .ok()
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        // Follows links, as Kubernetes mounts a ConfigMap's files as such; a dead link is kept
        // and reported when it is read.
        if !hidden && path.extension().is_some_and(|e| e == "toml") && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn whole(path: &Path) -> Origin {
    Origin::File { path: path.into(), line: 0 }
}
