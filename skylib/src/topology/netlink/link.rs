//! Links: parsing of `RTM_NEWLINK`, and the metadata of an interface.

use netlink_packet_core::Parseable;
use netlink_packet_route::link::{BondMode, BondPortState, InfoBondPort, MiiStatus};

use super::link_details::{Details, details};
use super::stats::Counters;
use super::virtual_functions;
use super::wire::{Attribute, attributes, colon_hex, u16_at, u32_at};
use crate::value::{Map, Text, Value};

/// A message from the kernel about a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LinkMessage {
    /// Index in its namespace.
    pub(crate) index: u32,
    /// `ARPHRD_` number.
    pub(crate) hardware: u16,
    /// `IFF_` bits.
    pub(crate) flags: u32,
    pub(crate) name: Text,
    /// Description that an administrator gave the link (`ip link set … alias`).
    pub(crate) alias: Option<Text>,
    /// Alternative names (`ip link property add … altname`).
    pub(crate) alt_names: Vec<Text>,
    /// Kind, such as `veth` or `bridge`; `None` for hardware.
    pub(crate) kind: Option<Text>,
    pub(crate) mtu: u32,
    /// Hardware address; empty if there is none.
    pub(crate) address: Text,
    /// Index of the master, such as a bridge or a bond; 0 for none.
    pub(crate) master: u32,
    /// Index of the lower device or the peer; 0 for none.
    pub(crate) link: u32,
    /// Nsid of the namespace of `link`; `None` for the same namespace.
    pub(crate) link_netnsid: Option<i32>,
    /// `IF_OPER_` number.
    pub(crate) state: u8,
    pub(crate) vlan: Option<u16>,
    pub(crate) bond_mode: Option<u8>,
    /// Number of virtual functions (SR-IOV); `None` if the message does not say, as in notifications.
    pub(super) function_count: Option<u32>,
    /// Settings of the virtual functions, as metadata.
    pub(super) functions: Option<Value>,
    /// Metadata that depends on the kind.
    pub(super) details: Details,
    /// State as a member of a bond, as metadata.
    pub(crate) bond_slave: Option<Map>,
    pub(crate) stats: Option<Counters>,
    /// Whether the message has all attributes; wireless events do not.
    pub(crate) is_complete: bool,
}

