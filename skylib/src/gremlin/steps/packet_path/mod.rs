//! `PathTo(address)`: the path of a packet from a node to an address, hop by hop.
//!
//! In each namespace, the routing rules and tables choose the outgoing interface and the next hop,
//! as in the kernel ([`super::fib`]). The layer 2 [`segment`] behind the interface (veth pairs,
//! bridges, VLANs, tunnels) leads to the interface that has the address of the next hop. The
//! namespace of this interface then decides. The path of the outer packet of a tunnel is part of
//! the path. Firewall rules, policies of bridges, and `ip_forward` are not considered.
//!
//! A path that does not reach the address always has a reason.

mod hop;
mod segment;

use std::net::IpAddr;
use std::ops::ControlFlow;

use hashbrown::HashSet;

use self::hop::{By, Hop};
use self::segment::Segment;
use super::next_hop::{Decision, index_of, links_of, mac_of, owner_of};
use super::owners::Owners;
use crate::filter::Filter;
use crate::graph::{ElementKey, NodeRef};
use crate::gremlin::budget::{Budget, Room};
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::value::{Map, Text, Value};

/// Destination of a path.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gremlin) enum PathTarget {
    Address(IpAddr),
    /// The node with an id.
    Node(Text),
    /// The first matching node that has an address.
    Matching(Filter),
}

impl PathTarget {
    /// Returns the target in words, for explanations.
    pub(in crate::gremlin) fn describe(&self) -> String {
        match self {
            Self::Address(address) => format!("path of a packet to {address}"),
            Self::Node(id) => format!("path of a packet to the node {id}"),
            Self::Matching(_) => "path of a packet to the first matching node".to_owned(),
        }
    }
}

/// Maximum number of namespaces that a packet passes: the initial TTL of Linux.
const MAX_DECISIONS: usize = 64;
/// Maximum nesting of tunnels.
const MAX_DEPTH: usize = 4;
/// Index of the loopback interface in every namespace.
const LOOPBACK: i64 = 1;

/// Returns the path from each node, as an object.
pub(in crate::gremlin) fn of_nodes(
    scope: &Scope<'_>,
    nodes: &[NodeRef],
    target: &PathTarget,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let target = resolve(scope, target, budget)?;
    let mut paths = Vec::new();
    for node in nodes {
        budget.tick()?;
        let path = match &target {
            Ok(addresses) => Tracer::new(scope, budget).path(node, addresses)?,
            Err(reason) => {
                let mut path = Map::new();
                path.set("From", hop::name(scope, node, budget)?);
                path.set("Reached", false);
                path.set("Reason", Value::from(reason.as_str()));
                Value::from(path)
            }
        };
        paths.push(path);
    }
    Ok(paths)
}

/// Returns the addresses of a target, or the reason why it has no address.
fn resolve(
    scope: &Scope<'_>,
    target: &PathTarget,
    budget: &Budget<'_>,
) -> Result<Result<Vec<IpAddr>, String>, QueryError> {
    let node = match target {
        PathTarget::Address(address) => return Ok(Ok(vec![*address])),
        PathTarget::Node(id) => {
            let missing = || QueryError::execute(format!("Node '{id}' does not exist"));
            scope.node(id)?.ok_or_else(missing)?
        }
        PathTarget::Matching(filter) => {
            let filter = ElementKey::compile(filter);
            let mut first = None;
            scope.visit_nodes(&filter, budget, &mut |node| {
                first = Some(node);
                ControlFlow::Break(())
            })?;
            match first {
                Some(node) => node,
                None => return Ok(Err("no node matches the target".to_owned())),
            }
        }
    };
    let mut addresses = segment::addresses(&node);
    if addresses.is_empty() {
        let links = links_of(scope, &node, budget)?;
        addresses = links.iter().flat_map(segment::addresses).collect();
        addresses.retain(|address| !address.is_loopback());
    }
    let name = hop::name(scope, &node, budget)?;
    Ok(match addresses.is_empty() {
        true => Err(format!("the target {name} has no IP address")),
        false => Ok(addresses),
    })
}

/// Outcome of the decision of one namespace.
enum Outcome {
    /// The packet is in another namespace.
    Continue(NodeRef),
    Reached,
    /// The packet goes no further, for this reason.
    Stopped(String),
}

