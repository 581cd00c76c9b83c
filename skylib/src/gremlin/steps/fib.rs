//! Forwarding decision of the Linux kernel, from routing rules and tables in metadata.
//!
//! The decision is that for a packet that the host itself sends without a mark, a source address,
//! or a chosen output interface. Rules are applied in the order of their priority. In a table, the
//! route with the longest prefix is chosen; of several, the route with the smallest priority. A
//! decision visits every route of the tables to which the rules refer: at most `O(rules · routes)`,
//! usually in three tables.

use std::net::IpAddr;

use crate::graph::Metadata;
use crate::value::{Map, Value};

/// Next hop of the chosen route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// Address of the gateway; `None` if the destination itself is the next hop.
    pub(super) gateway: Option<String>,
    /// Index of the outgoing interface.
    pub(super) link: i64,
    pub(super) priority: i64,
}

/// Returns the equivalent next hops for an address; empty if the kernel rejects it or has no route.
///
/// `owner` has the rules, `tables` the routing tables of the namespace. `tick` is called for each
/// route.
///
/// # Errors
/// Returns the error of `tick`.
pub(super) fn decide<E>(
    owner: &Metadata,
    tables: &[&Metadata],
    wanted: IpAddr,
    tick: &mut impl FnMut() -> Result<(), E>,
) -> Result<Vec<Hop>, E> {
    let rules = rules(owner, wanted);
    let mut next = 0;
    while let Some(rule) = rules.get(next) {
        next += 1;
        if !selects(rule, wanted) {
            continue;
        }
        match text(rule, "Action") {
            "lookup" => {
                let table = number(rule, "Table");
                let Some(found) = look_up(tables, table, wanted, tick)? else {
                    continue;
                };
                let suppressed = rule.get("SuppressPrefixLength").and_then(Value::to_int);
                let is_suppressed = suppressed.is_some_and(|length| found.length <= length);
                match text(found.route, "Type") {
                    "throw" => {}
                    _ if is_suppressed => {}
                    _ => return Ok(found.hops(wanted)),
                }
            }
            "goto" => {
                // The kernel rejects rules that jump backward, and skips those without a target.
                let target = number(rule, "Goto");
                let is_target = |rule: &&Map| number(rule, "Priority") == target;
                next += rules[next..].iter().position(is_target).unwrap_or(0);
            }
            "nop" => {}
            // Blackhole, unreachable, prohibit, or an unknown action.
            _ => return Ok(Vec::new()),
        }
    }
    Ok(Vec::new())
}

/// Returns the rules for the family of an address, in the order of their priority.
fn rules(owner: &Metadata, wanted: IpAddr) -> Vec<&Map> {
    let family = match wanted {
        IpAddr::V4(_) => "IPV4",
        IpAddr::V6(_) => "IPV6",
    };
    let rules = owner.get("RoutingRules").and_then(Value::as_list);
    let rules = rules.unwrap_or_default().iter().filter_map(Value::as_map);
    let mut rules: Vec<&Map> = rules
        .filter(|rule| text(rule, "Family") == family)
        .collect();
    rules.sort_by_key(|rule| number(rule, "Priority"));
    rules
}

/// Returns whether a rule selects a packet to an address.
fn selects(rule: &Map, wanted: IpAddr) -> bool {
    let to = text(rule, "To");
    let meets =
        rule.get("Conditions").is_none() && (to.is_empty() || contains(to, wanted).is_some());
    let is_inverted = rule.get("Not") == Some(&Value::Bool(true));
    meets != is_inverted
}

/// Route that covers the wanted address.
struct Found<'m> {
    route: &'m Map,
    /// Length of the route's prefix.
    length: i64,
    /// Smallest priority of the route's next hops; the priority of the route itself without next
    /// hops.
    priority: i64,
}

impl Found<'_> {
    fn hops(&self, wanted: IpAddr) -> Vec<Hop> {
        match text(self.route, "Type") {
            "blackhole" | "unreachable" | "prohibit" => return Vec::new(),
            "local" | "anycast" => {
                return vec![Hop {
                    gateway: None,
                    link: LOOPBACK,
                    priority: self.priority,
                }];
            }
            _ => {}
        }
        let hops = next_hops(self.route);
        let best = hops.filter(|hop| number(hop, "Priority") == self.priority);
        // The kernel sends multicast and broadcast packets to the link, not to a gateway.
        let is_to_all = match wanted {
            IpAddr::V4(address) => {
                address.is_broadcast() || address.is_multicast() && self.length < 4
            }
            IpAddr::V6(_) => false,
        };
        best.map(|hop| Hop {
            gateway: gateway(hop).filter(|_| !is_to_all).map(str::to_owned),
            link: number(hop, "IfIndex"),
            priority: self.priority,
        })
        .collect()
    }
}

