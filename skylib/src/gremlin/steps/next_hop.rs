//! `NextHop(address)`: the next hop of a node for a destination address, from its routing tables.

use std::net::IpAddr;

use crate::graph::{Metadata, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::value::{Map, Text, Value};

/// Returns the next hop of each node that has a route to an address, by node id.
pub(in crate::gremlin) fn of_nodes(
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
    for node in nodes {
        budget.tick()?;
        if let Some(hop) = next_hop(&node.metadata, wanted) {
            room.add(size_of::<Value>() + hop.heap_bytes())?;
            found.push((Text::from(node.id.to_string()), hop));
        }
    }
    Ok(found)
}

/// Returns the next hop of the longest matching prefix in the first routing table that has a match,
/// as an object with `IP`, `MAC`, `IfIndex`, and `Priority`.
pub(crate) fn next_hop(metadata: &Metadata, wanted: IpAddr) -> Option<Value> {
    let tables = metadata.get("RoutingTables")?.as_list()?;
    let hop = tables.iter().find_map(|table| {
        let routes = table
            .as_map()?
            .get("Routes")?
            .as_list()?
            .iter()
            .filter_map(Value::as_map);
        let covering = routes.filter_map(|route| Some((covers(route, wanted)?, route)));
        // `max_by_key` returns the last maximum; reversed, it is the first of equal prefixes.
        let (_, route) = covering.rev().max_by_key(|(length, _)| *length)?;
        let hops = route.get("NextHops")?.as_list()?;
        let hops = || hops.iter().filter_map(Value::as_map);
        hops()
            .find(|hop| gateway(hop).is_some())
            .or_else(|| hops().next())
    })?;
    let ip = match gateway(hop) {
        Some(gateway) => gateway.to_owned(),
        None => wanted.to_string(),
    };
    let mac = metadata
        .get("Neighbors")
        .and_then(Value::as_list)
        .and_then(|neighbors| {
            let mut neighbors = neighbors.iter().filter_map(Value::as_map);
            let text =
                |map: &Map, key: &str| map.get(key).and_then(Value::as_text).map(str::to_owned);
            let neighbor = neighbors.find(|n| text(n, "IP").as_ref() == Some(&ip))?;
            text(neighbor, "MAC").filter(|mac| !mac.is_empty())
        });
    let number = |key: &str| hop.get(key).and_then(Value::to_int).unwrap_or(0);
    let mut answer = Map::from_iter([
        ("Priority", number("Priority")),
        ("IfIndex", number("IfIndex")),
    ]);
    answer.set("IP", ip);
    if let Some(mac) = mac {
        answer.set("MAC", mac);
    }
    Some(Value::from(answer))
}

/// Returns the gateway of a hop, if it has one.
fn gateway(hop: &Map) -> Option<&str> {
    hop.get("IP")
        .and_then(Value::as_text)
        .filter(|ip| !ip.is_empty())
}

/// Returns the prefix length of a route that covers an address. A route without prefix covers all.
fn covers(route: &Map, wanted: IpAddr) -> Option<u32> {
    let prefix = route
        .get("Prefix")
        .and_then(Value::as_text)
        .unwrap_or_default();
    if prefix.is_empty() {
        return Some(0);
    }
    let (network, length) = prefix.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let same = |a: u128, b: u128, bits: u32| {
        bits >= length && (a ^ b).checked_shr(bits - length).unwrap_or(0) == 0
    };
    let is_inside = match (network.parse().ok()?, wanted) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    };
    is_inside.then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
