//! `Segment`: the layer 2 segment behind an interface, including tunnels between segments.

use std::cell::Cell;
use std::net::IpAddr;
use std::ops::ControlFlow;

use super::hop::simple_name;
use crate::filter::{Filter, Predicate};
use crate::graph::{Edge, ElementKey, NodeRef};
use crate::gremlin::ast::Hierarchy;
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::gremlin::steps::next_hop::{links_of, mac_of, owner_of};
use crate::gremlin::steps::owners::{kind_of, with_relation};
use crate::gremlin::steps::{hierarchy, path};
use crate::value::Value;

/// Search in layer 2 segments.
pub(super) struct Segment<'s> {
    scope: &'s Scope<'s>,
    budget: &'s Budget<'s>,
    /// Whether a search ended at a limit, so that a path may have been missed.
    is_cut: Cell<bool>,
}

/// Part of a path: interfaces of one segment, and the tunnel to the next segment.
pub(super) struct Piece {
    /// Interfaces after the first, in order.
    pub(super) nodes: Vec<NodeRef>,
    /// Tunnel that ends the piece, and the address of its other end.
    pub(super) tunnel: Option<(NodeRef, IpAddr)>,
    /// Interface at the other end of the tunnel.
    pub(super) far: Option<NodeRef>,
}

impl Piece {
    /// Returns a piece that ends at its last interface.
    const fn within(nodes: Vec<NodeRef>) -> Self {
        Self {
            nodes,
            tunnel: None,
            far: None,
        }
    }
}

/// Maximum number of tunnels of a segment that are tried.
const MAX_TUNNELS: usize = 64;
/// Maximum number of nodes of a segment that are searched for tunnels.
const MAX_NODES: usize = 10_000;

impl<'s> Segment<'s> {
    pub(super) const fn new(scope: &'s Scope<'s>, budget: &'s Budget<'s>) -> Self {
        Self {
            scope,
            budget,
            is_cut: Cell::new(false),
        }
    }

    /// Returns whether a search ended at a limit.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// Returns the path from an interface to the interface with an address, in the same segment or
    /// through one tunnel; `None` if there is none.
    ///
    /// In the segment, an interface that answers for the address (proxy ARP, or an address of
    /// another interface of its namespace) has the hardware address of the neighbor entry instead.
    pub(super) fn way(
        &self,
        out: &NodeRef,
        address: IpAddr,
    ) -> Result<Option<Vec<Piece>>, QueryError> {
        if let Some(nodes) = self.nodes_to(out, &with_address(address))? {
            return Ok(Some(vec![Piece::within(nodes)]));
        }
        if let Some(mac) = mac_of(&out.metadata, &address.to_string())
            && let Some(nodes) = self.nodes_to(out, &with_mac(&mac))?
            && !nodes.is_empty()
        {
            return Ok(Some(vec![Piece::within(nodes)]));
        }
        for tunnel in self.tunnels(out)? {
            for (far, remote) in self.far_ends(&tunnel)? {
                let Some(behind) = self.behind(&tunnel, &far, address)? else {
                    continue;
                };
                let Some(nodes) = self.nodes_to(out, &with_id(&tunnel))? else {
                    continue;
                };
                let before = Piece {
                    nodes,
                    tunnel: Some((tunnel, remote)),
                    far: Some(far),
                };
                return Ok(Some(vec![before, Piece::within(behind)]));
            }
        }
        Ok(None)
    }

    /// Returns the interfaces from the far end of a tunnel to the interface with an address. At
    /// layer 3, the namespace of the far end decides.
    fn behind(
        &self,
        tunnel: &NodeRef,
        far: &NodeRef,
        address: IpAddr,
    ) -> Result<Option<Vec<NodeRef>>, QueryError> {
        if let Some(nodes) = self.nodes_to(far, &with_address(address))? {
            return Ok(Some(nodes));
        }
        let is_routed = !LAYER_2.contains(&kind_of(tunnel));
        Ok(is_routed.then(Vec::new))
    }

    /// Returns the interfaces after an interface on the shortest path at layer 2 to a matching
    /// interface.
    fn nodes_to(
        &self,
        from: &NodeRef,
        target: &Filter<ElementKey>,
    ) -> Result<Option<Vec<NodeRef>>, QueryError> {
        let from = [from.index()];
        let paths = path::shortest_paths(
            self.scope,
            &from,
            target,
            &with_relation(Edge::LAYER2),
            self.budget,
        )?;
        let Some(numbers) = paths.into_iter().next() else {
            return Ok(None);
        };
        let numbers = numbers.get(1..).unwrap_or_default();
        let mut nodes = Vec::new();
        self.scope.fetch_nodes(numbers, &mut |node| {
            nodes.push(node);
            ControlFlow::Continue(())
        })?;
        // Nodes are fetched in arbitrary order.
        nodes.sort_by_key(|node| numbers.iter().position(|number| *number == node.index()));
        Ok(Some(nodes))
    }

    /// Returns the tunnels of the segment of an interface.
    fn tunnels(&self, out: &NodeRef) -> Result<Vec<NodeRef>, QueryError> {
        let from = [out.index()];
        let (scope, budget) = (self.scope, self.budget);
        let numbers = hierarchy::nodes_within(
            scope,
            &from,
            Hierarchy::Neighbors,
            &with_relation(Edge::LAYER2),
            None,
            budget,
        )?;
        let searched = numbers.get(..MAX_NODES).unwrap_or(&numbers);
        if searched.len() < numbers.len() {
            self.is_cut.set(true);
        }
        let mut tunnels = Vec::new();
        scope.fetch_nodes(searched, &mut |node| match is_tunnel(&node) {
            true => self.push(&mut tunnels, node),
            false => ControlFlow::Continue(()),
        })?;
        Ok(tunnels)
    }

