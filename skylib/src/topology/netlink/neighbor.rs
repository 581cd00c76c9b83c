//! Neighbours and bridge forwarding entries: `RTM_NEWNEIGH` and `RTM_DELNEIGH`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::wire::{attributes, colon_hex, u16_at, u32_at};
use crate::value::{Map, Text, Value};

/// One entry of the neighbour or forwarding table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NeighborMessage {
    /// The link it is reached through.
    pub(crate) index: u32,
    pub(crate) table: TableKind,
    pub(crate) key: NeighborKey,
    pub(crate) entry: NeighborEntry,
}

/// Which table of a link an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// Forwarding entries of bridges and tunnels.
    Fdb,
    /// IPv4 and IPv6 neighbours.
    Neighbors,
}

/// What tells the entries of one table apart; also their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NeighborKey {
    ip: Option<IpAddr>,
    address: Text,
    vlan: u16,
    vni: u32,
    /// A bridge port has the same hardware address once as the device's own and once as the
    /// bridge's.
    is_own: bool,
}

/// What may change about an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NeighborEntry {
    address: Text,
    state: u16,
    flags: u8,
}

/// The entries of one table of one link, no more than [`MAX_ENTRIES`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NeighborTable(BTreeMap<NeighborKey, NeighborEntry>);

impl NeighborMessage {
    /// Reads the payload; `None` for other families.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let table = match i32::from(*payload.first()?) {
            libc::AF_BRIDGE => TableKind::Fdb,
            libc::AF_INET | libc::AF_INET6 => TableKind::Neighbors,
            _ => return None,
        };
        let index = u32_at(payload, 4)?;
        let state = u16_at(payload, 8)?;
        let flags = *payload.get(10)?;
        let (mut ip, mut address, mut vlan, mut vni) = (None, Text::default(), 0, 0);
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                libc::NDA_DST => ip = attribute.ip(),
                libc::NDA_LLADDR => address = colon_hex(attribute.bytes()),
                libc::NDA_VLAN => vlan = attribute.u16().unwrap_or(0),
                libc::NDA_VNI => vni = attribute.u32().unwrap_or(0),
                _ => {}
            }
        }
        let key = match table {
            // A neighbour's hardware address may change, a forwarding entry's is its name.
            TableKind::Neighbors => NeighborKey {
                ip,
                address: Text::default(),
                vlan,
                vni,
                is_own: false,
            },
            TableKind::Fdb => NeighborKey {
                ip,
                address: address.clone(),
                vlan,
                vni,
                is_own: flags & NTF_SELF != 0,
            },
        };
        Some(Self {
            index,
            table,
            key,
            entry: NeighborEntry {
                address,
                state,
                flags,
            },
        })
    }
}

impl NeighborTable {
    /// Adds or replaces an entry; `false` where the table is full and shows less than there is.
    pub(crate) fn insert(&mut self, message: &NeighborMessage) -> bool {
        if self.is_full() && !self.0.contains_key(&message.key) {
            return false;
        }
        self.0.insert(message.key.clone(), message.entry.clone());
        true
    }

    pub(crate) fn remove(&mut self, key: &NeighborKey) {
        self.0.remove(key);
    }

    /// Whether it may show less than there is.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_ENTRIES
    }

    /// The metadata value; `None` where the table is empty.
    pub(crate) fn to_value(&self, index: u32) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        Some(Value::list(
            self.0.iter().map(|(key, entry)| entry.to_map(key, index)),
        ))
    }
}

impl NeighborEntry {
    fn to_map(&self, key: &NeighborKey, index: u32) -> Map {
        let mut pairs: Vec<(&str, Value)> = vec![("IfIndex", index.into())];
        let mut names = |key, bits: u16, names: &[(u16, &str)]| {
            let set: Vec<&str> = names
                .iter()
                .filter(|(bit, _)| bits & bit != 0)
                .map(|(_, name)| *name)
                .collect();
            if !set.is_empty() {
                pairs.push((key, Value::list(set)));
            }
        };
        names("Flags", self.flags.into(), &FLAGS);
        names("State", self.state, &STATES);
        if !self.address.is_empty() {
            pairs.push(("MAC", self.address.clone().into()));
        }
        if let Some(ip) = key.ip {
            pairs.push(("IP", ip.to_string().into()));
        }
        if key.vlan != 0 {
            pairs.push(("Vlan", u32::from(key.vlan).into()));
        }
        if key.vni != 0 {
            pairs.push(("VNI", key.vni.into()));
        }
        pairs.into_iter().collect()
    }
}

/// TableState kept of one table of one link; a network that floods a bridge with addresses must not
/// fill our memory too.
pub(crate) const MAX_ENTRIES: usize = 10_000;

const NTF_SELF: u8 = 0x02;

/// `NTF_` bits of `linux/neighbour.h`.
const FLAGS: [(u16, &str); 8] = [
    (0x01, "NTF_USE"),
    (0x02, "NTF_SELF"),
    (0x04, "NTF_MASTER"),
    (0x08, "NTF_PROXY"),
    (0x10, "NTF_EXT_LEARNED"),
    (0x20, "NTF_OFFLOADED"),
    (0x40, "NTF_STICKY"),
    (0x80, "NTF_ROUTER"),
];

/// `NUD_` bits of `linux/neighbour.h`.
const STATES: [(u16, &str); 8] = [
    (0x01, "NUD_INCOMPLETE"),
    (0x02, "NUD_REACHABLE"),
    (0x04, "NUD_STALE"),
    (0x08, "NUD_DELAY"),
    (0x10, "NUD_PROBE"),
    (0x20, "NUD_FAILED"),
    (0x40, "NUD_NOARP"),
    (0x80, "NUD_PERMANENT"),
];

/// Bytes of `struct ndmsg`.
const HEADER: usize = 12;
