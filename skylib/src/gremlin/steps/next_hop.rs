//! `NextHop(address)`: the next hop of a node for a destination address.
//!
//! The routing rules and tables of the node's namespace determine the next hop, as in the kernel
//! ([`super::fib`]). If the rules of the namespace are unknown, as for nodes of Skydive's agents,
//! only the routing tables in the metadata of the node are used.

use std::net::IpAddr;
use std::ops::ControlFlow;

use hashbrown::HashMap;

use super::fib::{self, Hop};
use super::hierarchy;
use super::owners::with_relation;
use crate::graph::{Edge, Metadata, NodeRef};
use crate::gremlin::ast::Hierarchy;
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::value::{Map, Text, Value};

/// Returns the next hop of each node that has a route to an address, by node id.
pub(in crate::gremlin) fn of_nodes(
    scope: &Scope<'_>,
    nodes: &[NodeRef],
    address: &str,
    budget: &Budget<'_>,
) -> Result<Vec<(Text, Value)>, QueryError> {
    let Ok(wanted) = address.parse::<IpAddr>() else {
        return Err(QueryError::execute(
            "NextHop parameter have to be a valid IP address",
        ));
    };
    let mut room = budget.room();
    let mut found = Vec::new();
    let mut decisions = HashMap::new();
    for node in nodes {
        budget.tick()?;
        let hop = match owner_of(scope, node, budget)? {
            None => next_hop(&node.metadata, wanted),
            Some(owner) => {
                let decision = match decisions.get(&owner.index()) {
                    Some(decision) => decision,
                    None => {
                        let decision = Decision::of(scope, &owner, wanted, budget)?;
                        decisions.entry(owner.index()).insert(decision).into_mut()
                    }
                };
                decision.hop_of(node, wanted)
            }
        };
        if let Some(hop) = hop {
            room.add(size_of::<Value>() + hop.heap_bytes())?;
            found.push((Text::from(node.id.to_string()), hop));
        }
    }
    Ok(found)
}

/// Decision of the kernel about packets to an address in one namespace.
pub(super) struct Decision {
    /// Equivalent next hops; empty if the address cannot be reached.
    pub(super) hops: Vec<Hop>,
    /// Interfaces of the namespace.
    pub(super) links: Vec<NodeRef>,
}

impl Decision {
    pub(super) fn of(
        scope: &Scope<'_>,
        owner: &NodeRef,
        wanted: IpAddr,
        budget: &Budget<'_>,
    ) -> Result<Self, QueryError> {
        let links = links_of(scope, owner, budget)?;
        let tables = links.iter().map(|link| &link.metadata);
        let tables: Vec<&Metadata> = std::iter::once(&owner.metadata).chain(tables).collect();
        let hops = fib::decide(&owner.metadata, &tables, wanted, &mut || budget.tick())?;
        Ok(Self { hops, links })
    }

    /// Returns the hop of an interface, or the first hop of a host or a namespace.
    fn hop_of(&self, node: &NodeRef, wanted: IpAddr) -> Option<Value> {
        let leaves_by = |hop: &&Hop| has_rules(node) || index_of(node) == Some(hop.link);
        let hop = self.hops.iter().find(leaves_by)?;
        let is_link = |link: &&NodeRef| index_of(link) == Some(hop.link);
        let link = self.links.iter().find(is_link);
        let ip = hop.gateway.clone().unwrap_or_else(|| wanted.to_string());
        let mac = link.and_then(|link| mac_of(&link.metadata, &ip));
        Some(answer(ip, hop.link, hop.priority, mac))
    }
}

/// Returns the node whose routing rules apply to a node: the node itself, or the host or namespace
/// that owns it. Returns `None` if neither has routing rules.
pub(super) fn owner_of(
    scope: &Scope<'_>,
    node: &NodeRef,
    budget: &Budget<'_>,
) -> Result<Option<NodeRef>, QueryError> {
    if has_rules(node) {
        return Ok(Some(node.clone()));
    }
    if index_of(node).is_none() {
        return Ok(None);
    }
    let owners = related(scope, node, Hierarchy::Ascendants, budget)?;
    Ok(owners.into_iter().find(has_rules))
}

/// Returns the interfaces of a host or a namespace.
pub(super) fn links_of(
    scope: &Scope<'_>,
    owner: &NodeRef,
    budget: &Budget<'_>,
) -> Result<Vec<NodeRef>, QueryError> {
    let mut links = related(scope, owner, Hierarchy::Descendants, budget)?;
    links.retain(|link| !has_rules(link) && link.metadata.get("IfIndex").is_some());
    Ok(links)
}

