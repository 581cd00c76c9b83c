//! Routing rules: parsing of `RTM_NEWRULE`, and the rules of a namespace as metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire::{Attribute, attributes, u32_at};
use crate::value::{Map, Value};

/// A rule of the routing policy database: an action on the packets that it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `AF_INET` or `AF_INET6`.
    family: u8,
    priority: u32,
    /// `FR_ACT_` number.
    action: u8,
    table: u32,
    /// Priority of the rule to continue with.
    goto: Option<u32>,
    /// Destinations that the rule selects; `None` for all.
    to: Option<(IpAddr, u8)>,
    /// Whether the rule selects the packets that do not meet its conditions.
    is_inverted: bool,
    /// Maximum prefix length of the routes that the rule suppresses.
    suppressed_prefix: Option<u32>,
    /// Conditions, as `ip rule` prints them, that a packet of this host does not meet if it has no
    /// mark and no source address, and its output interface is not chosen.
    conditions: Vec<String>,
}

impl Rule {
    /// Parses the payload of a message; returns `None` for other families.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let family = *payload.first()?;
        let unspecified = match i32::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let (to_length, from_length) = (*payload.get(1)?, *payload.get(2)?);
        let flags = u32_at(payload, 8)?;
        let mut rule = Self {
            family,
            priority: 0,
            action: *payload.get(7)?,
            table: u32::from(*payload.get(4)?),
            goto: None,
            to: (to_length > 0).then_some((unspecified, to_length)),
            is_inverted: flags & FIB_RULE_INVERT != 0,
            suppressed_prefix: None,
            conditions: Vec::new(),
        };
        let tos = *payload.get(3)?;
        if tos != 0 {
            rule.conditions.push(format!("tos {tos:#x}"));
        }
        let (mut mark, mut mask) = (0, None);
        for attribute in attributes(payload, HEADER) {
            match attribute.kind() {
                FRA_DST => rule.to = attribute.ip().map(|address| (address, to_length)),
                FRA_SRC => rule.add_source(&attribute, from_length),
                FRA_GOTO => rule.goto = attribute.u32(),
                FRA_PRIORITY => rule.priority = attribute.u32().unwrap_or(0),
                FRA_FWMARK => mark = attribute.u32().unwrap_or(0),
                FRA_FWMASK => mask = attribute.u32(),
                FRA_SUPPRESS_PREFIXLEN => {
                    rule.suppressed_prefix = attribute.u32().filter(|n| *n != u32::MAX);
                }
                FRA_TABLE => rule.table = attribute.u32().unwrap_or(rule.table),
                _ => rule.add_condition(&attribute),
            }
        }
        let mask = mask.unwrap_or(u32::MAX);
        if mark & mask != 0 {
            rule.conditions.push(format!("fwmark {mark:#x}/{mask:#x}"));
        }
        Some(rule)
    }

    /// Adds the condition of a source prefix. An IPv4 packet without a source address has the source
    /// 0.0.0.0 when the kernel selects its route.
    fn add_source(&mut self, attribute: &Attribute<'_>, length: u8) {
        let Some(source) = attribute.ip() else { return };
        let includes_unspecified = match source {
            IpAddr::V4(source) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into()));
                u32::from(source) & mask.unwrap_or(0) == 0
            }
            IpAddr::V6(_) => false,
        };
        if !includes_unspecified {
            self.conditions.push(format!("from {source}/{length}"));
        }
    }

    /// Adds the condition of another attribute, if a packet of this host does not meet it.
    fn add_condition(&mut self, attribute: &Attribute<'_>) {
        let number = || {
            let bytes = attribute.bytes().iter().rev();
            bytes.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let first_of_range = |at| u32_at(attribute.bytes(), at).unwrap_or(0);
        let text = attribute.text();
        let name = text.trim_end_matches('\0');
        let condition = match attribute.kind() {
            // The input interface of packets of this host is the loopback interface.
            FRA_IIFNAME if name != "lo" => format!("iif {name}"),
            FRA_OIFNAME => format!("oif {name}"),
            FRA_TUN_ID if number() != 0 => format!("tun_id {}", number()),
            FRA_L3MDEV if number() != 0 => "l3mdev".to_owned(),
            FRA_UID_RANGE if first_of_range(0) != 0 => {
                format!("uidrange {}-{}", first_of_range(0), first_of_range(4))
            }
            FRA_IP_PROTO if number() != 0 => format!("ipproto {}", number()),
            FRA_SPORT_RANGE => "sport".to_owned(),
            FRA_DPORT_RANGE => "dport".to_owned(),
            FRA_DSCP => format!("dscp {}", number()),
            FRA_FLOWLABEL => "flowlabel".to_owned(),
            _ => return,
        };
        self.conditions.push(condition);
    }

    /// Returns the rules as metadata, in the order of their priority.
    pub(crate) fn to_value(rules: &mut [Self]) -> Value {
        rules.sort_by_key(|rule| rule.priority);
        Value::list(rules.iter().map(Self::to_map))
    }

    /// Returns the rules of a kernel without policy routing.
    pub(crate) fn defaults() -> Vec<Self> {
        let rule = |family, (priority, table)| Self {
            family,
            priority,
            action: FR_ACT_TO_TBL,
            table,
            goto: None,
            to: None,
            is_inverted: false,
            suppressed_prefix: None,
            conditions: Vec::new(),
        };
        let families = [libc::AF_INET, libc::AF_INET6].map(|family| family as u8);
        let tables = [(0, 255), (32_766, 254), (32_767, 253)];
        let of = |family| tables.map(|table| rule(family, table));
        families.into_iter().flat_map(of).collect()
    }

    fn to_map(&self) -> Map {
        let family = match i32::from(self.family) {
            libc::AF_INET => "IPV4",
            _ => "IPV6",
        };
        let action = match self.action {
            FR_ACT_TO_TBL => "lookup".to_owned(),
            2 => "goto".to_owned(),
            3 => "nop".to_owned(),
            6 => "blackhole".to_owned(),
            7 => "unreachable".to_owned(),
            8 => "prohibit".to_owned(),
            other => other.to_string(),
        };
        let mut map = Map::from_iter([
            ("Family", Value::from(family)),
            ("Priority", self.priority.into()),
            ("Action", action.into()),
        ]);
        if self.action == FR_ACT_TO_TBL {
            map.set("Table", self.table);
        }
        if let Some(goto) = self.goto {
            map.set("Goto", goto);
        }
        if let Some((address, length)) = self.to {
            map.set("To", format!("{address}/{length}"));
        }
        if self.is_inverted {
            map.set("Not", true);
        }
        if let Some(length) = self.suppressed_prefix {
            map.set("SuppressPrefixLength", length);
        }
        if !self.conditions.is_empty() {
            let conditions = self.conditions.iter().map(String::as_str);
            map.set("Conditions", Value::list(conditions));
        }
        map
    }
}