impl LinkMessage {
    /// Parses the payload of an `RTM_NEWLINK`; returns `None` if the header is incomplete.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut link = Self {
            hardware: u16_at(payload, 2)?,
            index: u32_at(payload, 4)?,
            flags: u32_at(payload, 8)?,
            ..Self::default()
        };
        let mut has_mtu = false;
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                libc::IFLA_IFNAME => link.name = attribute.text(),
                libc::IFLA_IFALIAS => {
                    link.alias = Some(attribute.text()).filter(|text| !text.is_empty());
                }
                libc::IFLA_PROP_LIST => link.alt_names = alt_names(&attribute),
                libc::IFLA_MTU => {
                    has_mtu = true;
                    link.mtu = attribute.u32().unwrap_or(0);
                }
                libc::IFLA_ADDRESS => link.address = colon_hex(attribute.bytes()),
                libc::IFLA_MASTER => link.master = attribute.u32().unwrap_or(0),
                libc::IFLA_LINK => link.link = attribute.u32().unwrap_or(0),
                libc::IFLA_LINK_NETNSID => {
                    link.link_netnsid = attribute.i32().filter(|id| *id >= 0);
                }
                libc::IFLA_OPERSTATE => link.state = attribute.u8().unwrap_or(0),
                libc::IFLA_STATS64 => link.stats = Some(Counters::parse(attribute.bytes())),
                libc::IFLA_NUM_VF => link.function_count = attribute.u32(),
                libc::IFLA_VFINFO_LIST => link.functions = virtual_functions::settings(&attribute),
                libc::IFLA_LINKINFO => link.read_info(&attribute),
                _ => {}
            }
        }
        link.is_complete = has_mtu && !link.name.is_empty();
        Some(link)
    }

    /// Parses `IFLA_LINKINFO`.
    fn read_info(&mut self, info: &Attribute<'_>) {
        let mut slave_kind = None;
        for attribute in info.nested() {
            match attribute.kind() {
                IFLA_INFO_KIND => self.kind = Some(attribute.text()),
                IFLA_INFO_DATA => match self.kind.as_deref() {
                    Some("vlan") => self.vlan = find(&attribute, IFLA_VLAN_ID, |a| a.u16()),
                    Some("bond") => {
                        self.bond_mode = find(&attribute, IFLA_BOND_MODE, |a| a.u8());
                    }
                    Some(kind) => self.details = details(kind, &attribute),
                    None => {}
                },
                IFLA_INFO_SLAVE_KIND => slave_kind = Some(attribute.text()),
                IFLA_INFO_SLAVE_DATA if slave_kind.as_deref() == Some("bond") => {
                    self.bond_slave = Some(bond_slave(&attribute));
                }
                _ => {}
            }
        }
    }

    /// Returns the `Type` of the node: the kind according to the kernel, or `device` if it has
    /// none.
    ///
    /// The driver `veth` implies the type `veth`, because some messages lack the kind.
    pub(crate) fn type_name(&self, driver: &str) -> &str {
        match self.kind.as_deref() {
            _ if driver == "veth" => "veth",
            None | Some("") => "device",
            Some(kind) => kind,
        }
    }

    /// Returns the metadata that result from the message and the name of the driver.
    pub(crate) fn metadata(&self, driver: &str) -> Vec<(&'static str, Value)> {
        let kind = self.type_name(driver);
        let driver = if driver.is_empty() && kind == "bridge" {
            "bridge"
        } else {
            driver
        };
        let mut pairs: Vec<(&'static str, Value)> = vec![
            ("Name", self.name.clone().into()),
            ("Type", kind.into()),
            ("EncapType", encap_type(self.hardware)),
            ("IfIndex", self.index.into()),
            ("Driver", driver.into()),
            ("State", state_name(self.state).into()),
            ("LinkFlags", link_flags(self.flags)),
        ];
        let mut number = |key, value: u32| {
            if value != 0 {
                pairs.push((key, value.into()));
            }
        };
        number("MTU", self.mtu);
        number("MasterIndex", self.master);
        number("ParentIndex", self.link);
        if kind == "veth" {
            number("PeerIfIndex", self.link);
        }
        if !self.address.is_empty() {
            pairs.push(("MAC", self.address.clone().into()));
        }
        if let Some(vlan) = self.vlan {
            pairs.push(("Vlan", u32::from(vlan).into()));
        }
        if let Some(mode) = self.bond_mode {
            pairs.push(("BondMode", BondMode::from(mode).to_string().into()));
        }
        pairs.extend(self.functions.clone().map(|functions| ("Vfs", functions)));
        pairs.extend(self.details.iter().cloned());
        if let Some(slave) = &self.bond_slave {
            pairs.push(("BondSlave", slave.clone().into()));
        }
        if let Some(alias) = &self.alias {
            pairs.push(("Alias", alias.clone().into()));
        }
        if !self.alt_names.is_empty() {
            pairs.push(("AltNames", Value::list(self.alt_names.iter().cloned())));
        }
        if let Some(id) = self.link_netnsid {
            pairs.push(("LinkNetNsID", id.into()));
        }
        pairs
    }
}

fn find<T>(data: &Attribute<'_>, kind: u16, read: fn(&Attribute<'_>) -> Option<T>) -> Option<T> {
    data.nested()
        .find(|a| a.kind() == kind)
        .and_then(|a| read(&a))
}

/// Returns the alternative names in `IFLA_PROP_LIST`.
fn alt_names(properties: &Attribute<'_>) -> Vec<Text> {
    properties
        .nested()
        .filter(|property| property.kind() == libc::IFLA_ALT_IFNAME)
        .map(|property| property.text())
        .collect()
}

