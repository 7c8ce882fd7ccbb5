//! The status of a Link: what its mirrors are, and how its target, gateway and credentials do.
//!
//! The lists have the shape that Linkerd's controller writes. An entry weighs some 450 bytes, 2,000
//! of them 0.9 MB, and the API takes no object over 1.5 MiB: see [`MAX_LISTED`] and [`MAX_BYTES`].

mod conditions;
mod document;

use document::{Condition, Document, Reference};

use super::condition::MirrorCondition;
use crate::model::kubernetes::object::ObjectKey;

pub use conditions::{AddressReport, gateway_alive, spec_valid};

/// Beyond so many entries only those are listed whose Service is *not* mirrored.
pub const MAX_LISTED: usize = 2_000;
/// Beyond so many bytes of entries, too; and of those that are then listed the rest is cut.
pub const MAX_BYTES: usize = 1_000_000;
/// Who writes the entries: Linkerd's name, which its tools look for.
const CONTROLLER: &str = "linkerd.io/service-mirror";
/// The type of the condition of an entry.
const MIRRORED: &str = "Mirrored";
/// The longest message of an entry, in characters.
const MAX_MESSAGE: usize = 512;

/// One entry of `mirrorServices` or `federatedServices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// The Service in the target.
    pub remote: ObjectKey,
    /// The Service here; written only when it is mirrored.
    pub local: ObjectKey,
    /// What is said of it.
    pub condition: MirrorCondition,
}

/// The conditions of a Link as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkConditionType {
    /// The Secret's kubeconfig can be used.
    CredentialsValid,
    /// The gateway answers.
    GatewayAlive,
    /// Written by [`render`] only when not every Service is listed: whether all are mirrored.
    ServicesMirrored,
    /// No field of the Link is wrong.
    SpecValid,
    /// The target's API server answers.
    TargetReachable,
}

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

/// One condition of a Link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCondition {
    /// Its type.
    pub kind: LinkConditionType,
    /// Its status.
    pub status: ConditionStatus,
    /// One word in CamelCase.
    pub reason: &'static str,
    /// What happened and what to do.
    pub message: String,
}

/// All that a Link's status says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// The Link as a whole.
    pub conditions: Vec<LinkCondition>,
    /// The mirrored Services, in any order.
    pub mirrored: Vec<ServiceStatus>,
    /// The federated Services, in any order.
    pub federated: Vec<ServiceStatus>,
    /// `metadata.generation` of the Link that this was decided by.
    pub generation: i64,
}

impl LinkConditionType {
    /// The value of `type`.
    pub fn label(self) -> &'static str {
        match self {
            Self::CredentialsValid => "CredentialsValid",
            Self::GatewayAlive => "GatewayAlive",
            Self::ServicesMirrored => "ServicesMirrored",
            Self::SpecValid => "SpecValid",
            Self::TargetReachable => "TargetReachable",
        }
    }
}

