//! Who is a member of a federated Service: what it lists, and what is known of it.

use std::sync::Arc;

use super::super::keys;
use super::super::object::Meta;
use super::{Donor, FederatedView, LinkMember, Membership, refused};
use crate::model::link::Link;

/// The members as they are to be.
pub(super) struct Members<'a> {
    /// `name@cluster`, in the order in which they joined.
    pub(super) remote: Vec<String>,
    /// The local member.
    pub(super) local: Option<Arc<str>>,
    /// Whose metadata it has.
    pub(super) donor: Donor<'a>,
}

/// The entries of the remote members.
pub(super) fn entries(meta: &Meta) -> impl Iterator<Item = &str> {
    let list = meta.annotations.get(keys::REMOTE_DISCOVERY).map_or("", |list| &**list);
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// The local member.
pub(super) fn local(meta: &Meta) -> Option<&str> {
    let name = meta.annotations.get(keys::LOCAL_DISCOVERY).map(|name| name.trim())?;
    (!name.is_empty()).then_some(name)
}

impl<'a> Members<'a> {
    pub(super) fn of(view: &FederatedView<'a>, observed: Option<&Meta>) -> Self {
        let remote = remote(view, observed);
        let local = match fitting(view.local) {
            Membership::Yes(service) => Some(service.key.name.clone()),
            Membership::No => None,
            Membership::Unknown => observed.and_then(local).map(Arc::from),
        };
        let donor = donor(view, &remote, local.is_some());
        Self { remote, local, donor }
    }

    pub(super) fn are_none(&self) -> bool {
        self.remote.is_empty() && self.local.is_none()
    }
}

/// Entries that stay, in their order, then those who join, the oldest first.
fn remote(view: &FederatedView<'_>, observed: Option<&Meta>) -> Vec<String> {
    let mut remote: Vec<String> = Vec::new();
    for entry in observed.into_iter().flat_map(entries) {
        let stays = match entry.split_once('@') {
            // Of a member by another name nothing is known here.
            Some((name, _)) if *name != *view.service.name => true,
            None => true,
            Some((_, cluster)) => match link_of(view, cluster) {
                Some(link) => !matches!(fitting(link.member), Membership::No),
                None => !view.links_complete,
            },
        };
        if stays && !remote.iter().any(|known| known == entry) {
            remote.push(entry.to_owned());
        }
    }
    let mut links: Vec<_> = view.links.iter().collect();
    links.sort_by_key(|link| age(link.link));
    for link in links {
        if matches!(fitting(link.member), Membership::Yes(_)) {
            let entry = entry(view, link.link);
            if !remote.contains(&entry) {
                remote.push(entry);
            }
        }
    }
    remote
}

/// The oldest member: the local one, else that of the oldest Link among those listed.
fn donor<'a>(view: &FederatedView<'a>, remote: &[String], has_local: bool) -> Donor<'a> {
    if has_local {
        return match fitting(view.local) {
            Membership::Yes(service) => {
                Donor::Member(service, view.local_excluded_labels, view.local_excluded_annotations)
            }
            _ => Donor::Unknown,
        };
    }
    let listed = |link: &&LinkMember<'_>| remote.contains(&entry(view, link.link));
    let is_linked = |entry: &String| {
        entry.split_once('@').is_some_and(|(_, cluster)| link_of(view, cluster).is_some())
    };
    if !view.links_complete && !remote.iter().all(is_linked) {
        return Donor::Unknown;
    }
    let oldest = view.links.iter().filter(listed).min_by_key(|link| age(link.link));
    match oldest.map(|link| (link.link, fitting(link.member))) {
        Some((link, Membership::Yes(service))) => {
            Donor::Member(service, &link.excluded_labels, &link.excluded_annotations)
        }
        _ => Donor::Unknown,
    }
}

fn link_of<'v, 'a>(view: &'v FederatedView<'a>, cluster: &str) -> Option<&'v LinkMember<'a>> {
    view.links.iter().find(|link| *link.link.cluster == *cluster)
}

fn entry(view: &FederatedView<'_>, link: &Link) -> String {
    format!("{}@{}", view.service.name, link.cluster)
}

/// Timestamps of one second may be equal: then the name decides.
fn age(link: &Link) -> (&str, &str) {
    (&link.created, &link.key.name)
}

/// One that cannot be a member is none.
fn fitting(member: Membership<'_>) -> Membership<'_> {
    match member {
        Membership::Yes(service) if refused(service).is_some() => Membership::No,
        member => member,
    }
}