/// Returns the metadata of a member of a bond.
fn bond_slave(data: &Attribute<'_>) -> Map {
    let mut slave = Map::from_iter([("Type", "bond")]);
    for attribute in data.nested() {
        let Ok(parsed) = InfoBondPort::parse(attribute.nla()) else {
            continue;
        };
        match parsed {
            InfoBondPort::BondPortState(state) => slave.set(
                "State",
                match state {
                    BondPortState::Active => "ACTIVE".to_owned(),
                    BondPortState::Backup => "BACKUP".to_owned(),
                    other => other.to_string(),
                },
            ),
            InfoBondPort::MiiStatus(status) => slave.set(
                "MiiStatus",
                match status {
                    MiiStatus::Up => "UP".to_owned(),
                    MiiStatus::GoingDown => "GOING_DOWN".to_owned(),
                    MiiStatus::Down => "DOWN".to_owned(),
                    MiiStatus::GoingBack => "GOING_BACK".to_owned(),
                    other => other.to_string(),
                },
            ),
            InfoBondPort::LinkFailureCount(count) => slave.set("LinkFailureCount", count),
            InfoBondPort::QueueId(id) => slave.set("QueueId", u32::from(id)),
            InfoBondPort::AdAggregatorId(id) => slave.set("AggregatorId", u32::from(id)),
            InfoBondPort::AdActorOperPortState(state) => {
                slave.set("AdActorOperPortState", u32::from(state.bits()));
            }
            InfoBondPort::AdPartnerOperPortState(state) => {
                slave.set("AdPartnerOperPortState", u32::from(state.bits()));
            }
            InfoBondPort::PermHwaddr(address) => slave.set("PermMAC", colon_hex(&address)),
            _ => {}
        }
    }
    slave
}

/// Returns the name of an `ARPHRD_` number (`linux/if_arp.h`), as `ip link` prints it.
fn encap_type(hardware: u16) -> Value {
    let name = match hardware {
        0 => "generic",
        1 => "ether",
        2 => "eether",
        3 => "ax25",
        4 => "pronet",
        5 => "chaos",
        6 => "ieee802",
        7 => "arcnet",
        8 => "atalk",
        15 => "dlci",
        19 => "atm",
        23 => "metricom",
        24 => "ieee1394",
        32 => "infiniband",
        256 => "slip",
        257 => "cslip",
        258 => "slip6",
        259 => "cslip6",
        260 => "rsrvd",
        264 => "adapt",
        270 => "rose",
        271 => "x25",
        272 => "hwx25",
        280 => "can",
        512 => "ppp",
        513 => "hdlc",
        516 => "lapb",
        517 => "ddcmp",
        518 => "rawhdlc",
        768 => "ipip",
        769 => "tunnel6",
        770 => "frad",
        771 => "skip",
        772 => "loopback",
        773 => "ltalk",
        774 => "fddi",
        775 => "bif",
        776 => "sit",
        777 => "ip/ddp",
        778 => "gre",
        779 => "pimreg",
        780 => "hippi",
        781 => "ash",
        782 => "econet",
        783 => "irda",
        784 => "fcpp",
        785 => "fcal",
        786 => "fcpl",
        787..=799 => return format!("fcfb{}", hardware - 787).into(),
        800 => "tr",
        801 => "ieee802.11",
        802 => "ieee802.11/prism",
        803 => "ieee802.11/radiotap",
        804 => "ieee802.15.4",
        823 => "gre6",
        65534 => "none",
        65535 => "void",
        other => return format!("unknown{other}").into(),
    };
    name.into()
}

/// Returns the name of an `IF_OPER_` number (`linux/if.h`, RFC 2863).
fn state_name(state: u8) -> &'static str {
    match state {
        1 => "NOT-PRESENT",
        2 => "DOWN",
        3 => "LOWER-LAYER-DOWN",
        4 => "TESTING",
        5 => "DORMANT",
        6 => "UP",
        _ => "UNKNOWN",
    }
}

/// Returns the names of the flags that the graph shows.
///
/// COMPAT: every client; null if none is set.
fn link_flags(flags: u32) -> Value {
    let set = LINK_FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let names: Vec<Value> = set.map(|(_, name)| Value::from(*name)).collect();
    if names.is_empty() {
        Value::Null
    } else {
        Value::list(names)
    }
}

/// `IFF_` bits of `linux/if.h`.
const LINK_FLAGS: [(u32, &str); 5] = [
    (0x1, "UP"),
    (0x2, "BROADCAST"),
    (0x8, "LOOPBACK"),
    (0x10, "POINTTOPOINT"),
    (0x1000, "MULTICAST"),
];

/// Length of `struct ifinfomsg`, in bytes.
const HEADER: usize = 16;

// Nested attributes of IFLA_LINKINFO (`linux/if_link.h`).
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_BOND_MODE: u16 = 1;