impl ConditionStatus {
    /// The value of `status`.
    pub fn label(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Renders `status` as JSON. `last` is what was last sent or read (empty if nothing): the time of a
/// transition is kept from it as long as the status is the same. `now` is RFC 3339. Equal input
/// gives equal output, whatever its order.
pub fn render(status: &LinkStatus, last: &str, now: &str) -> String {
    let last = Document::parse(last);
    let mut lists = [
        List::new(&status.mirrored, &last.mirror_services, now),
        List::new(&status.federated, &last.federated_services, now),
    ];
    let count: usize = lists.iter().map(|list| list.entries.len()).sum();
    let bytes: usize = lists.iter().map(List::bytes).sum();
    let mut conditions = status.conditions.clone();
    if count > MAX_LISTED || bytes > MAX_BYTES {
        let total = count;
        lists.iter_mut().for_each(List::drop_mirrored);
        let failed: usize = lists.iter().map(|list| list.entries.len()).sum();
        let mut left = MAX_BYTES;
        lists.iter_mut().for_each(|list| left = list.cut(left));
        let listed: usize = lists.iter().map(|list| list.entries.len()).sum();
        // What stands there already says more.
        if !conditions.iter().any(|said| said.kind == LinkConditionType::ServicesMirrored) {
            conditions.push(summary(total, failed, listed));
        }
    }
    conditions.sort_by_key(|condition| condition.kind);
    let conditions: Vec<_> = conditions
        .iter()
        .map(|condition| conditions::render(condition, status.generation, &last.conditions, now))
        .collect();
    let [mirrored, federated] = lists.map(List::text);
    // As `Document` would be written: its lists are text already.
    format!(
        r#"{{"conditions":{},"mirrorServices":[{mirrored}],"federatedServices":[{federated}]}}"#,
        document::text(&conditions)
    )
}

/// What `last` says, with the conditions of `new`.
pub fn with_conditions_of(last: &str, new: &str) -> String {
    let conditions = Document::parse(new).conditions;
    Document { conditions, ..Document::parse(last) }.text()
}

/// The merge patch of the conditions of `status` alone: what is said of Services is another's to
/// write, or not known yet.
pub fn patch_of_conditions(last: &str, status: &str) -> Option<String> {
    let conditions = |text: &str| document::text(&Document::parse(text).conditions);
    let new = conditions(status);
    (conditions(last) != new).then(|| format!(r#"{{"status":{{"conditions":{new}}}}}"#))
}

/// A status that was read, as it would be written.
pub fn normal(read: &str) -> String {
    Document::parse(read).text()
}

/// The merge patch that is needed, if any: `{"status": ...}`. `last` is what was last *sent*: where
/// a CRD prunes our conditions, what is read never has them, and would be written for ever.
pub fn patch(last: &str, status: &str) -> Option<String> {
    (last != status).then(|| format!(r#"{{"status":{status}}}"#))
}

struct List {
    entries: Vec<Entry>,
}

struct Entry {
    is_mirrored: bool,
    json: String,
}

impl List {
    fn new(services: &[ServiceStatus], last: &[document::Entry<'_>], now: &str) -> Self {
        let last = document::known(last);
        let mut services: Vec<_> = services.iter().collect();
        services.sort_by(|a, b| a.remote.cmp(&b.remote));
        let entry = |service: &ServiceStatus| {
            let known = last.get(&(&*service.remote.namespace, &*service.remote.name));
            let json = entry(service, known.copied().unwrap_or_default(), now);
            Entry { is_mirrored: service.condition.is_mirrored, json }
        };
        Self { entries: services.into_iter().map(entry).collect() }
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.json.len()).sum()
    }

    fn drop_mirrored(&mut self) {
        self.entries.retain(|entry| !entry.is_mirrored);
    }

    /// Keeps what fits, and says what is left.
    fn cut(&mut self, mut left: usize) -> usize {
        let fits = |entry: &Entry| {
            let fits = entry.json.len() <= left;
            left = if fits { left - entry.json.len() } else { 0 };
            fits
        };
        let kept = self.entries.iter().map(fits).take_while(|fits| *fits).count();
        self.entries.truncate(kept);
        left
    }

    fn text(self) -> String {
        let mut text = String::with_capacity(self.bytes() + self.entries.len());
        for entry in self.entries {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&entry.json);
        }
        text
    }
}

/// One element of a list.
fn entry(service: &ServiceStatus, known: &[Condition<'_>], now: &str) -> String {
    let condition = &service.condition;
    let status = if condition.is_mirrored { "True" } else { "False" };
    document::text(&document::Entry {
        controller_name: CONTROLLER.into(),
        remote_ref: Reference::service(&service.remote),
        conditions: vec![Condition {
            kind: MIRRORED.into(),
            status: status.into(),
            reason: condition.reason.label().into(),
            message: first(MAX_MESSAGE, &condition.message).into(),
            last_transition_time: document::transition(known, MIRRORED, status, now),
            observed_generation: None,
            local_ref: condition.is_mirrored.then(|| Reference::service(&service.local)),
        }],
    })
}

/// The first `count` characters.
fn first(count: usize, text: &str) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

fn summary(total: usize, failed: usize, listed: usize) -> LinkCondition {
    let mut message = format!(
        "{} of {total} Services are mirrored; there are too many to list them: only those that are \
         not are",
        total - failed
    );
    if listed < failed {
        message.push_str(&format!(", and of these {failed} the first {listed}"));
    }
    let (status, reason) = match failed {
        0 => (ConditionStatus::True, "AllMirrored"),
        _ => (ConditionStatus::False, "SomeNotMirrored"),
    };
    LinkCondition { kind: LinkConditionType::ServicesMirrored, status, reason, message }
}
