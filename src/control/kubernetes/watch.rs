//! One watch: lists, watches, and goes on for ever, whatever happens to the connection.
//!
//! The library's watcher keeps the place in the stream and lists anew when it is lost; this adds
//! what an operator relies on: a silent connection is noticed, errors are told once and counted
//! always, a broken list takes nothing away (`model::kubernetes::index`), and objects are made
//! compact as they arrive.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::client::counting;
use super::error::Failure;
use crate::model::backoff::Backoff;
use crate::model::kubernetes::index::WatchEvent;
use crate::model::kubernetes::object::ObjectKey;

/// Waits between tries while a server does not answer. So long may what we know be old after it is
/// back; what a try costs it is one connection.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// A server ends each watch after this long and it goes on from its place; one that says nothing
/// for 5 s longer is dead. The library's own 290 s would hide a dead connection for minutes.
pub const WATCH_TIMEOUT: u32 = 30;
/// Objects in one answer to a list.
const PAGE: u32 = 250;
/// After a failure, so long after an answer without another failure is success: a watch that was
/// taken up again in a quiet cluster has nothing to say.
const SETTLED: Duration = Duration::from_secs(2);

/// A place in the stream that is lost again within so long is a failure: longer than the longest wait.
const EXPIRY: Duration = Duration::from_secs(30);

/// What a watch hands on.
#[derive(Debug)]
pub enum Said<T> {
    /// The server has answered: told when the first list is complete, and once after each failure, also
    /// where nothing happens that could be an event.
    Works,
    /// About objects. That a list begins is said before the server is asked.
    Event(WatchEvent<T>),
    /// Its place in the stream is no longer known, and it lists anew at once: the normal course
    /// after a long silence. The text is for a person.
    Expired(String),
    /// It failed, and is tried again; the text is for a person.
    Failed(Failure, String),
}

/// How a watch fares, for `/links`, metrics and readiness. Shared.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    /// Milliseconds after `start` of the last event, plus one; 0 before the first.
    heard: AtomicU64,
    is_failing: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self { start: Instant::now(), heard: AtomicU64::new(0), is_failing: AtomicBool::new(false) }
    }
}

impl Health {
    /// How long ago the last event came; `None` before the first. A quiet cluster sends none.
    pub fn age(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start.elapsed().saturating_sub(Duration::from_millis(heard)))
    }

    /// True from an error until an event comes, or an answer that is not followed by another error.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    fn heard(&self) {
        self.settled();
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.heard.store(elapsed + 1, Ordering::Relaxed);
    }

    fn settled(&self) {
        self.is_failing.store(false, Ordering::Relaxed);
    }
}

/// Which objects.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// A label selector; empty for all.
    pub labels: String,
    /// A field selector; empty for all.
    pub fields: String,
}

impl Scope {
    /// All objects with these labels.
    pub fn labels(labels: impl Into<String>) -> Self {
        Self { labels: labels.into(), fields: String::new() }
    }

    fn config(&self) -> watcher::Config {
        let config = watcher::Config::default().timeout(WATCH_TIMEOUT).page_size(PAGE);
        let config = match &*self.labels {
            "" => config,
            labels => config.labels(labels),
        };
        match &*self.fields {
            "" => config,
            fields => config.fields(fields),
        }
    }
}