    /// Returns the other ends of a tunnel in the graph, each with its address: interfaces of the same
    /// kind and identifier in a namespace that has the remote address.
    fn far_ends(&self, tunnel: &NodeRef) -> Result<Vec<(NodeRef, IpAddr)>, QueryError> {
        let remotes = remotes(tunnel);
        let mut candidates = Vec::new();
        let kind = Predicate::Text(kind_of(tunnel).into());
        let same_kind = Filter::Test(ElementKey::parse("Type"), kind);
        self.scope
            .visit_nodes(
                &same_kind,
                self.budget,
                &mut |node| match node.index() != tunnel.index() && accepts(&node, tunnel) {
                    true => self.push(&mut candidates, node),
                    false => ControlFlow::Continue(()),
                },
            )?;
        let mut far = Vec::new();
        for candidate in candidates {
            let own = self.own_addresses(&candidate)?;
            let address = match own.iter().find(|own| remotes.contains(own)) {
                Some(address) => Some(*address),
                // All interfaces with the identifier of the tunnel are members of the multicast
                // group.
                None if remotes.iter().any(IpAddr::is_multicast) => own.first().copied(),
                None => None,
            };
            far.extend(address.map(|address| (candidate, address)));
        }
        Ok(far)
    }

    /// Adds a tunnel, up to the limit.
    fn push(&self, tunnels: &mut Vec<NodeRef>, tunnel: NodeRef) -> ControlFlow<()> {
        if tunnels.len() >= MAX_TUNNELS {
            self.is_cut.set(true);
            return ControlFlow::Break(());
        }
        tunnels.push(tunnel);
        ControlFlow::Continue(())
    }

    /// Returns the addresses that packets to a tunnel interface can be sent to.
    fn own_addresses(&self, tunnel: &NodeRef) -> Result<Vec<IpAddr>, QueryError> {
        if let Some(local) = address_in(tunnel, "LocalIP") {
            return Ok(vec![local]);
        }
        let Some(owner) = owner_of(self.scope, tunnel, self.budget)? else {
            return Ok(Vec::new());
        };
        let links = links_of(self.scope, &owner, self.budget)?;
        let others = links.iter().filter(|link| link.index() != tunnel.index());
        let mut own: Vec<IpAddr> = others.flat_map(addresses).collect();
        own.retain(|address| !address.is_loopback());
        Ok(own)
    }
}

/// Tunnels that carry frames.
const LAYER_2: [&str; 6] = [
    "vxlan",
    "geneve",
    "gretap",
    "ip6gretap",
    "erspan",
    "ip6erspan",
];

/// Tunnels that carry IP packets.
const LAYER_3: [&str; 7] = ["gre", "ip6gre", "ipip", "sit", "ip6tnl", "vti", "vti6"];

/// Returns the addresses of an interface.
pub(super) fn addresses(node: &NodeRef) -> Vec<IpAddr> {
    let lists = ["IPV4", "IPV6"].map(|key| match node.metadata.get(key) {
        Some(Value::List(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    });
    let texts = lists.into_iter().flatten().filter_map(Value::as_text);
    texts
        .filter_map(|text| text.split('/').next()?.parse().ok())
        .collect()
}

/// Returns the addresses to which a tunnel sends: its remote end, and those in its forwarding
/// table.
fn remotes(tunnel: &NodeRef) -> Vec<IpAddr> {
    let table = tunnel.metadata.get("FDB").and_then(Value::as_list);
    let entries = table.unwrap_or_default().iter().filter_map(Value::as_map);
    let learned = entries.filter_map(|entry| entry.get("IP")?.as_text()?.parse().ok());
    address_in(tunnel, "RemoteIP")
        .into_iter()
        .chain(learned)
        .collect()
}

fn is_tunnel(node: &NodeRef) -> bool {
    let kind = kind_of(node);
    LAYER_2.contains(&kind) || LAYER_3.contains(&kind)
}

fn address_in(node: &NodeRef, key: &str) -> Option<IpAddr> {
    node.metadata.get(key)?.as_text()?.parse().ok()
}

/// Returns whether an interface accepts the packets of a tunnel: it has the same network identifier
/// and expects the key that the tunnel sends.
fn accepts(far: &NodeRef, tunnel: &NodeRef) -> bool {
    let number = |node: &NodeRef, key: &str| {
        let tunnel = node.metadata.get("Tunnel").and_then(Value::as_map);
        tunnel.and_then(|tunnel| tunnel.get(key)?.to_int())
    };
    number(far, "VNI") == number(tunnel, "VNI")
        && number(far, "InputKey") == number(tunnel, "OutputKey")
}

/// Returns the reason why no path to an address was found, if a search ended at a limit.
pub(super) fn limit_reason(out: &NodeRef, address: IpAddr) -> String {
    let name = simple_name(out);
    format!(
        "{address} was not found behind {name}, but not everything was searched: the limits are \
         {MAX_TUNNELS} tunnels and {MAX_NODES} interfaces of a segment"
    )
}

/// Returns the filter of the interfaces with an address.
fn with_address(address: IpAddr) -> Filter<ElementKey> {
    let key = match address {
        IpAddr::V4(_) => "IPV4",
        IpAddr::V6(_) => "IPV6",
    };
    Filter::Test(ElementKey::parse(key), Predicate::Address(address))
}

/// Returns the filter of the interfaces with a hardware address.
fn with_mac(mac: &str) -> Filter<ElementKey> {
    Filter::Test(ElementKey::parse("MAC"), Predicate::Text(mac.into()))
}

/// Returns the filter of one node.
fn with_id(node: &NodeRef) -> Filter<ElementKey> {
    let id = node.id.to_string();
    Filter::Test(ElementKey::Id, Predicate::Text(id.into()))
}
