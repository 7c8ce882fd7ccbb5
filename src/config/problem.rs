//! What is wrong with a configuration: every problem, with its key and where the value came from.
//!
//! `load` and `check` add to one [`Report`] and go on; nothing here stops at the first problem.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::raw::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's path, `route[2].target` (list entries are counted from 0 over all files); empty
    /// when a whole file is meant.
    pub key: String,
    /// What was found and what was expected.
    pub message: String,
    /// Where the value came from; `None` when nothing sets it.
    pub origin: Option<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems of a configuration. Displayed as one line that counts them and names the files,
/// then one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// In the order of their files and lines, then variables, then flags.
    pub problems: Vec<Problem>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in the configuration")?;
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        if files.is_empty() {
            f.write_str(" (no file)")?;
        } else {
            write!(f, " ({})", files.join(", ").escape_debug())?;
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for Problems {}

/// Where problems are collected while a configuration is loaded. Shared by reference, so that
/// readers can report and go on without passing a list through every return value.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Vec<Problem>>,
    incomplete: Cell<bool>,
}

impl Report {
    /// Adds a problem.
    pub fn add(&self, key: impl Into<String>, message: impl Into<String>, origin: Option<Origin>) {
        let problem = Problem { key: key.into(), message: message.into(), origin };
        self.problems.borrow_mut().push(problem);
    }

    /// Adds a problem of a file that could not be used at all: what it would have set is unknown,
    /// so missing keys are no longer reported.
    pub fn add_file(&self, message: impl Into<String>, origin: Origin) {
        self.incomplete.set(true);
        self.add("", message, Some(origin));
    }

    /// True when a file could not be used.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.get()
    }

    /// True when nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// The collected problems in reading order.
    pub fn into_problems(self, files: Vec<PathBuf>) -> Problems {
        let mut problems = self.problems.into_inner();
        let places: HashMap<&Path, usize> =
            files.iter().enumerate().map(|(place, file)| (file.as_path(), place)).collect();
        problems.sort_by_key(|problem| match &problem.origin {
            Some(Origin::File { path, line }) => {
                (0, places.get(&**path).copied().unwrap_or(usize::MAX), *line)
            }
            Some(Origin::Variable(_)) => (1, 0, 0),
            Some(Origin::Flag(_)) => (2, 0, 0),
            Some(Origin::Default) | None => (3, 0, 0),
        });
        Problems { problems, files }
    }
}