/// Returns the nodes that own a node, or the nodes that it owns.
fn related(
    scope: &Scope<'_>,
    node: &NodeRef,
    hierarchy: Hierarchy,
    budget: &Budget<'_>,
) -> Result<Vec<NodeRef>, QueryError> {
    let filter = with_relation(Edge::OWNERSHIP);
    let from = [node.index()];
    let numbers = hierarchy::nodes_within(scope, &from, hierarchy, &filter, Some(1), budget)?;
    let mut room = budget.room();
    let (mut nodes, mut outcome) = (Vec::new(), Ok(()));
    scope.fetch_nodes(&numbers[1..], &mut |node| {
        outcome = room.add(size_of::<NodeRef>());
        nodes.push(node);
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    outcome.map(|()| nodes)
}

fn has_rules(node: &NodeRef) -> bool {
    node.metadata.get("RoutingRules").is_some()
}

pub(super) fn index_of(node: &NodeRef) -> Option<i64> {
    node.metadata.get("IfIndex")?.to_int()
}

/// Returns the hardware address of a neighbor of an interface.
pub(super) fn mac_of(interface: &Metadata, ip: &str) -> Option<String> {
    let neighbors = interface.get("Neighbors")?.as_list()?;
    let mut neighbors = neighbors.iter().filter_map(Value::as_map);
    let text = |map: &Map, key: &str| map.get(key).and_then(Value::as_text).map(str::to_owned);
    let neighbor = neighbors.find(|neighbor| text(neighbor, "IP").as_deref() == Some(ip))?;
    text(neighbor, "MAC").filter(|mac| !mac.is_empty())
}

fn answer(ip: String, link: i64, priority: i64, mac: Option<String>) -> Value {
    let mut answer = Map::from_iter([("Priority", priority), ("IfIndex", link)]);
    answer.set("IP", ip);
    if let Some(mac) = mac {
        answer.set("MAC", mac);
    }
    Value::from(answer)
}

/// Returns the next hop from the routing tables of one node alone: that of the longest matching
/// prefix in the first table that has a match, as an object with `IP`, `MAC`, `IfIndex`, and
/// `Priority`.
pub(crate) fn next_hop(metadata: &Metadata, wanted: IpAddr) -> Option<Value> {
    let tables = metadata.get("RoutingTables")?.as_list()?;
    let hop = tables.iter().find_map(|table| {
        let routes = table
            .as_map()?
            .get("Routes")?
            .as_list()?
            .iter()
            .filter_map(Value::as_map);
        let covering = routes.filter_map(|route| Some((fib::covers(route, wanted)?, route)));
        // `max_by_key` returns the last maximum, so the routes are reversed to find the first of
        // equal prefixes.
        let (_, route) = covering.rev().max_by_key(|(length, _)| *length)?;
        let hops = route.get("NextHops")?.as_list()?;
        let hops = || hops.iter().filter_map(Value::as_map);
        hops()
            .find(|hop| fib::gateway(hop).is_some())
            .or_else(|| hops().next())
    })?;
    let ip = fib::gateway(hop).map_or_else(|| wanted.to_string(), str::to_owned);
    let number = |key: &str| hop.get(key).and_then(Value::to_int).unwrap_or(0);
    let mac = mac_of(metadata, &ip);
    Some(answer(ip, number("IfIndex"), number("Priority"), mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowSet;
    use crate::graph::{Edge, Graph, GraphView, Node};
    use crate::gremlin::{Context, Query};
    use crate::time::Timestamp;

    fn hop(metadata: &str, address: &str) -> Option<String> {
        let metadata: Metadata = serde_json::from_str(metadata).unwrap();
        let hop = next_hop(&metadata, address.parse().unwrap())?;
        Some(serde_json::to_string(&hop).unwrap())
    }

    #[test]
    fn the_most_specific_route_wins() {
        let metadata = r#"{"RoutingTables":[{"ID":254,"Routes":[
            {"Prefix":"0.0.0.0/0","NextHops":[{"IP":"10.0.0.1","IfIndex":2,"Priority":5}]},
            {"Prefix":"10.0.0.0/8","NextHops":[{"IP":"10.0.0.2","IfIndex":3}]},
            {"Prefix":"10.1.0.0/16","NextHops":[{"IfIndex":4}]},
            {"Prefix":"2001:db8::/32","NextHops":[{"IP":"fe80::1","IfIndex":5}]}]}],
            "Neighbors":[{"IP":"10.1.2.3","MAC":"02:00:00:00:00:01"}]}"#;
        let found = |address| hop(metadata, address).unwrap();
        assert_eq!(
            found("8.8.8.8"),
            r#"{"IP":"10.0.0.1","IfIndex":2,"Priority":5}"#
        );
        assert_eq!(
            found("10.2.0.1"),
            r#"{"IP":"10.0.0.2","IfIndex":3,"Priority":0}"#
        );
        assert_eq!(
            found("10.1.2.3"),
            r#"{"IP":"10.1.2.3","IfIndex":4,"MAC":"02:00:00:00:00:01","Priority":0}"#
        );
        assert_eq!(
            found("2001:db8::9"),
            r#"{"IP":"fe80::1","IfIndex":5,"Priority":0}"#
        );
        assert_eq!(hop(metadata, "2001:db9::9"), None);
        assert_eq!(hop("{}", "8.8.8.8"), None);
    }

    /// Returns a host with two interfaces, and a namespace with one interface of the same index.
    fn lab() -> Graph {
        let mut graph = Graph::new();
        let mut add = |owner: &str, id: &str, metadata: &str| {
            let metadata: Metadata = serde_json::from_str(metadata).unwrap();
            graph
                .add_node(Node::new(id, metadata, Timestamp::ZERO))
                .unwrap();
            let ownership = Metadata::from_iter([("RelationType", "ownership")]);
            // The host has no owner.
            let _owned = graph.add_edge(Edge::between(owner, id, ownership, Timestamp::ZERO));
        };
        let rules =
            r#""RoutingRules":[{"Family":"IPV4","Priority":5,"Action":"lookup","Table":254}]"#;
        let refused = r#"{"Prefix":"10.66.0.0/16","Type":"blackhole","Priority":0,"NextHops":[]}"#;
        add(
            "",
            "host",
            &format!(r#"{{{rules},"RoutingTables":[{{"ID":254,"Routes":[{refused}]}}]}}"#),
        );
        add("host", "ns", &format!("{{{rules}}}"));
        let equal = r#"{"Prefix":"0.0.0.0/0","NextHops":[
            {"IP":"192.0.2.1","IfIndex":2},{"IP":"198.51.100.1","IfIndex":3}]}"#;
        for (owner, id, index) in [("host", "eth0", 2), ("host", "eth1", 3)] {
            let tables = format!(r#"[{{"ID":254,"Routes":[{equal}]}}]"#);
            let neighbors = r#"[{"IP":"198.51.100.1","MAC":"02:00:00:00:00:01"}]"#;
            add(
                owner,
                id,
                &format!(
                    r#"{{"IfIndex":{index},"RoutingTables":{tables},"Neighbors":{neighbors}}}"#
                ),
            );
        }
        let inside = r#"{"IfIndex":2,"RoutingTables":[{"ID":254,"Routes":[
            {"Prefix":"192.0.2.0/24","NextHops":[{"IfIndex":2}]}]}]}"#;
        add("ns", "inside", inside);
        graph
    }

    #[test]
    fn all_interfaces_of_the_namespace_decide() {
        let graph = lab();
        let view = GraphView::open(&graph);
        let flows = FlowSet::default();
        let context = Context::new(&view, &flows, Timestamp::ZERO);
        let answer = |node: &str, address: &str| {
            let query = format!("G.V('{node}').NextHop('{address}')");
            let answer = Query::parse(&query).unwrap().run(&context).unwrap();
            serde_json::to_string(&answer).unwrap()
        };
        assert_eq!(
            answer("host", "8.8.8.8"),
            r#"[{"host":{"IP":"192.0.2.1","IfIndex":2,"Priority":0}}]"#
        );
        assert_eq!(
            answer("eth1", "8.8.8.8"),
            r#"[{"eth1":{"IP":"198.51.100.1","IfIndex":3,"MAC":"02:00:00:00:00:01","Priority":0}}]"#
        );
        let inside = r#"{"IP":"192.0.2.7","IfIndex":2,"Priority":0}"#;
        for node in ["ns", "inside"] {
            assert_eq!(
                answer(node, "192.0.2.7"),
                format!(r#"[{{"{node}":{inside}}}]"#)
            );
        }
        for (node, address) in [
            ("host", "10.66.1.1"),
            ("eth0", "10.66.1.1"),
            ("ns", "8.8.8.8"),
            ("inside", "8.8.8.8"),
        ] {
            assert_eq!(answer(node, address), answer("ns", "9.9.9.9"), "{node}");
        }
    }
}
