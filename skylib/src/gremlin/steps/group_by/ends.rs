//! `Ends`: the nodes on which flows were captured, and the nodes that own their addresses.
//!
//! All interfaces and their owners are read once, O(nodes + edges); each flow then costs a hash
//! lookup.

use std::ops::ControlFlow;

use hashbrown::HashMap;

use super::table::Part;
use crate::filter::{Filter, Predicate};
use crate::flow::Flow;
use crate::graph::{ElementKey, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::gremlin::steps::owners::Owners;
use crate::value::{Text, Value};

/// Kind of node to which a key refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The interface itself.
    Node,
    /// The network namespace that owns the interface.
    Namespace,
    /// The container that owns the interface or shares its namespace.
    Container,
    /// The host that the interface belongs to.
    Host,
}

/// Part of a flow that a key refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The node on which the flow was captured.
    Capture,
    A,
    B,
}

/// Interfaces by TID, by address, and by MAC address.
#[derive(Default)]
pub(super) struct Ends {
    interfaces: Vec<Interface>,
    by_tid: HashMap<Text, u32>,
    by_address: HashMap<Text, Vec<u32>>,
    by_mac: HashMap<Text, Vec<u32>>,
}

struct Interface {
    name: Text,
    host: Text,
    mac: Text,
    owners: Owners,
}

impl Ends {
    /// Reads the interfaces of a scope.
    pub(super) fn read(scope: &Scope<'_>, budget: &Budget<'_>) -> Result<Self, QueryError> {
        let mut ends = Self::default();
        let present = |key: &str| Filter::Test(ElementKey::parse(key), Predicate::Present);
        let wanted = ["TID", "IPV4", "IPV6", "MAC"].map(present);
        let mut nodes: Vec<NodeRef> = Vec::new();
        let mut room = budget.room();
        let mut outcome = Ok(());
        scope.visit_nodes(&Filter::Any(wanted.into()), budget, &mut |node| {
            outcome = budget.tick().and_then(|()| {
                room.add(size_of::<NodeRef>() + size_of::<Interface>() + INDEX_BYTES)
            });
            nodes.push(node);
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        outcome?;
        let owners = Owners::of_nodes(scope, &nodes, budget)?;
        for (node, owners) in nodes.iter().zip(owners) {
            ends.add(node, owners);
        }
        Ok(ends)
    }

    fn add(&mut self, node: &NodeRef, owners: Owners) {
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let text = |key: &str| match node.metadata.get(key) {
            Some(Value::Text(text)) => text.clone(),
            _ => Text::default(),
        };
        let mac = Text::from(text("MAC").to_ascii_lowercase());
        let tid = text("TID");
        if !tid.is_empty() {
            self.by_tid.entry(tid).or_insert(number);
        }
        if !mac.is_empty() {
            self.by_mac.entry(mac.clone()).or_default().push(number);
        }
        for key in ["IPV4", "IPV6"] {
            let addresses = match node.metadata.get(key) {
                Some(Value::List(list)) => list.as_slice(),
                Some(one) => std::slice::from_ref(one),
                None => &[],
            };
            for address in addresses.iter().filter_map(Value::as_text) {
                let address = address.split('/').next().unwrap_or_default();
                self.by_address
                    .entry(Text::from(address))
                    .or_default()
                    .push(number);
            }
        }
        self.interfaces.push(Interface {
            name: text("Name"),
            host: node.host.clone(),
            mac,
            owners,
        });
    }

    /// Returns the name of a node of a flow; missing if the graph has no such node.
    pub(super) fn name(&self, owner: Owner, end: End, flow: &Flow) -> Part {
        let found = self.interface(end, flow).and_then(|interface| match owner {
            Owner::Node => Some(interface.name.clone()),
            Owner::Namespace => interface.owners.namespace.clone(),
            Owner::Container => interface.owners.container.clone(),
            Owner::Host => Some(interface.host.clone()),
        });
        let found = found.filter(|name| !name.is_empty());
        found.map_or(Part::Missing, Part::Text)
    }

    fn interface(&self, end: End, flow: &Flow) -> Option<&Interface> {
        let get = |number: &u32| self.interfaces.get(*number as usize);
        let captured = || self.by_tid.get(&flow.node_tid).and_then(get);
        let (network, link) = (flow.network.as_ref(), flow.link.as_ref());
        let (address, mac) = match end {
            End::Capture => return captured(),
            End::A => (network.map(|n| &n.a), link.map(|l| &l.a)),
            End::B => (network.map(|n| &n.b), link.map(|l| &l.b)),
        };
        let Some(address) = address else {
            let owners = self.by_mac.get(mac?)?;
            return owners.first().and_then(get);
        };
        let owners = self.by_address.get(address)?;
        if let [only] = owners.as_slice() {
            return get(only);
        }
        // An address such as 127.0.0.1 belongs to many interfaces. The interface with the MAC
        // address of the frame is preferred, then an interface in the namespace of the capture.
        let owners = || owners.iter().filter_map(get);
        let by_mac = mac.and_then(|mac| owners().find(|interface| interface.mac == *mac));
        let beside = || {
            let owner = captured()?.owners.number?;
            owners().find(|interface| interface.owners.number == Some(owner))
        };
        by_mac.or_else(beside).or_else(|| owners().next())
    }
}

/// Memory of the entries of an interface in the indexes, in bytes, approximately.
const INDEX_BYTES: usize = 4 * size_of::<(Text, Vec<u32>)>();
