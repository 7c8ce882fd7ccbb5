//! Rules by source network: one look-up for every prefix length that occurs. Exceptions are not
//! looked at here; [`super::Policy`] checks them for the few rules that are left.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Rule;
use super::index::{RuleSet, Table, numbered};

#[derive(Debug)]
pub(super) struct Index {
    any: Table<()>,
    by_network: Table<IpNet>,
    lengths_v4: BTreeSet<u8>,
    lengths_v6: BTreeSet<u8>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let open = numbered(rules).filter(|(_, rule)| rule.networks.is_empty());
        let networks = || {
            numbered(rules).flat_map(|(n, rule)| {
                rule.networks.iter().map(move |network| (network.cidr.trunc(), n))
            })
        };
        let lengths = |v4: bool| {
            let of_family = networks().filter(move |(net, _)| matches!(net, IpNet::V4(_)) == v4);
            of_family.map(|(net, _)| net.prefix_len()).collect()
        };
        Self {
            any: Table::new(open.map(|(n, _)| ((), n)), rules.len()),
            by_network: Table::new(networks(), rules.len()),
            lengths_v4: lengths(true),
            lengths_v6: lengths(false),
        }
    }

    /// Adds the rules with a network that has `source`.
    pub(super) fn add(&self, source: IpAddr, set: &mut RuleSet) {
        self.any.add(&(), set);
        let lengths = if source.is_ipv4() { &self.lengths_v4 } else { &self.lengths_v6 };
        for length in lengths {
            if let Ok(network) = IpNet::new(source, *length) {
                self.by_network.add(&network.trunc(), set);
            }
        }
    }
}
