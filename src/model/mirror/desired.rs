//! What a remote Service asks for here.

use super::condition::MirrorCondition;
use super::group::ObservedGroup;
use super::object::{MirrorEndpoints, MirrorService, MirrorSlice};
use super::remote::{Context, RemoteView};
use crate::model::kubernetes::object::ObjectKey;

/// What must not be touched, because something is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything is known.
    #[default]
    Nothing,
    /// Endpoints and slices stay as they are.
    Endpoints,
    /// The whole group stays as it is.
    All,
}

/// What is wanted of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Services, the root first.
    pub services: Vec<MirrorService>,
    /// Endpoints.
    pub endpoints: Vec<MirrorEndpoints>,
    /// EndpointSlices; their `owner` is filled in by the plan.
    pub slices: Vec<MirrorSlice>,
    /// What stays as it is.
    pub keep: Keep,
    /// What is said of the Service; `None` when it is not exported (any more).
    pub condition: Option<MirrorCondition>,
}

/// Decides what is wanted. `observed` is asked only for the addresses of hosts' mirrors and for the
/// kind of a headless mirror whose pods are all gone.
pub fn desired(
    _context: &Context<'_>,
    _remote: &RemoteView<'_>,
    _observed: &ObservedGroup,
) -> Desired {
    Desired {
        services: Vec::new(),
        endpoints: Vec::new(),
        slices: Vec::new(),
        keep: Keep::All,
        condition: None,
    }
}

impl Desired {
    /// The names that are wanted: whatever has one of them must be observed before planning.
    pub fn service_keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.services.iter().map(|service| &service.meta.key)
    }
}
