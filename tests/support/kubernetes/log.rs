//! What was asked of the server: every request with its answer's status, and every access that was
//! denied. `http` writes it, tests read it through `Cluster`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rbac::Access;

/// One request.
#[derive(Clone, Debug)]
pub struct Logged {
    pub access: Access,
    /// Of whom, by the name under which the token was made.
    pub user: String,
    pub query: String,
    /// The status of the answer; 0 while there is none.
    pub code: u16,
    /// Of writes.
    pub body: Value,
    pub content_type: String,
}

/// All requests since the last reset.
#[derive(Debug, Default)]
pub struct Log {
    entries: Vec<Logged>,
    denied: Vec<(String, Access)>,
    /// Requests without a known token.
    pub unauthorized: usize,
    /// Answers to requests that were logged before a reset are not for the present entries.
    resets: usize,
}

impl Logged {
    pub fn is_write(&self) -> bool {
        !matches!(self.access.verb, "get" | "list" | "watch")
    }

    /// `create services test/web`.
    pub fn line(&self) -> String {
        let Access { verb, resource, namespace, name, .. } = &self.access;
        let line = format!("{verb} {resource} {namespace}/{name}");
        line.trim_end_matches('/').trim_end().to_owned()
    }
}

impl Log {
    /// Notes a request, and returns where its answer is to be noted.
    pub fn add(&mut self, logged: Logged) -> (usize, usize) {
        self.entries.push(logged);
        (self.resets, self.entries.len() - 1)
    }

    pub fn answered(&mut self, (resets, place): (usize, usize), code: u16) {
        if resets == self.resets
            && let Some(entry) = self.entries.get_mut(place)
        {
            entry.code = code;
        }
    }

    pub fn deny(&mut self, user: &str, access: &Access) {
        self.denied.push((user.to_owned(), access.clone()));
    }

    pub fn reset(&mut self) {
        self.entries.clear();
        self.denied.clear();
        self.unauthorized = 0;
        self.resets += 1;
    }

    pub fn entries(&self) -> &[Logged] {
        &self.entries
    }

    /// Users with what they were refused, each once.
    pub fn denied(&self) -> Vec<(String, Access)> {
        let mut found: Vec<(String, Access)> = Vec::new();
        for denied in &self.denied {
            if !found.contains(denied) {
                found.push(denied.clone());
            }
        }
        found
    }

    /// How often each line was asked.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.entries {
            *counts.entry(entry.line()).or_default() += 1;
        }
        counts
    }
}
