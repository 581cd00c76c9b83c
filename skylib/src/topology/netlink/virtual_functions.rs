//! Virtual functions of a network card (SR-IOV): their settings on the node of the physical
//! function, and the edges to their own nodes.

use super::link_state::L2Edges;
use super::link_table::{FollowUp, LinkKey, LinkTable};
use super::wire::{Attribute, colon_hex, u32_at};
use crate::graph::{Edge, Graph, Metadata};
use crate::time::Timestamp;
use crate::topology::netlink::link_node::edge_id;
use crate::value::{Map, Value};

/// Returns the settings of the virtual functions in `IFLA_VFINFO_LIST`; `None` if there are none.
pub(super) fn settings(list: &Attribute<'_>) -> Option<Value> {
    let functions = list.nested().filter(|a| a.kind() == IFLA_VF_INFO);
    let maps: Vec<Map> = functions.map(|function| one(&function)).collect();
    (!maps.is_empty()).then(|| Value::list(maps))
}

/// Returns the settings of one function. Each attribute begins with the number of the function.
///
/// COMPAT: every client; zeros are omitted.
fn one(function: &Attribute<'_>) -> Map {
    let mut map = Map::new();
    let mut set = |key: &str, number: Option<u32>| {
        if let Some(number) = number.filter(|number| *number != 0) {
            map.set(key, number);
        }
    };
    let mut spoof_check = None;
    let mut mac = None;
    for attribute in function.nested() {
        let bytes = attribute.bytes();
        let second = u32_at(bytes, 4);
        set("ID", u32_at(bytes, 0));
        match attribute.kind() {
            IFLA_VF_MAC => mac = bytes.get(4..10).map(colon_hex),
            IFLA_VF_VLAN => {
                set("Vlan", second);
                set("Qos", u32_at(bytes, 8));
            }
            IFLA_VF_TX_RATE => set("TxRate", second),
            IFLA_VF_SPOOFCHK => spoof_check = second.map(|setting| setting == 1),
            IFLA_VF_LINK_STATE => set("LinkState", second),
            _ => {}
        }
    }
    if let Some(mac) = mac {
        map.set("MAC", mac);
    }
    if spoof_check == Some(true) {
        map.set("Spoofchk", true);
    }
    map
}

impl LinkTable {
    /// Updates the edge from the physical function of a link to the link, and requests the settings
    /// of its functions again, because the kernel does not report them.
    pub(super) fn relink_function(
        &mut self,
        graph: &mut Graph,
        at: LinkKey,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) {
        let Some((address, _)) = self
            .link(at)
            .and_then(|link| link.facts.pci.virtual_function.clone())
        else {
            return;
        };
        let Some(physical) = self.link_at_address(&address).filter(|other| *other != at) else {
            return;
        };
        let (Some(parent), Some(child)) = (self.link(physical), self.link(at)) else {
            return;
        };
        let id = edge_id(&parent.node, &child.node, RELATION);
        if child.edges.function.as_ref() == Some(&id) && graph.edge(&id).is_some() {
            return;
        }
        let metadata = Metadata::from_iter([("RelationType", RELATION)]);
        let edge = Edge::new(
            id.clone(),
            parent.node.clone(),
            child.node.clone(),
            metadata,
            now,
        );
        if graph
            .add_edge(edge.with_origin(self.origin.clone()))
            .is_ok()
            && let Some(link) = self.link_mut(at)
        {
            link.edges = L2Edges {
                function: Some(id),
                ..std::mem::take(&mut link.edges)
            };
            follow_up.refresh.insert(physical);
        }
    }

    /// Updates the edges to the virtual functions of a link whose node is new.
    pub(super) fn relink_functions_of(
        &mut self,
        graph: &mut Graph,
        at: LinkKey,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) {
        let address = self.link(at).and_then(|link| link.facts.bus_info.clone());
        let Some(address) = address.filter(|address| !address.is_empty()) else {
            return;
        };
        let is_of = |link: &super::link_state::LinkState| {
            let function = link.facts.pci.virtual_function.as_ref();
            function.is_some_and(|(physical, _)| *physical == *address)
        };
        let functions: Vec<LinkKey> = self
            .links()
            .filter(|(_, l)| is_of(l))
            .map(|(at, _)| at)
            .collect();
        for function in functions {
            self.relink_function(graph, function, now, follow_up);
        }
    }

    /// Returns the link at a PCI address.
    fn link_at_address(&self, address: &str) -> Option<LinkKey> {
        let mut all = self.links();
        all.find(|(_, link)| link.facts.bus_info.as_deref() == Some(address))
            .map(|(at, _)| at)
    }

    fn links(&self) -> impl Iterator<Item = (LinkKey, &super::link_state::LinkState)> {
        self.namespaces.iter().flat_map(|(key, namespace)| {
            namespace
                .links
                .iter()
                .map(|(index, link)| ((*key, *index), link))
        })
    }
}

/// Value of `RelationType`.
const RELATION: &str = "vf";

// Attributes of `linux/if_link.h`.
const IFLA_VF_INFO: u16 = 1;
const IFLA_VF_MAC: u16 = 1;
const IFLA_VF_VLAN: u16 = 2;
const IFLA_VF_TX_RATE: u16 = 3;
const IFLA_VF_SPOOFCHK: u16 = 4;
const IFLA_VF_LINK_STATE: u16 = 5;
