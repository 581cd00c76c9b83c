//! Neighbors and bridge forwarding entries: `RTM_NEWNEIGH` and `RTM_DELNEIGH`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::wire::{attributes, colon_hex, u16_at, u32_at};
use crate::value::{Map, Text, Value};

/// An entry of a neighbor or forwarding table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NeighborMessage {
    /// Index of the link of the table.
    pub(crate) index: u32,
    pub(crate) table: TableKind,
    /// Index of the bridge that has the entry; `None` for other entries and on kernels before 3.9.
    pub(crate) bridge: Option<u32>,
    pub(crate) key: NeighborKey,
    pub(crate) entry: NeighborEntry,
}

/// Table of a link that an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// Forwarding entries of bridges and tunnels.
    Fdb,
    /// IPv4 and IPv6 neighbors.
    Neighbors,
}

/// Key of an entry in its table; also defines the order.
///
/// A neighbor has one hardware address, and a tunnel sends the frames for a unicast hardware address
/// to one remote end. Frames for group addresses and for unknown addresses (zero) are sent to
/// several remote ends, which are part of the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NeighborKey {
    /// Neighbor, or remote end of a tunnel for a group address.
    ip: Option<IpAddr>,
    address: Text,
    vlan: u16,
    /// Network to which a tunnel sends frames for a group address.
    vni: u32,
    /// Network whose frames the entry applies to.
    source_vni: u32,
    /// Whether the entry belongs to the device itself (`NTF_SELF`) and not to its bridge; both can
    /// have an entry with the same hardware address.
    is_own: bool,
}

/// Properties of an entry that can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NeighborEntry {
    ip: Option<IpAddr>,
    address: Text,
    vni: u32,
    state: u16,
    flags: u8,
}

/// Entries of a table of one link; at most [`MAX_ENTRIES`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NeighborTable(BTreeMap<NeighborKey, NeighborEntry>);

impl NeighborMessage {
    /// Parses the payload of a message; returns `None` for other address families.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let table = match i32::from(*payload.first()?) {
            libc::AF_BRIDGE => TableKind::Fdb,
            libc::AF_INET | libc::AF_INET6 => TableKind::Neighbors,
            _ => return None,
        };
        let index = u32_at(payload, 4)?;
        let state = u16_at(payload, 8)?;
        let flags = *payload.get(10)?;
        let (mut ip, mut address, mut bridge) = (None, Text::default(), None);
        let (mut vlan, mut vni, mut source_vni) = (0, 0, 0);
        let mut is_unicast = false;
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                libc::NDA_DST => ip = attribute.ip(),
                libc::NDA_LLADDR => {
                    address = colon_hex(attribute.bytes());
                    is_unicast = is_unicast_address(attribute.bytes());
                }
                libc::NDA_VLAN => vlan = attribute.u16().unwrap_or(0),
                libc::NDA_VNI => vni = attribute.u32().unwrap_or(0),
                NDA_MASTER => bridge = attribute.u32(),
                NDA_SRC_VNI => source_vni = attribute.u32().unwrap_or(0),
                _ => {}
            }
        }
        let is_own = table == TableKind::Fdb && flags & NTF_SELF != 0;
        let has_one_remote = table == TableKind::Fdb && is_unicast;
        let key = NeighborKey {
            ip: ip.filter(|_| !has_one_remote),
            // The hardware address of a neighbor can change; that of a forwarding entry identifies it.
            address: match table {
                TableKind::Neighbors => Text::default(),
                TableKind::Fdb => address.clone(),
            },
            vlan,
            vni: if has_one_remote { 0 } else { vni },
            source_vni,
            is_own,
        };
        Some(Self {
            index,
            table,
            bridge,
            key,
            entry: NeighborEntry {
                ip,
                address,
                vni,
                state,
                flags,
            },
        })
    }

    /// Returns whether the entry is a neighbor without address resolution, such as a multicast
    /// group. The kernel sends a message when it is deleted, but none when it is added.
    pub(crate) fn is_added_silently(&self) -> bool {
        self.table == TableKind::Neighbors && self.entry.state & NUD_NOARP != 0
    }

    /// Returns whether the entry belongs to a bridge, which has one entry for each hardware address
    /// and VLAN.
    pub(crate) fn is_of_bridge(&self) -> bool {
        self.table == TableKind::Fdb && !self.key.is_own
    }
}

/// Returns whether a hardware address is that of one station: neither a group address nor zero.
fn is_unicast_address(address: &[u8]) -> bool {
    const GROUP: u8 = 0x01;
    address.first().is_some_and(|first| first & GROUP == 0) && address.iter().any(|byte| *byte != 0)
}

impl NeighborTable {
    /// Adds or replaces an entry, unless the table is full; returns whether the table has changed.
    pub(crate) fn insert(&mut self, message: &NeighborMessage) -> bool {
        if self.is_full() && !self.0.contains_key(&message.key) {
            return false;
        }
        let former = self.0.insert(message.key.clone(), message.entry.clone());
        former.as_ref() != Some(&message.entry)
    }

    /// Removes an entry; returns whether the table had it.
    pub(crate) fn remove(&mut self, key: &NeighborKey) -> bool {
        self.0.remove(key).is_some()
    }

    /// Returns whether the table is full, so that it may lack entries.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_ENTRIES
    }

    /// Returns the metadata value; `None` if the table is empty.
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
        if let Some(ip) = self.ip {
            pairs.push(("IP", ip.to_string().into()));
        }
        if key.vlan != 0 {
            pairs.push(("Vlan", u32::from(key.vlan).into()));
        }
        if self.vni != 0 {
            pairs.push(("VNI", self.vni.into()));
        }
        pairs.into_iter().collect()
    }
}

/// Maximum number of entries per table of a link, which limits the memory for a bridge that is
/// flooded with addresses.
pub(crate) const MAX_ENTRIES: usize = 10_000;

/// `NDA_MASTER` of `linux/neighbour.h`.
const NDA_MASTER: u16 = 9;

/// `NDA_SRC_VNI` of `linux/neighbour.h`.
const NDA_SRC_VNI: u16 = 11;

/// `NTF_SELF` of `linux/neighbour.h`.
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

/// `NUD_NOARP` of `linux/neighbour.h`.
const NUD_NOARP: u16 = 0x40;

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

/// Length of `struct ndmsg`, in bytes.
const HEADER: usize = 12;
