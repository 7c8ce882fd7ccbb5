//! The rules of the tree: 400 lines a file, 70 a function, and who may import whom.

#![allow(clippy::expect_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const MAX_FILE: usize = 400;
const MAX_FUNCTION: usize = 70;

/// What each part of the crate may import of it; a part may always import itself.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("net", &["model"]),
    ("tls", &["model"]),
    ("observe", &["model"]),
    ("config", &["model"]),
    ("state", &["model", "tls"]),
    ("runtime", &["model", "observe", "state"]),
    ("proxy", &["config", "model", "net", "observe", "runtime", "state", "tls"]),
    ("control", &["config", "model", "net", "observe", "runtime", "state", "tls"]),
];

#[test]
fn files_have_at_most_400_lines_without_tests() {
    for (path, text) in sources() {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().count();
        let is_test = path.ends_with("tests.rs");
        assert!(is_test || lines <= MAX_FILE, "{}: {lines} lines", path.display());
    }
}

#[test]
fn functions_have_at_most_70_lines() {
    struct Functions<'p>(&'p Path);
    impl Functions<'_> {
        fn check(&self, name: &syn::Ident, block: &syn::Block) {
            let span = block.span();
            let lines = span.end().line - span.start().line + 1;
            assert!(lines <= MAX_FUNCTION, "{}: {name} has {lines} lines", self.0.display());
        }
    }
    impl<'a> Visit<'a> for Functions<'_> {
        fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
            self.check(&function.sig.ident, &function.block);
            visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
            self.check(&function.sig.ident, &function.block);
            visit::visit_impl_item_fn(self, function);
        }
    }
    for (path, text) in sources() {
        Functions(&path).visit_file(&syn::parse_file(&text).expect("Rust"));
    }
}

#[test]
fn parts_import_only_what_they_may() {
    for (path, text) in sources() {
        let module = module_of(&path);
        let Some(part) = module.first().cloned() else { continue };
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == part) else { continue };
        let mut imports = Imports { module, found: BTreeSet::new() };
        imports.visit_file(&syn::parse_file(&text).expect("Rust"));
        for import in imports.found {
            let fine = import == part || allowed.contains(&import.as_str());
            assert!(fine, "{}: {part} may not import {import}", path.display());
        }
    }
}

#[test]
fn every_part_of_the_crate_is_known_to_the_rules() {
    let free = ["app", "cli", "lib", "main"];
    for (path, _) in sources() {
        let part = module_of(&path).first().cloned().unwrap_or_else(|| "lib".to_owned());
        let known = free.contains(&part.as_str()) || IMPORTS.iter().any(|(name, _)| *name == part);
        assert!(known, "{}: no rule for {part}", path.display());
    }
}

/// The first-level modules of this crate that a file names.
struct Imports {
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Imports {
    /// Resolves `crate::a::b` and `super::a` as seen from the file's module.
    fn path(&mut self, segments: &[String]) {
        let mut base = self.module.clone();
        for (index, segment) in segments.iter().enumerate() {
            match segment.as_str() {
                "crate" => base.clear(),
                "self" => {}
                "super" => drop(base.pop()),
                _ if index == 0 => return,
                first => {
                    let part = base.first().map_or(first, String::as_str);
                    self.found.insert(part.to_owned());
                    return;
                }
            }
        }
    }

    fn tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let join = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&join(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.path(&join(&name.ident)),
            syn::UseTree::Rename(name) => self.path(&join(&name.ident)),
            syn::UseTree::Glob(_) => self.path(&[prefix, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|t| self.tree(prefix, t)),
        }
    }
}

impl<'a> Visit<'a> for Imports {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        // Inline modules (tests) see one level more of `super`.
        if module.content.is_some() {
            self.module.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.path(&segments);
        visit::visit_path(self, path);
    }
}

/// `src/proxy/relay.rs` is `[proxy, relay]`.
fn module_of(path: &Path) -> Vec<String> {
    let relative = path.strip_prefix(root()).expect("below src").with_extension("");
    let parts = relative.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "lib").collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<(PathBuf, String)> {
    let (mut found, mut pending) = (Vec::new(), vec![root()]);
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 20, "the sources are found");
    found
}