/// Returns the best route of a table, parts of which may be in several nodes.
fn look_up<'m, E>(
    tables: &[&'m Metadata],
    table: i64,
    wanted: IpAddr,
    tick: &mut impl FnMut() -> Result<(), E>,
) -> Result<Option<Found<'m>>, E> {
    let mut best: Option<Found<'m>> = None;
    let lists = tables
        .iter()
        .filter_map(|tables| tables.get("RoutingTables")?.as_list());
    let parts = lists.flatten().filter_map(Value::as_map);
    for part in parts.filter(|part| number(part, "ID") == table) {
        let routes = part.get("Routes").and_then(Value::as_list);
        for route in routes.unwrap_or_default().iter().filter_map(Value::as_map) {
            tick()?;
            let is_limited = ["TOS", "SourcePrefixLength"]
                .iter()
                .any(|key| route.get(key).is_some());
            let Some(length) = covers(route, wanted).filter(|_| !is_limited) else {
                continue;
            };
            let hops = next_hops(route).map(|hop| number(hop, "Priority"));
            let Some(priority) = hops.min().or_else(|| route.get("Priority")?.to_int()) else {
                continue;
            };
            let found = Found {
                route,
                length: length.into(),
                priority,
            };
            let is_better =
                |best: &Found<'_>| (found.length, -found.priority) > (best.length, -best.priority);
            if best.as_ref().is_none_or(is_better) {
                best = Some(found);
            }
        }
    }
    Ok(best)
}

fn next_hops(route: &Map) -> impl Iterator<Item = &Map> {
    let hops = route.get("NextHops").and_then(Value::as_list);
    hops.unwrap_or_default().iter().filter_map(Value::as_map)
}

/// Returns the gateway of a hop, if it has one.
pub(super) fn gateway(hop: &Map) -> Option<&str> {
    Some(text(hop, "IP")).filter(|ip| !ip.is_empty())
}

/// Returns the prefix length of a route that covers an address. A route without a prefix covers all
/// addresses.
pub(super) fn covers(route: &Map, wanted: IpAddr) -> Option<u32> {
    match text(route, "Prefix") {
        "" => Some(0),
        prefix => contains(prefix, wanted),
    }
}

/// Returns the length of a prefix that contains an address.
fn contains(prefix: &str, wanted: IpAddr) -> Option<u32> {
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

fn text<'m>(map: &'m Map, key: &str) -> &'m str {
    map.get(key).and_then(Value::as_text).unwrap_or_default()
}

fn number(map: &Map, key: &str) -> i64 {
    map.get(key).and_then(Value::to_int).unwrap_or(0)
}

