//! Routes: parsing of `RTM_NEWROUTE`, and the routing tables of a link or a namespace as metadata.
//!
//! A route is added to each of its outgoing links. Routes without a link, such as blackholes, are
//! added to the node of the namespace.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire::{attributes, u16_at, u32_at};
use crate::value::{Map, Value};

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Number of the routing table.
    pub(crate) table: u32,
    /// Properties that distinguish the route from others of its table.
    pub(crate) key: RouteKey,
    /// Preferred source address.
    pub(crate) source: Option<IpAddr>,
    /// Next hops, except those that the kernel considers dead.
    pub(crate) hops: Vec<NextHop>,
}

/// Properties that distinguish a route from others of its table. Routes that have next hops and
/// differ only in their priority are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteKey {
    /// `RTPROT_` number: the origin of the route.
    pub(crate) protocol: u8,
    /// `RTN_` number: the action of the kernel on the packet.
    pub(crate) kind: u8,
    pub(crate) destination: IpAddr,
    pub(crate) prefix: u8,
    /// Type of service that the route is limited to; 0 for any.
    pub(crate) tos: u8,
    /// Length of the source prefix that the route is limited to; 0 for any.
    pub(crate) source_prefix: u8,
    /// Priority of a route without next hops.
    pub(crate) priority: Option<u32>,
}

/// A next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextHop {
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) priority: u32,
    /// Index of the outgoing link.
    pub(crate) index: u32,
}