/// State of one path.
struct Tracer<'t> {
    scope: &'t Scope<'t>,
    budget: &'t Budget<'t>,
    room: Room<'t, 't>,
    hops: Vec<Hop>,
    /// Pairs of a namespace and a destination that have been decided, for the detection of loops.
    decided: HashSet<(u32, IpAddr)>,
}

impl<'t> Tracer<'t> {
    fn new(scope: &'t Scope<'t>, budget: &'t Budget<'t>) -> Self {
        Self {
            scope,
            budget,
            room: budget.room(),
            hops: Vec::new(),
            decided: HashSet::new(),
        }
    }

    /// Returns the path from a node to the first address of the node's own family or, if there is
    /// none, to the first address.
    fn path(mut self, node: &NodeRef, addresses: &[IpAddr]) -> Result<Value, QueryError> {
        let own = segment::addresses(node);
        let is_own = |address: &&IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        let found = addresses.iter().find(is_own).or(addresses.first());
        let target = *found.ok_or_else(|| QueryError::execute("no address"))?;
        let outcome = match owner_of(self.scope, node, self.budget)? {
            Some(owner) => self.follow(owner, target, 0)?,
            None => Outcome::Stopped(format!(
                "no routing rules are known for {}: it is neither a host, nor a namespace, nor an \
                 interface of one",
                self.name(node)?
            )),
        };
        let mut path = Map::new();
        path.set("From", self.name(node)?);
        path.set("To", Value::from(target.to_string().as_str()));
        if let Some(mtu) = self.hops.iter().filter_map(Hop::mtu).min() {
            path.set("MTU", mtu);
        }
        let drops = self.hops.iter().map(Hop::drops);
        path.set("Drops", drops.fold(0_i64, i64::saturating_add));
        path.set("Reached", matches!(outcome, Outcome::Reached));
        if let Outcome::Stopped(reason) = outcome {
            path.set("Reason", Value::from(reason.as_str()));
        }
        path.set("Hops", Value::list(self.hops.iter().map(Hop::to_value)));
        Ok(Value::from(path))
    }

    /// Follows a packet from the namespace that sends it.
    fn follow(
        &mut self,
        mut owner: NodeRef,
        target: IpAddr,
        depth: usize,
    ) -> Result<Outcome, QueryError> {
        for _ in 0..MAX_DECISIONS {
            self.budget.tick()?;
            if !self.decided.insert((owner.index(), target)) {
                let reason = format!(
                    "routing loop: the packet reaches {} a second time",
                    self.name(&owner)?
                );
                return Ok(Outcome::Stopped(reason));
            }
            match self.decide(&owner, target, depth)? {
                Outcome::Continue(next) => owner = next,
                end => return Ok(end),
            }
        }
        let reason = format!("the packet passes more than {MAX_DECISIONS} namespaces");
        Ok(Outcome::Stopped(reason))
    }

    /// Passes a packet through one namespace to the next one.
    fn decide(
        &mut self,
        owner: &NodeRef,
        target: IpAddr,
        depth: usize,
    ) -> Result<Outcome, QueryError> {
        let decision = Decision::of(self.scope, owner, target, self.budget)?;
        let owner_name = hop::simple_name(owner);
        let Some(route) = decision.hops.first() else {
            return Ok(Outcome::Stopped(format!(
                "{owner_name} has no route to {target}, or a route that rejects it"
            )));
        };
        let has_target = |link: &&NodeRef| segment::addresses(link).contains(&target);
        if route.link == LOOPBACK && route.gateway.is_none() {
            return match decision.links.iter().find(has_target) {
                Some(link) => {
                    self.push(link, By::Local, depth)?;
                    Ok(Outcome::Reached)
                }
                // Addresses such as 127.0.0.2 are local without being those of an interface.
                None => Ok(Outcome::Reached),
            };
        }
        let is_out = |link: &&NodeRef| index_of(link) == Some(route.link);
        let Some(out) = decision.links.iter().find(is_out) else {
            return Ok(Outcome::Stopped(format!(
                "interface {} of {owner_name}, by which the route to {target} leaves, is not in the \
                 graph",
                route.link
            )));
        };
        let gateway = route.gateway.as_ref().and_then(|ip| ip.parse().ok());
        let by = By::Route {
            gateway: route.gateway.clone(),
            priority: route.priority,
            alternatives: decision.hops.len(),
        };
        self.push(out, by, depth)?;
        if let Some(reason) = self.fault_of_last() {
            return Ok(Outcome::Stopped(reason));
        }
        self.cross(out, gateway.unwrap_or(target), target, depth)
    }

