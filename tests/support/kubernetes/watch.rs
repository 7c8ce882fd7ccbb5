//! Watches: the changes after a version, as a stream of JSON lines that ends at its timeout, when it
//! is cut, or when what it has not shown yet is no longer remembered. Made by `http`, driven by the
//! connection that it is written to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::error::ApiError;
use super::selectors::Selector;
use super::server::{Shared, Signals};
use super::store::{Change, Event, Form, Store};
use super::write::Target;

/// Without `timeoutSeconds`; a real server takes half an hour to an hour.
const LONGEST: Duration = Duration::from_secs(1800);

/// The parameters of a watch.
#[derive(Clone, Debug, Default)]
pub struct WatchQuery {
    pub selector: Selector,
    /// `resourceVersion`: empty or 0 to begin with everything that there is.
    pub version: String,
    pub timeout: Option<Duration>,
    pub has_bookmarks: bool,
    /// `sendInitialEvents=true`.
    pub is_streaming_list: bool,
    pub is_partial: bool,
    /// A fault on demand: each event comes twice.
    pub is_doubled: bool,
}

/// One open watch.
pub struct Watch {
    shared: Arc<Shared>,
    target: Target,
    query: WatchQuery,
    /// Changes up to this version have been looked at.
    cursor: u64,
    pending: VecDeque<Bytes>,
    /// The stream ends when `pending` is empty.
    is_over: bool,
    signals: watch::Receiver<Signals>,
    /// The signals that this watch began under.
    began: Signals,
    deadline: Instant,
    next_bookmark: Instant,
}

/// What an open watch waits for.
enum Woken {
    Bookmark,
    Signal,
    Timeout,
}

impl Watch {
    /// Begins a watch.
    pub fn begin(
        shared: &Arc<Shared>,
        target: Target,
        query: WatchQuery,
    ) -> Result<Self, ApiError> {
        let signals = shared.signals.subscribe();
        let began = *signals.borrow();
        let now = Instant::now();
        let mut watch = Self {
            shared: Arc::clone(shared),
            target,
            cursor: 0,
            pending: VecDeque::new(),
            is_over: false,
            signals,
            began,
            deadline: now + query.timeout.unwrap_or(LONGEST),
            next_bookmark: now + shared.options.bookmark_interval,
            query,
        };
        let store = shared.store.lock().expect("whole");
        match watch.query.version.as_str() {
            "" | "0" => watch.show_all(&store),
            _ if watch.query.is_streaming_list => watch.show_all(&store),
            version => {
                let version = version
                    .parse::<u64>()
                    .map_err(|_| ApiError::bad_request(format!("Invalid value: \"{version}\"")))?;
                watch.cursor = version;
                if version < store.compacted {
                    let gone = too_old(version, store.compacted);
                    if shared.options.gone_is_status {
                        return Err(gone);
                    }
                    watch.fail(&gone);
                }
            }
        }
        drop(store);
        Ok(watch)
    }

    /// Everything that there is, as if it had just been added.
    fn show_all(&mut self, store: &Store) {
        for object in store.all(self.target.place, &self.target.namespace) {
            if self.query.selector.matches(&object.value) {
                let object = object.render(&self.target.resource, self.target.version, self.form());
                self.push("ADDED", &object);
            }
        }
        self.cursor = store.version;
        if self.query.is_streaming_list {
            let annotation = json!({ "k8s.io/initial-events-end": "true" });
            self.bookmark(&annotation);
        }
    }