impl Route {
    /// Parses the payload of a message; returns `None` for other families and for cloned routes.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let unspecified = match i32::from(*payload.first()?) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        if u32_at(payload, 8)? & libc::RTM_F_CLONED != 0 {
            return None;
        }
        let flags = u32_at(payload, 8)?;
        let mut route = Self {
            table: u32::from(*payload.get(4)?),
            key: RouteKey {
                protocol: *payload.get(5)?,
                kind: *payload.get(7)?,
                destination: unspecified,
                prefix: *payload.get(1)?,
                tos: *payload.get(3)?,
                source_prefix: *payload.get(2)?,
                priority: None,
            },
            source: None,
            hops: Vec::new(),
        };
        let (mut gateway, mut priority, mut link) = (None, 0, None);
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                libc::RTA_DST => route.key.destination = attribute.ip().unwrap_or(unspecified),
                libc::RTA_TABLE => route.table = attribute.u32().unwrap_or(route.table),
                libc::RTA_PREFSRC => route.source = attribute.ip(),
                libc::RTA_PRIORITY => priority = attribute.u32().unwrap_or(0),
                libc::RTA_OIF => link = attribute.u32(),
                libc::RTA_GATEWAY => gateway = attribute.ip(),
                libc::RTA_VIA => gateway = via(attribute.bytes()),
                libc::RTA_MULTIPATH => route.read_hops(attribute.bytes()),
                _ => {}
            }
        }
        for hop in &mut route.hops {
            hop.priority = priority;
        }
        if let Some(index) = link.filter(|_| flags & RTNH_F_DEAD == 0) {
            route.hops.insert(
                0,
                NextHop {
                    gateway,
                    priority,
                    index,
                },
            );
        }
        route.key.priority = route.hops.is_empty().then_some(priority);
        Some(route)
    }

    /// Parses the `struct rtnexthop` list of a multipath route.
    fn read_hops(&mut self, mut bytes: &[u8]) {
        while let (Some(length), Some(index)) = (u16_at(bytes, 0), u32_at(bytes, 4)) {
            let length = usize::from(length);
            let Some(hop) = bytes.get(..length).filter(|hop| hop.len() >= HOP_HEADER) else {
                return;
            };
            let is_dead = hop
                .get(2)
                .is_some_and(|flags| u32::from(*flags) & RTNH_F_DEAD != 0);
            let mut gateway = None;
            for attribute in attributes(hop, HOP_HEADER) {
                match attribute.kind() {
                    libc::RTA_GATEWAY => gateway = attribute.ip(),
                    libc::RTA_VIA => gateway = via(attribute.bytes()),
                    _ => {}
                }
            }
            if !is_dead {
                self.hops.push(NextHop {
                    gateway,
                    priority: 0,
                    index,
                });
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Parses `struct rtvia`: a gateway whose address family differs from that of the route.
fn via(bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(u16_at(bytes, 0)?) {
        libc::AF_INET => Some(Ipv4Addr::from(*bytes.get(2..)?.first_chunk::<4>()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(*bytes.get(2..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// Routes of a namespace, by their outgoing links.
#[derive(Default)]
pub(crate) struct RoutesByLink {
    links: HashMap<u32, Tables>,
    /// Routes without a link that reject packets or end the search in their table.
    without_link: Tables,
    /// Number of routes.
    pub(crate) count: usize,
    /// Number of routes that were omitted because their link already has [`MAX_ROUTES`].
    pub(crate) omitted: usize,
}

impl RoutesByLink {
    /// Adds a route to each of its outgoing links.
    pub(crate) fn add(&mut self, route: &Route) {
        self.count += 1;
        if route.hops.is_empty() && route.key.kind != libc::RTN_UNICAST {
            self.omitted += usize::from(!self.without_link.add(route));
        }
        for (i, hop) in route.hops.iter().enumerate() {
            if route.hops[..i]
                .iter()
                .any(|earlier| earlier.index == hop.index)
            {
                continue;
            }
            if !self.links.entry(hop.index).or_default().add(route) {
                self.omitted += 1;
            }
        }
    }

    /// Returns the routing tables of each link as metadata.
    pub(crate) fn values(&self) -> HashMap<u32, Value> {
        let links = self.links.iter();
        links
            .map(|(index, tables)| (*index, tables.to_value()))
            .collect()
    }

    /// Returns the routing tables of the routes without a link as metadata; `None` if there are no
    /// such routes.
    pub(crate) fn value_without_link(&self) -> Option<Value> {
        (self.without_link.count > 0).then(|| self.without_link.to_value())
    }
}

/// Routes of one outgoing link, by the number of their routing table.
#[derive(Default)]
struct Tables {
    tables: BTreeMap<u32, RoutingTable>,
    count: usize,
}

#[derive(Default)]
struct RoutingTable {
    source: Option<IpAddr>,
    routes: Vec<(RouteKey, Vec<NextHop>)>,
    /// Indexes into `routes`.
    positions: HashMap<RouteKey, usize>,
}

impl Tables {
    /// Adds a route; returns `false` if the link already has [`MAX_ROUTES`].
    fn add(&mut self, route: &Route) -> bool {
        if self.count >= MAX_ROUTES {
            return false;
        }
        self.count += 1;
        let is_new = !self.tables.contains_key(&route.table);
        let table = self.tables.entry(route.table).or_default();
        if is_new {
            table.source = route.source;
        }
        let position = *table.positions.entry(route.key).or_insert_with(|| {
            table.routes.push((route.key, Vec::new()));
            table.routes.len() - 1
        });
        let hops = &mut table.routes[position].1;
        for hop in &route.hops {
            if !hops
                .iter()
                .any(|h| h.gateway == hop.gateway && h.index == hop.index)
            {
                hops.push(*hop);
            }
        }
        true
    }

    fn to_value(&self) -> Value {
        let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
        let tables = self.tables.iter().map(|(id, table)| {
            let routes = table.routes.iter().map(|(key, hops)| key.to_map(hops));
            Map::from_iter([
                ("ID", Value::from(*id)),
                ("Src", text(table.source).into()),
                ("Routes", Value::list(routes)),
            ])
        });
        Value::list(tables)
    }
}

impl RouteKey {
    fn to_map(self, hops: &[NextHop]) -> Map {
        let hops = hops.iter().map(|hop| hop.to_map());
        let mut map = Map::from_iter([
            ("Protocol", Value::from(u32::from(self.protocol))),
            (
                "Prefix",
                format!("{}/{}", self.destination, self.prefix).into(),
            ),
            ("NextHops", Value::list(hops)),
        ]);
        if self.kind != libc::RTN_UNICAST {
            map.set("Type", type_name(self.kind));
        }
        if self.tos != 0 {
            map.set("TOS", u32::from(self.tos));
        }
        if self.source_prefix != 0 {
            map.set("SourcePrefixLength", u32::from(self.source_prefix));
        }
        if let Some(priority) = self.priority {
            map.set("Priority", priority);
        }
        map
    }
}

/// Returns the name of an `RTN_` number, as `ip route` prints it.
fn type_name(kind: u8) -> String {
    let name = match kind {
        libc::RTN_LOCAL => "local",
        libc::RTN_BROADCAST => "broadcast",
        libc::RTN_ANYCAST => "anycast",
        libc::RTN_MULTICAST => "multicast",
        libc::RTN_BLACKHOLE => "blackhole",
        libc::RTN_UNREACHABLE => "unreachable",
        libc::RTN_PROHIBIT => "prohibit",
        libc::RTN_THROW => "throw",
        libc::RTN_NAT => "nat",
        other => return other.to_string(),
    };
    name.to_owned()
}

impl NextHop {
    fn to_map(self) -> Map {
        let mut map = Map::from_iter([("Priority", self.priority), ("IfIndex", self.index)]);
        if let Some(gateway) = self.gateway {
            map.set("IP", gateway.to_string());
        }
        map
    }
}

/// Maximum number of routes per link: a full Internet table would be useless as metadata.
pub(crate) const MAX_ROUTES: usize = 10_000;

/// `RTNH_F_DEAD` of `linux/rtnetlink.h`: the kernel does not use the next hop.
const RTNH_F_DEAD: u32 = 1;

/// Length of `struct rtmsg`, in bytes.
const HEADER: usize = 12;

/// Length of `struct rtnexthop`, in bytes.
const HOP_HEADER: usize = 8;
