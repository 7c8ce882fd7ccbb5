//! The writes that lead from what is observed to what is wanted.

use super::desired::Desired;
use super::group::{GroupKey, ObservedGroup};
use super::object::{Kind, Object};
use crate::model::kubernetes::object::{ObjectKey, Version};
use crate::model::link::Link;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// POST.
    Create(Object),
    /// PUT over the state that was observed.
    Update {
        /// What it becomes.
        object: Object,
        /// What it was.
        version: Version,
    },
    /// DELETE of the state that was observed.
    Delete {
        /// The kind.
        kind: Kind,
        /// The name.
        key: ObjectKey,
        /// What it was: uid and resourceVersion are preconditions.
        version: Version,
    },
}

/// Something that is not ours has a name that we need: it is reported and never written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub key: ObjectKey,
    /// What it is, and what to do.
    pub message: String,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The writes, in their order: one that fails stops those after it.
    pub writes: Vec<Write>,
    /// What stands in the way.
    pub conflicts: Vec<Conflict>,
}

/// Plans one group. `observed` holds every object whose [`super::group::group_of`] is the group, and every
/// object that has one of [`Desired::service_keys`] (Endpoints have the same names).
///
/// After the writes the same question asked of what is then observed may give more writes:
/// endpoints follow once their Service is there. It ends with none.
pub fn plan(
    _link: &Link,
    _group: &GroupKey,
    _desired: &Desired,
    _observed: &ObservedGroup,
) -> Plan {
    Plan::default()
}
