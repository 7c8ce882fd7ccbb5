//! The layers of a configuration: defaults < file < `config.d/*.toml` < environment < flags.
//!
//! Called by every command that needs settings. Tables merge; a value, and a list of values, is
//! replaced by the later layer; lists of tables (`[[route]]`, `[[identity.trust]]`) are
//! concatenated over all layers. figment does the merging and is used nowhere else.
//!
//! Relative paths in a configuration (certificates) are relative to the process's current
//! directory, whichever file they stand in, so that a key means the same in every layer.

use std::path::{Path, PathBuf};

use super::Settings;
use super::check;
use super::problem::{Problems, Report};
use super::raw::{Node, Origin, Value};
use super::schema::{Admission, Key, Kind, ROOT};

mod environment;
mod files;
mod layers;
mod values;

use layers::Layers;

/// What all our environment variables begin with.
pub const PREFIX: &str = "LINKERD_GATEWAY_";

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, from `--config`; `None` takes it from `LINKERD_GATEWAY_CONFIG`. Without either
    /// there is no file and no `config.d`.
    pub file: Option<PathBuf>,
    /// Flags that were given: a dotted key, its value as an environment variable would have it,
    /// the flag's name. A list key may come several times, once per entry.
    pub flags: Vec<(String, String, &'static str)>,
    /// Environment variables, ours and others.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// The process's environment and, if given, a file.
    pub fn from_process(file: Option<PathBuf>) -> Self {
        // Bytes that are no UTF-8 become U+FFFD: no key takes them, and the check says so.
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let environment = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        Self { file, flags: Vec::new(), environment }
    }

    /// Whether a configuration file was given, in one way or the other.
    pub fn has_file(&self) -> bool {
        environment::file(self).is_some()
    }
}

/// The configuration file and what is in `config.d` beside it now, readable or not.
pub fn files_of(main: &Path) -> Vec<PathBuf> {
    files::find(Some(main), &Report::default())
}

/// A configuration that is complete and correct.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program runs with.
    pub settings: Settings,
    /// Every effective value with its origin, for `config print`.
    pub tree: Node,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads, merges and checks a configuration.
///
/// # Errors
/// All problems of all layers together.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let report = Report::default();
    let mut admission = Admission::new(&report);
    let mut layers = Layers::default();
    layers.add(defaults(ROOT));
    let files = files::find(environment::file(sources).as_deref(), &report);
    for file in &files {
        if let Some(mut layer) = files::read(file, &report) {
            admission.admit(&mut layer);
            layers.add(Value::Table(layer));
        }
    }
    for mut layer in environment::layers(sources, &report) {
        admission.admit(&mut layer);
        layers.add(Value::Table(layer));
    }
    let mut tree = layers.merge();
    complete(&mut tree, ROOT);
    match check::settings(&tree, &report) {
        Some(settings) if report.is_empty() => Ok(Loaded { settings, tree, files }),
        _ => Err(report.into_problems(files)),
    }
}

/// The lowest layer: every section, with the keys that have a default.
fn defaults(keys: &'static [Key]) -> Value {
    let entry = |key: &Key| {
        let node = match key.kind {
            Kind::Section(keys) => Node { value: defaults(keys), origin: Origin::Default },
            _ => key.default()?,
        };
        Some((key.name.to_owned(), node))
    };
    Value::Table(keys.iter().filter_map(entry).collect())
}

/// Adds the defaults of tables in lists, which no layer below could have brought.
fn complete(node: &mut Node, keys: &'static [Key]) {
    match &mut node.value {
        Value::Array(nodes) => nodes.iter_mut().for_each(|node| complete(node, keys)),
        Value::Table(table) => {
            for key in keys {
                if let Some(child) = table.get_mut(key.name) {
                    complete(child, key.keys());
                } else if let Some(default) = key.default() {
                    table.insert(key.name.to_owned(), default);
                }
            }
        }
        _ => {}
    }
}