/// Length of `struct fib_rule_hdr`, in bytes.
const HEADER: usize = 12;

// Numbers of `linux/fib_rules.h`.
const FIB_RULE_INVERT: u32 = 2;
const FR_ACT_TO_TBL: u8 = 1;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TUN_ID: u16 = 12;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FRA_DSCP: u16 = 25;
const FRA_FLOWLABEL: u16 = 26;

#[cfg(test)]
#[expect(clippy::host_endian_bytes, reason = "route netlink is in host order")]
mod tests {
    use super::*;

    /// Returns a message with attributes of one word each, in network byte order.
    fn message(header: [u8; 8], flags: u32, attributes: &[(u16, [u8; 4])]) -> Vec<u8> {
        let mut bytes = header.to_vec();
        bytes.extend(flags.to_ne_bytes());
        for (kind, value) in attributes {
            bytes.extend(8_u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
        }
        bytes
    }

    fn json(header: [u8; 8], flags: u32, attributes: &[(u16, [u8; 4])]) -> String {
        let rule = Rule::parse(&message(header, flags, attributes)).unwrap();
        serde_json::to_string(&Value::from(rule.to_map())).unwrap()
    }

    #[test]
    fn rules_are_shown_with_the_conditions_that_a_plain_packet_does_not_meet() {
        let table = 100_u32.to_ne_bytes();
        let lookup = [2, 0, 8, 0, 0, 0, 0, 1];
        assert_eq!(
            json(
                lookup,
                0,
                &[
                    (FRA_SRC, [10, 0, 0, 0]),
                    (FRA_PRIORITY, 5_u32.to_ne_bytes()),
                    (FRA_TABLE, table),
                ]
            ),
            r#"{"Action":"lookup","Conditions":["from 10.0.0.0/8"],"Family":"IPV4","Priority":5,"Table":100}"#
        );
        // As WireGuard sets it: all packets that it has not marked.
        let all = [2, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(
            json(
                all,
                FIB_RULE_INVERT,
                &[(FRA_FWMARK, 0xca6c_u32.to_ne_bytes()), (FRA_TABLE, table)]
            ),
            concat!(
                r#"{"Action":"lookup","Conditions":["fwmark 0xca6c/0xffffffff"],"Family":"IPV4","#,
                r#""Not":true,"Priority":0,"Table":100}"#
            )
        );
        assert_eq!(
            json(
                [2, 16, 0, 0, 254, 0, 0, 1],
                0,
                &[
                    (FRA_DST, [10, 1, 0, 0]),
                    (FRA_IIFNAME, *b"lo\0\0"),
                    (FRA_SUPPRESS_PREFIXLEN, [0; 4]),
                    (FRA_UID_RANGE, [0; 4]),
                ]
            ),
            concat!(
                r#"{"Action":"lookup","Family":"IPV4","Priority":0,"SuppressPrefixLength":0,"#,
                r#""Table":254,"To":"10.1.0.0/16"}"#
            )
        );
        assert_eq!(
            json([10, 0, 0, 0, 0, 0, 0, 8], 0, &[(FRA_OIFNAME, *b"eth\0")]),
            r#"{"Action":"prohibit","Conditions":["oif eth"],"Family":"IPV6","Priority":0}"#
        );
    }

    #[test]
    fn damaged_rules_are_ignored() {
        let whole = message([2, 8, 8, 0, 0, 0, 0, 1], 0, &[(FRA_SRC, [10, 0, 0, 0])]);
        for length in 0..whole.len() {
            let _none_or_some = Rule::parse(&whole[..length]);
        }
        assert_eq!(Rule::parse(&[7; 12]), None);
    }
}
