//! For any target and any state of the source: it converges, and nothing foreign is touched.

use proptest::prelude::*;

use super::cluster::meta;
use super::fixture::{World, gateway, host, hosts, key, ready, service};
use crate::model::mirror::keys;
use crate::model::mirror::object::{Meta, Object};
use crate::model::mirror::plan::Write;
use crate::model::mirror::remote::{EndpointObjects, RemoteEndpoints, RemoteHost, ServiceKind};

const NAMES: [&str; 4] = ["a", "b", "web-0", "web"];

#[derive(Clone, Debug)]
enum Step {
    Export {
        name: usize,
        kind: u8,
        mode: u8,
        ports: u16,
        hosts: u8,
    },
    Remove(usize),
    Gateway(Vec<bool>),
    Options {
        endpoints: u8,
        headless: bool,
    },
    Foreign {
        name: usize,
        labels: u8,
    },
    /// Somebody deletes one of our objects.
    Lose(u8),
    Complete(bool),
    /// The process is killed after so many writes.
    Cut {
        name: usize,
        after: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let step = prop_oneof![
        4 => (name.clone(), 0..3_u8, 0..3_u8, 1..3_u16, 0..8_u8)
            .prop_map(|(name, kind, mode, ports, hosts)| Step::Export { name, kind, mode, ports, hosts }),
        2 => name.clone().prop_map(Step::Remove),
        1 => prop::collection::vec(any::<bool>(), 0..3).prop_map(Step::Gateway),
        1 => (0..3_u8, any::<bool>())
            .prop_map(|(endpoints, headless)| Step::Options { endpoints, headless }),
        1 => (name.clone(), 0..3_u8).prop_map(|(name, labels)| Step::Foreign { name, labels }),
        1 => any::<u8>().prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Complete),
        1 => (name, 0..4_usize).prop_map(|(name, after)| Step::Cut { name, after }),
    ];
    prop::collection::vec(step, 1..14)
}

fn export(world: &mut World, name: &str, (kind, mode, ports, bits): (u8, u8, u16, u8)) {
    let mut remote = service(name);
    remote.kind = [ServiceKind::ClusterIp, ServiceKind::Headless, ServiceKind::ExternalName]
        [usize::from(kind)];
    let exported = ["true", "remote-discovery", "no"][usize::from(mode)];
    remote.labels.insert("mirror.linkerd.io/exported".into(), exported.into());
    remote.ports.truncate(usize::from(ports));
    remote.resource_version = format!("{kind}{mode}{ports}").into();
    let host = |index: u8| RemoteHost {
        is_ready: bits & (1 << index) != 0,
        ..host(&format!("web-{index}"))
    };
    let endpoints = match (remote.kind, bits) {
        (ServiceKind::Headless, _) => hosts(&[host(0), host(1), host(2)]),
        (_, 0) => RemoteEndpoints::default(),
        _ => ready(),
    };
    world.export(remote, Some(endpoints));
}

fn take(world: &mut World, step: &Step) {
    match step {
        Step::Export { name, kind, mode, ports, hosts } => {
            export(world, NAMES[*name], (*kind, *mode, *ports, *hosts));
        }
        Step::Remove(name) => drop(world.remote.remove(&key(NAMES[*name]))),
        Step::Gateway(up) => {
            let all = ["192.0.2.1", "2001:db8::1", "192.0.2.2"];
            let addresses: Vec<_> = all.into_iter().zip(up.iter().copied()).collect();
            world.gateway = gateway(&addresses);
        }
        Step::Options { endpoints, headless } => {
            let all = [EndpointObjects::Both, EndpointObjects::Slices, EndpointObjects::Endpoints];
            world.options.endpoints = all[usize::from(*endpoints)];
            world.options.headless = *headless;
        }
        Step::Foreign { name, labels } => {
            let key = key(&format!("{}-remote", NAMES[*name]));
            if !world.local.services.contains_key(&key) {
                let other = [(keys::MIRRORED, "true"), (keys::CLUSTER, "other")];
                world.local.put_service(meta(key, &other[..usize::from(*labels)]));
            }
        }
        Step::Lose(index) => {
            let index = usize::from(*index);
            let services = world.local.services.values().map(|found| &found.object.meta);
            let ours: Vec<_> =
                services.filter(|meta| !is_foreign(meta)).map(|m| m.key.clone()).collect();
            if let Some(key) = ours.get(index % 4) {
                match index % 3 {
                    0 => drop(world.local.services.remove(key)),
                    1 => drop(world.local.endpoints.remove(key)),
                    _ => world.local.slices.clear(),
                }
            }
        }
        Step::Complete(is) => world.services_complete = *is,
        Step::Cut { name, after } => {
            let (_, plan) = world.decide(&key(NAMES[*name]));
            plan.writes.iter().take(*after).for_each(|write| world.local.apply(write));
        }
    }
}

fn is_foreign(meta: &Meta) -> bool {
    !meta.is_mirror_of("remote")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_converges_and_never_touches_what_is_foreign(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            take(&mut world, step);
            let before = world.local.clone();
            for name in NAMES {
                // Panics if it never settles, or if a write is one that a server refuses.
                world.settle(name);
            }
            // What one group frees another may take.
            for _ in 0..3 {
                for name in NAMES {
                    world.settle(name);
                }
            }
            for name in NAMES {
                let (_, plan) = world.decide(&key(name));
                prop_assert_eq!(plan.writes, vec![], "after all have settled");
            }
            for (key, found) in before.services.iter().filter(|(_, found)| is_foreign(&found.object.meta)) {
                prop_assert_eq!(world.local.services.get(key), Some(found), "foreign: touched");
            }
            if !world.services_complete && world.remote.is_empty() {
                let ours = before.services.keys();
                let is_kept = |key| world.local.services.contains_key(key);
                prop_assert!(ours.clone().all(is_kept), "deleted before the list was complete");
            }
        }
    }

    #[test]
    fn every_write_is_about_the_groups_own_namespace_and_cluster(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            take(&mut world, step);
            for name in NAMES {
                for write in world.settle(name).writes {
                    let meta = match &write {
                        Write::Create(object) | Write::Update { object, .. } => object.meta(),
                        Write::Delete { key, .. } => {
                            prop_assert_eq!(&*key.namespace, "ns1");
                            continue;
                        }
                    };
                    prop_assert!(meta.is_mirror_of("remote"));
                    prop_assert_eq!(&*meta.key.namespace, "ns1");
                    if let Write::Create(Object::Endpoints(_)) = &write {
                        prop_assert!(meta.key.name.ends_with("-remote"));
                    }
                }
            }
        }
    }
}