/// Watches for ever; dropping it is the only end. `convert` makes an object compact, and `None`
/// stands for one that is of no interest: it is told as deleted. `tell` is called in order.
pub async fn follow<K, T>(
    client: &Client,
    api: impl FnOnce(Client) -> Api<K>,
    scope: &Scope,
    health: &Health,
    convert: impl Fn(K) -> Option<T>,
    mut tell: impl FnMut(Said<T>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (client, answers) = counting(client);
    let mut events = pin!(watcher(api(client), scope.config()));
    let (mut failures, mut before, mut works) = (0, 0, false);
    let (mut expired, mut expiries): (Option<Instant>, u32) = (None, 0);
    let mut is_listing = false;
    loop {
        let settled = async {
            let mut answers = answers.clone();
            // Its sender lives as long as the client does.
            let _ = answers.wait_for(|count| *count > before).await;
            tokio::time::sleep(SETTLED).await;
        };
        let next = tokio::select! {
            biased;
            next = events.next() => next,
            // The answer may be the first page of a list, which says nothing of the others.
            () = settled, if health.is_failing() && !is_listing => {
                (failures, works) = (0, true);
                health.settled();
                tell(Said::Works);
                continue;
            }
        };
        match next {
            Some(Ok(event)) => {
                is_listing = matches!(event, Event::Init | Event::InitApply(_));
                // Half a list is none: the next page may be what fails.
                if !is_listing {
                    failures = 0;
                    health.heard();
                    if !std::mem::replace(&mut works, true) {
                        tell(Said::Works);
                    }
                }
                tell(Said::Event(compact(event, &convert)));
            }
            Some(Err(error)) => {
                failures += 1;
                works = false;
                health.is_failing.store(true, Ordering::Relaxed);
                let failure = Failure::of_watch(&error);
                if failure == Failure::Gone {
                    let is_again = expired.is_some_and(|at| at.elapsed() < EXPIRY);
                    expiries = if is_again { expiries + 1 } else { 1 };
                    expired = Some(Instant::now());
                }
                if failure == Failure::Gone && expiries == 1 {
                    tell(Said::Expired(chain(&error)));
                } else {
                    tell(Said::Failed(failure, chain(&error)));
                    let tries = if failure == Failure::Gone { expiries } else { failures };
                    tokio::time::sleep(RETRY.jittered(tries, fastrand::u8(..))).await;
                }
                before = *answers.borrow();
            }
            // The library's stream has no end; if it had one, ours has none.
            None => std::future::pending::<()>().await,
        }
    }
}

fn compact<K: Resource, T>(event: Event<K>, convert: impl Fn(K) -> Option<T>) -> WatchEvent<T> {
    let key =
        |object: &K| ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any());
    match event {
        Event::Init => WatchEvent::ListBegins,
        Event::InitDone => WatchEvent::ListEnds,
        Event::Delete(object) => WatchEvent::Deleted(key(&object)),
        Event::InitApply(object) => {
            let key = key(&object);
            match convert(object) {
                Some(compact) => WatchEvent::Listed(key, compact),
                None => WatchEvent::Deleted(key),
            }
        }
        Event::Apply(object) => {
            let key = key(&object);
            match convert(object) {
                Some(compact) => WatchEvent::Applied(key, compact),
                None => WatchEvent::Deleted(key),
            }
        }
    }
}

/// The longest text of an error in bytes. Another cluster's server writes it, and it goes into logs,
/// statuses and memory.
const MAX_TEXT: usize = 1024;

/// An error with its causes, each once, in one line of bounded length: some of it is what a server
/// said.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = readable(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = readable(error);
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push_str("...");
    }
    text.replace(char::is_control, " ")
}

/// Without the dump of the server's answer that the library appends to what the server says.
fn readable(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.find(" (Status { ") {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_said_without_the_dump_of_its_answer() {
        let said = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let error = watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(said)));
        let text = chain(&error);
        assert!(text.contains("pods is forbidden") && text.contains("Forbidden"), "{text}");
        assert!(!text.contains("Status {") && text.matches("forbidden").count() == 1, "{text}");
    }

    #[test]
    fn what_a_server_says_is_one_line_of_bounded_length() {
        let said = kube::core::Status::failure(&"\u{1b}[2Jä\n".repeat(1 << 16), "Internal");
        let text = chain(&kube::Error::Api(Box::new(said)));
        assert!(text.len() <= MAX_TEXT + 3 && text.ends_with("..."), "{} bytes", text.len());
        assert!(!text.contains(char::is_control), "{text}");
    }
}