    /// The next line, nothing at the end, an error when it is cut.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(line) = self.pending.pop_front() {
                return Some(Ok(line));
            }
            if self.is_over {
                return None;
            }
            let signals = *self.signals.borrow_and_update();
            if signals.cut != self.began.cut {
                self.is_over = true;
                return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
            self.collect();
            if signals.expired != self.began.expired && !self.is_over {
                self.fail(&too_old(self.cursor, self.cursor + 1));
            }
            if self.pending.is_empty() && !self.is_over {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        let woken = tokio::select! {
            changed = self.signals.changed() => {
                self.is_over = changed.is_err();
                Woken::Signal
            }
            () = sleep_until(self.next_bookmark), if self.query.has_bookmarks => Woken::Bookmark,
            () = sleep_until(self.deadline) => Woken::Timeout,
        };
        self.is_over |= matches!(woken, Woken::Timeout);
        if self.query.has_bookmarks && !matches!(woken, Woken::Signal) {
            self.next_bookmark = Instant::now() + self.shared.options.bookmark_interval;
            // What a bookmark covers must have been shown before it.
            self.collect();
            self.bookmark(&json!({}));
        }
    }

    /// Queues what has changed since.
    fn collect(&mut self) {
        let shared = Arc::clone(&self.shared);
        let store = shared.store.lock().expect("whole");
        if self.cursor < store.compacted {
            return self.fail(&too_old(self.cursor, store.compacted));
        }
        for event in store.since(self.cursor, self.target.place) {
            self.show(&event);
        }
        // A watch from the future sees nothing until that has come.
        self.cursor = self.cursor.max(store.version);
        if store.resource(self.target.place).is_none() {
            self.is_over = true;
        }
    }

    /// Queues a change as the selectors see it: what leaves them is deleted, what enters them added.
    fn show(&mut self, event: &Event) {
        let is_ours = |object: &super::store::Stored| {
            let meta = &object.value["metadata"];
            let is_there = self.target.namespace.is_empty()
                || meta["namespace"].as_str() == Some(&self.target.namespace);
            is_there && self.query.selector.matches(&object.value)
        };
        let before = event.previous.as_deref().is_some_and(&is_ours);
        let after = event.change != Change::Deleted && is_ours(&event.object);
        let (resource, version, form) = (&self.target.resource, self.target.version, self.form());
        let (kind, object) = match (before, after) {
            (false, false) => return,
            (false, true) => ("ADDED", event.object.render(resource, version, form)),
            (true, true) => ("MODIFIED", event.object.render(resource, version, form)),
            (true, false) if event.change == Change::Deleted => {
                ("DELETED", event.object.render(resource, version, form))
            }
            (true, false) => {
                // The last state that was selected, under the version that ended it.
                let last = event.previous.as_ref().map(|last| last.at(event.version));
                let Some(last) = last else { return };
                ("DELETED", last.render(resource, version, form))
            }
        };
        self.push(kind, &object);
    }

    fn form(&self) -> Form {
        if self.query.is_partial { Form::Metadata } else { Form::Whole }
    }

    fn push(&mut self, kind: &str, object: &[u8]) {
        let head = format!(r#"{{"type":"{kind}","object":"#);
        let line = Bytes::from([head.as_bytes(), object, b"}\n"].concat());
        if self.query.is_doubled {
            self.pending.push_back(line.clone());
        }
        self.pending.push_back(line);
    }

    fn bookmark(&mut self, annotations: &serde_json::Value) {
        let mut meta = json!({ "resourceVersion": self.cursor.to_string(),
            "creationTimestamp": null });
        if annotations != &json!({}) {
            meta["annotations"] = annotations.clone();
        }
        let resource = &self.target.resource;
        let (kind, api_version) = match self.query.is_partial {
            true => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            false => (resource.kind.as_str(), resource.api_version(self.target.version)),
        };
        let object = json!({ "kind": kind, "apiVersion": api_version, "metadata": meta });
        self.push("BOOKMARK", object.to_string().as_bytes());
    }

    fn fail(&mut self, error: &ApiError) {
        self.push("ERROR", error.status().to_string().as_bytes());
        self.is_over = true;
    }
}

fn too_old(asked: u64, oldest: u64) -> ApiError {
    ApiError::expired(&format!("too old resource version: {asked} ({oldest})"))
}
