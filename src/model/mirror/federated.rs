//! Federated Services: one Service for members of the same name in several clusters.

use std::sync::Arc;

use super::condition::MirrorCondition;
use super::object::{MirrorService, Observed};
use super::plan::Plan;
use super::remote::RemoteService;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::{ExcludedKey, Link};

/// A cluster of a federated Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberCluster {
    /// This one.
    Local,
    /// The target of a Link.
    Remote(Arc<str>),
}

/// What is known of the member in the target of one Link.
#[derive(Clone, Copy, Debug)]
pub struct LinkMember<'a> {
    /// The Link.
    pub link: &'a Link,
    /// Its Service.
    pub member: Membership<'a>,
}

/// What is known of one member.
#[derive(Clone, Copy, Debug)]
pub enum Membership<'a> {
    /// The list is not complete, the Link is frozen, or another holds its Lease: an entry stays as
    /// it is.
    Unknown,
    /// The list is complete, and there is none.
    No,
    /// This Service.
    Yes(&'a RemoteService),
}

/// What a decision needs.
#[derive(Clone, Copy, Debug)]
pub struct FederatedView<'a> {
    /// Namespace and name of the members.
    pub service: &'a ObjectKey,
    /// The member in each Link's target, each cluster once.
    pub links: &'a [LinkMember<'a>],
    /// True once the list of Links is complete: entries of clusters without a Link then go.
    pub links_complete: bool,
    /// The local member.
    pub local: Membership<'a>,
    /// Labels of the local member that are not copied.
    pub local_excluded_labels: &'a [ExcludedKey],
    /// Annotations of the local member that are not copied.
    pub local_excluded_annotations: &'a [ExcludedKey],
    /// Whether the namespace exists here.
    pub namespace_exists: bool,
    /// What has the federated Service's name.
    pub observed: Option<&'a Observed<MirrorService>>,
}

/// What is to be done, and what is said of each member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FederatedPlan {
    /// The write, at most one.
    pub plan: Plan,
    /// The condition of each member that is there.
    pub conditions: Vec<(MemberCluster, MirrorCondition)>,
}

/// Plans one federated Service.
pub fn plan(_view: &FederatedView<'_>) -> FederatedPlan {
    FederatedPlan::default()
}