    /// Passes a packet from an interface to the interface of the next hop.
    fn cross(
        &mut self,
        out: &NodeRef,
        next: IpAddr,
        target: IpAddr,
        depth: usize,
    ) -> Result<Outcome, QueryError> {
        let segment = Segment {
            scope: self.scope,
            budget: self.budget,
        };
        let Some(pieces) = segment.way(out, next)? else {
            return Ok(Outcome::Stopped(beyond(out, next)));
        };
        for piece in pieces {
            for node in &piece.nodes {
                self.push(node, By::Link, depth)?;
                if let Some(reason) = self.fault_of_last() {
                    return Ok(Outcome::Stopped(reason));
                }
            }
            if let Some((tunnel, remote)) = &piece.tunnel
                && let Some(reason) = self.outer(tunnel, *remote, depth)?
            {
                return Ok(Outcome::Stopped(reason));
            }
            if let Some(far) = &piece.far {
                self.push(far, By::Tunnel, depth)?;
            }
        }
        let last = self.hops.last().map_or(out, |hop| &hop.node).clone();
        let is_there = segment::addresses(&last).contains(&target);
        if is_there {
            return Ok(Outcome::Reached);
        }
        match owner_of(self.scope, &last, self.budget)? {
            Some(owner) => Ok(Outcome::Continue(owner)),
            None => {
                let name = self.name(&last)?;
                Ok(Outcome::Stopped(format!(
                    "no routing rules are known for {name}"
                )))
            }
        }
    }

    /// Follows the outer packet of a tunnel. Returns the reason if it does not arrive.
    fn outer(
        &mut self,
        tunnel: &NodeRef,
        remote: IpAddr,
        depth: usize,
    ) -> Result<Option<String>, QueryError> {
        let name = hop::simple_name(tunnel);
        if depth >= MAX_DEPTH {
            return Ok(Some(format!(
                "more than {MAX_DEPTH} nested tunnels, at {name}"
            )));
        }
        let Some(owner) = owner_of(self.scope, tunnel, self.budget)? else {
            return Ok(Some(format!(
                "no routing rules are known for the tunnel {name}"
            )));
        };
        Ok(match self.follow(owner, remote, depth + 1)? {
            Outcome::Stopped(reason) => Some(format!("tunnel {name} to {remote}: {reason}")),
            _ => None,
        })
    }

    fn push(&mut self, node: &NodeRef, by: By, depth: usize) -> Result<(), QueryError> {
        let hop = Hop {
            node: node.clone(),
            name: self.name(node)?,
            by,
            depth,
        };
        self.room.add(size_of::<Hop>() + HOP_BYTES)?;
        self.hops.push(hop);
        Ok(())
    }

    /// Returns the reason why the last interface passes no packets, if its state shows one.
    fn fault_of_last(&self) -> Option<String> {
        let hop = self.hops.last()?;
        let state = hop.state()?;
        // Interfaces without a link state, such as lo and tunnels, are UNKNOWN.
        let passes = matches!(state, "UP" | "UNKNOWN" | "DORMANT" | "TESTING");
        (!passes).then(|| format!("{} is {state}", hop.name))
    }

    fn name(&self, node: &NodeRef) -> Result<Text, QueryError> {
        hop::name(self.scope, node, self.budget)
    }
}

/// Memory of the object of a hop, in bytes, approximately.
const HOP_BYTES: usize = 256;

/// Returns the reason why a packet cannot get from an interface to the next hop.
fn beyond(out: &NodeRef, next: IpAddr) -> String {
    let name = hop::simple_name(out);
    match mac_of(&out.metadata, &next.to_string()) {
        Some(mac) => format!(
            "{next} ({mac}) is beyond {name}: no interface in the graph that is connected to it has \
             this address"
        ),
        None => format!(
            "no interface that is connected to {name} has the address {next}, and {name} knows no \
             neighbor with it"
        ),
    }
}

/// Returns the names of the owners of one node.
fn owners_of(scope: &Scope<'_>, node: &NodeRef, budget: &Budget<'_>) -> Result<Owners, QueryError> {
    let mut owners = Owners::of_nodes(scope, std::slice::from_ref(node), budget)?;
    Ok(owners.pop().unwrap_or_default())
}

#[cfg(test)]
mod tests;
