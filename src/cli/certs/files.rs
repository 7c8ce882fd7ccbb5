//! A set of new files that appears together: all are complete on disk before the first gets its
//! name, so a full disk or an unwritable directory changes nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// A private key is its owner's alone.
const SECRET_MODE: u32 = 0o600;
/// Certificates are public; the umask may take more away.
const PUBLIC_MODE: u32 = 0o644;

/// One file to write.
pub struct NewFile {
    /// Where, relative to the directory that the whole set goes to.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
    /// True for private keys: mode 0600.
    pub secret: bool,
}

/// Those of `files` that are in `root` already.
pub fn existing(root: &Path, files: &[NewFile]) -> Vec<PathBuf> {
    let paths = files.iter().map(|file| root.join(&file.path));
    // Not `exists`: a dangling link is something that must not be overwritten either.
    paths.filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// Writes all of `files` below `root`, replacing what is there.
///
/// # Errors
/// When one cannot be written. Then nothing has changed, unless the last step itself fails: giving
/// names to files that are complete, in directories just written to.
pub fn write(root: &Path, files: &[NewFile]) -> anyhow::Result<()> {
    if let Some(path) = existing(root, files).iter().find(|path| path.is_dir()) {
        bail!("{} is a directory", path.display());
    }
    let mut staged = Staged::default();
    for file in files {
        let path = root.join(&file.path);
        staged.add(&path, file).with_context(|| format!("cannot write {}", path.display()))?;
    }
    staged.publish()
}

/// Complete files under temporary names; removed on drop together with directories made for them.
#[derive(Default)]
struct Staged {
    files: Vec<(PathBuf, PathBuf)>,
    directories: Vec<PathBuf>,
}

impl Staged {
    fn add(&mut self, path: &Path, file: &NewFile) -> io::Result<()> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        self.create_directory(directory)?;
        let name = format!(".{}.{}.new", name.to_string_lossy(), std::process::id());
        let temporary = directory.join(name);
        let mode = if file.secret { SECRET_MODE } else { PUBLIC_MODE };
        let mut out =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        self.files.push((temporary, path.to_owned()));
        out.write_all(file.text.as_bytes())?;
        out.sync_all()
    }

    fn create_directory(&mut self, directory: &Path) -> io::Result<()> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<_> = directory.ancestors().take_while(is_missing).collect();
        for path in missing.into_iter().rev() {
            fs::create_dir(path)?;
            self.directories.push(path.to_owned());
        }
        Ok(())
    }

    fn publish(mut self) -> anyhow::Result<()> {
        self.directories.clear();
        for (temporary, path) in &self.files {
            fs::rename(temporary, path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.files.clear();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A failure to clean up is less than the failure that brought us here.
        for (temporary, _) in &self.files {
            let _ = fs::remove_file(temporary);
        }
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}