/// Index of the loopback interface in every namespace.
const LOOPBACK: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn decide_with(rules: &str, routes: &str, address: &str) -> Vec<(Option<String>, i64)> {
        let owner: Metadata =
            serde_json::from_str(&format!(r#"{{"RoutingRules":{rules}}}"#)).unwrap();
        let tables: Metadata =
            serde_json::from_str(&format!(r#"{{"RoutingTables":{routes}}}"#)).unwrap();
        let decided = decide(
            &owner,
            &[&owner, &tables],
            address.parse().unwrap(),
            &mut || Ok::<(), ()>(()),
        );
        let hops = decided.unwrap();
        hops.into_iter()
            .map(|hop| (hop.gateway, hop.link))
            .collect()
    }

    fn hop(gateway: &str, link: i64) -> (Option<String>, i64) {
        (Some(gateway.to_owned()).filter(|ip| !ip.is_empty()), link)
    }

    const DEFAULT_RULES: &str = r#"[
        {"Family":"IPV4","Priority":32766,"Action":"lookup","Table":254},
        {"Family":"IPV4","Priority":0,"Action":"lookup","Table":255},
        {"Family":"IPV6","Priority":0,"Action":"lookup","Table":255}]"#;

    const ROUTES: &str = r#"[
        {"ID":255,"Routes":[
            {"Prefix":"192.0.2.2/32","Type":"local","NextHops":[{"IfIndex":3,"Priority":0}]},
            {"Prefix":"192.0.2.255/32","Type":"broadcast","NextHops":[{"IfIndex":3,"Priority":0}]}]},
        {"ID":254,"Routes":[
            {"Prefix":"0.0.0.0/0","NextHops":[
                {"IP":"192.0.2.9","IfIndex":3,"Priority":200},
                {"IP":"192.0.2.1","IfIndex":3,"Priority":100},
                {"IP":"192.0.2.8","IfIndex":4,"Priority":100}]},
            {"Prefix":"192.0.2.0/24","NextHops":[{"IfIndex":3,"Priority":0}]},
            {"Prefix":"10.66.0.0/16","Type":"blackhole","Priority":0,"NextHops":[]},
            {"Prefix":"10.67.0.0/16","TOS":8,"NextHops":[{"IfIndex":9}]}]},
        {"ID":100,"Routes":[
            {"Prefix":"10.50.0.0/16","NextHops":[{"IP":"192.0.2.5","IfIndex":5}]},
            {"Prefix":"10.50.1.0/24","Type":"throw","Priority":0,"NextHops":[]},
            {"Prefix":"0.0.0.0/0","NextHops":[{"IP":"192.0.2.6","IfIndex":6}]}]}]"#;

    #[test]
    fn the_longest_prefix_and_the_smallest_priority_count() {
        let decided = |address| decide_with(DEFAULT_RULES, ROUTES, address);
        let equal = vec![hop("192.0.2.1", 3), hop("192.0.2.8", 4)];
        assert_eq!(decided("8.8.8.8"), equal);
        assert_eq!(decided("10.67.1.1"), equal, "not with this type of service");
        assert_eq!(decided("192.0.2.77"), [hop("", 3)]);
        assert_eq!(decided("192.0.2.2"), [hop("", 1)], "this host");
        assert_eq!(decided("192.0.2.255"), [hop("", 3)]);
        assert_eq!(decided("224.0.0.1"), [hop("", 3), hop("", 4)]);
        assert_eq!(decided("10.66.1.1"), [], "refused");
        assert_eq!(decided("2001:db8::1"), [], "no route");
    }

    #[test]
    fn rules_select_by_their_priority_destination_and_conditions() {
        let decided = |rule: &str, address: &str| {
            let rules = DEFAULT_RULES.replacen('[', &format!("[{rule},"), 1);
            decide_with(&rules, ROUTES, address)
        };
        let main = vec![hop("192.0.2.1", 3), hop("192.0.2.8", 4)];
        let lookup = r#"{"Family":"IPV4","Priority":7,"Action":"lookup","Table":100"#;
        let with = |more: &str| format!("{lookup}{more}}}");
        assert_eq!(decided(&with(""), "10.50.2.1"), [hop("192.0.2.5", 5)]);
        assert_eq!(decided(&with(""), "10.50.1.1"), main, "throw");
        assert_eq!(decided(&with(r#","To":"10.0.0.0/8""#), "8.8.8.8"), main);
        assert_eq!(
            decided(&with(r#","To":"8.0.0.0/8""#), "8.8.8.8"),
            [hop("192.0.2.6", 6)]
        );
        let marked = r#","Conditions":["fwmark 0x1/0xffffffff"]"#;
        assert_eq!(decided(&with(marked), "10.50.2.1"), main);
        let inverted = format!(r#"{marked},"Not":true"#);
        assert_eq!(
            decided(&with(&inverted), "10.50.2.1"),
            [hop("192.0.2.5", 5)]
        );
        let suppressed = r#","SuppressPrefixLength":0"#;
        assert_eq!(decided(&with(suppressed), "8.8.8.8"), main);
        assert_eq!(
            decided(&with(suppressed), "10.50.2.1"),
            [hop("192.0.2.5", 5)]
        );
        for action in ["blackhole", "unreachable", "prohibit"] {
            let rule =
                format!(r#"{{"Family":"IPV4","Priority":7,"Action":"{action}","To":"8.0.0.0/8"}}"#);
            assert_eq!(decided(&rule, "8.8.8.8"), [], "{action}");
            assert_eq!(decided(&rule, "9.9.9.9"), main);
        }
        let skip = r#"{"Family":"IPV4","Priority":3,"Action":"goto","Goto":32766},
            {"Family":"IPV4","Priority":5,"Action":"unreachable"}"#;
        assert_eq!(decided(skip, "8.8.8.8"), main);
        let nowhere = r#"{"Family":"IPV4","Priority":3,"Action":"goto","Goto":99}"#;
        assert_eq!(decided(nowhere, "8.8.8.8"), main, "no such rule");
    }
}
