//! Tells the owner of a Service, by an Event on it, that its annotation cannot be carried out.
//!
//! An Event is named after what it says: several replicas, and a process that starts again, make one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Event;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::chain;
use crate::model::backoff::Backoff;
use crate::model::kubernetes::object::ObjectKey;

/// Events that wait; beyond that one is left out, which the log has all the same.
pub(super) const QUEUE: usize = 256;
/// How often one is tried. An Event is a courtesy: the log and `/routes` say the same.
const TRIES: u32 = 4;
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
/// For one try.
const DEADLINE: Duration = Duration::from_secs(10);
/// As in other Events about annotations.
const REASON: &str = "InvalidExportAnnotation";
/// An Event's message may be so long.
const MOST: usize = 1024;

/// What is to be told about a Service.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) service: ObjectKey,
    pub(super) uid: Arc<str>,
    pub(super) message: String,
}

/// Posts what comes, one after the other, for ever.
pub(super) async fn post(client: Client, notices: &mut Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        let api = Api::<Event>::namespaced(client.clone(), &notice.service.namespace);
        let Some(event) = event(&notice, SystemTime::now()) else { continue };
        for attempt in 1..=TRIES {
            let posted = timeout(DEADLINE, api.create(&PostParams::default(), &event)).await;
            let (failure, error) = match posted {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => (Failure::of(&error), chain(&error)),
                Err(_elapsed) => (Failure::Unreachable, "no answer in time".to_owned()),
            };
            let is_final = matches!(
                failure,
                Failure::Forbidden | Failure::Invalid | Failure::NotFound | Failure::Unauthorized
            );
            match failure {
                // Another replica has said it.
                Failure::AlreadyExists => break,
                _ if is_final || attempt == TRIES => {
                    tracing::warn!(
                        service = %notice.service, %error,
                        "the Event about its annotation cannot be created; is `create events` allowed?"
                    );
                    break;
                }
                _ => tokio::time::sleep(RETRY.jittered(attempt, fastrand::u8(..))).await,
            }
        }
    }
}

fn event(notice: &Notice, now: SystemTime) -> Option<Event> {
    let Notice { service, uid, message } = notice;
    let mut hasher = DefaultHasher::new();
    (uid, message).hash(&mut hasher);
    let message: String = message.chars().take(MOST).collect();
    let now = humantime::format_rfc3339_seconds(now).to_string();
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": &*service.namespace,
            "name": format!("{}.{:016x}", service.name, hasher.finish()),
        },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service", "namespace": &*service.namespace,
            "name": &*service.name, "uid": &**uid,
        },
        "type": "Warning",
        "reason": REASON,
        "action": "Export",
        "message": message,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": { "component": "linkerd-gateway" },
        "reportingComponent": "linkerd-gateway",
        "reportingInstance": "linkerd-gateway",
    });
    // Made of texts alone, it always is an Event.
    serde_json::from_value(event).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_by_what_it_says() {
        let event = |message: &str| {
            let service = ObjectKey::new("ns", "web");
            let notice = Notice { service, uid: "u".into(), message: message.to_owned() };
            event(&notice, SystemTime::UNIX_EPOCH).expect("an Event")
        };
        let (one, same, other) = (event("a"), event("a"), event("b"));
        assert_eq!(one.metadata.name, same.metadata.name);
        assert_ne!(one.metadata.name, other.metadata.name);
        assert_eq!(one.involved_object.uid.as_deref(), Some("u"));
        assert_eq!(event(&"x".repeat(5000)).message.expect("one").len(), MOST);
    }
}
