//! Kubernetes Events about Links, in our own cluster, where the operator of the mirrors looks.
//!
//! Anyone may say something; one task sends. The same is not said twice within ten minutes, and all
//! of them together are few: an Event more or less decides nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kube::Client;
use kube::api::PostParams;
use kube::core::Request;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::gate;
use super::gateway::AddressState;
use super::link::LinkState;
use crate::control::kubernetes::watch::chain;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::mirror::condition::{MirrorCondition, Reason};

/// The same Event again.
const REPEAT_INTERVAL: Duration = Duration::from_secs(600);
/// Between two Events, beyond the first [`BURST`].
const INTERVAL: Duration = Duration::from_secs(2);
const BURST: u32 = 25;
/// Events that wait; more are dropped.
const QUEUE: usize = 256;
/// Events that are remembered as said.
const MOST_SAID: usize = 4096;
/// One call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Who says it.
const COMPONENT: &str = "linkerd-gateway-mirror";
/// The longest message that the API takes, in bytes.
const MOST_MESSAGE: usize = 1024;

/// Says Events.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    /// Held by the task that sends; one that panicked leaves it to the next.
    waiting: tokio::sync::Mutex<mpsc::Receiver<Event>>,
    said: Mutex<HashMap<Said, Instant>>,
}

/// The Link, the reason and the message.
type Said = (Arc<str>, &'static str, String);

#[derive(Debug)]
struct Event {
    link: Arc<str>,
    uid: Arc<str>,
    is_warning: bool,
    reason: &'static str,
    message: String,
}

impl Default for Events {
    fn default() -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self { queue, waiting: tokio::sync::Mutex::new(waiting), said: Mutex::default() }
    }
}

impl Events {
    /// What has become of an exported Service.
    pub fn service(&self, link: &LinkState, service: &ObjectKey, condition: &MirrorCondition) {
        let reason = match condition.reason {
            Reason::Conflict => "Conflict",
            Reason::MissingNamespace | Reason::InvalidService => "ServiceMirroringSkipped",
            // Tried again, and seen in the status; or no problem.
            Reason::Error | Reason::Mirrored | Reason::Pending => return,
        };
        let message =
            format!("Service {service} of {} is not mirrored: {}", link.cluster, condition.message);
        self.say(link, true, reason, message);
    }

    /// An address of the gateway has gone down, or come up.
    pub fn gateway(&self, link: &LinkState, address: &AddressState) {
        let (reason, message) = match address.is_ready {
            true => ("GatewayUp", format!("the gateway at {} answers again", address.ip)),
            false => {
                let why = gate::why(address).unwrap_or_default();
                ("GatewayDown", format!("the gateway at {} is down: {why}", address.ip))
            }
        };
        self.say(link, !address.is_ready, reason, message);
    }

    /// Something about the Link as a whole.
    pub fn link(&self, link: &LinkState, reason: &'static str, message: &str) {
        self.say(link, true, reason, message.to_owned());
    }

    fn say(&self, link: &LinkState, is_warning: bool, reason: &'static str, message: String) {
        let mut message = message;
        message.truncate(message.floor_char_boundary(MOST_MESSAGE));
        let key = (Arc::clone(&link.name), reason, message.clone());
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MOST_SAID {
            said.retain(|_, at| now.duration_since(*at) < REPEAT_INTERVAL);
        }
        let is_new = said.get(&key).is_none_or(|at| now.duration_since(*at) >= REPEAT_INTERVAL);
        if !is_new || said.len() >= MOST_SAID {
            return;
        }
        let uid = Arc::clone(&link.parsed().link.uid);
        let link = Arc::clone(&link.name);
        // A full queue drops it: the status and /links say the same.
        if self.queue.try_send(Event { link, uid, is_warning, reason, message }).is_ok() {
            said.insert(key, now);
        }
    }

    /// Sends what is said, for ever.
    pub async fn run(&self, client: &Client, namespace: &str, link_version: impl Fn() -> String) {
        let mut waiting = self.waiting.lock().await;
        let (mut burst, mut last) = (BURST, Instant::now());
        while let Some(event) = waiting.recv().await {
            let earned = last.elapsed().as_secs() / INTERVAL.as_secs();
            burst = BURST.min(burst.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)));
            last = Instant::now();
            if burst == 0 {
                tokio::time::sleep(INTERVAL).await;
            } else {
                burst -= 1;
            }
            let body = event.render(namespace, &link_version());
            let path = format!("/api/v1/namespaces/{namespace}/events");
            let request =
                Request::new(path).create(&PostParams::default(), body.to_string().into_bytes());
            let Ok(request) = request else { continue };
            match timeout(CALL_TIMEOUT, client.request::<Value>(request)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(
                        reason = event.reason,
                        "an Event was not taken: {}",
                        chain(&error)
                    );
                }
                Err(_) => tracing::debug!(reason = event.reason, "an Event was not answered"),
            }
        }
    }
}

impl Event {
    fn render(&self, namespace: &str, link_version: &str) -> Value {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "generateName": format!("{}.", self.link), "namespace": namespace },
            "involvedObject": {
                "apiVersion": link_version,
                "kind": "Link",
                "namespace": namespace,
                "name": &*self.link,
                "uid": &*self.uid,
            },
            "reason": self.reason,
            "message": self.message,
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "source": { "component": COMPONENT },
            "reportingComponent": COMPONENT,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        })
    }
}
