//! The status of a Link.

use serde_json::Value;

use super::condition::MirrorCondition;
use crate::model::kubernetes::object::ObjectKey;

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
    /// All Services are listed (false when the list is cut, see [`render`]), none with a problem.
    ServicesMirrored,
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

/// Renders `status`. `last` is what was last sent or read (null if nothing): times of transitions
/// are kept from it. `now` is RFC 3339.
pub fn render(_status: &LinkStatus, _last: &Value, _now: &str) -> Value {
    Value::Null
}

/// The merge patch that is needed, if any: `{"status": ...}`.
pub fn patch(_last: &Value, _status: &Value) -> Option<Value> {
    None
}
