//! `PacketRequest`: a complete description of the packets that one node sends.

use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::{InjectError, MacAddress};
use crate::value::{Map, Value};

/// Type of generated packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketType {
    /// ICMP echo requests over IPv4.
    Icmp4,
    /// ICMP echo requests over IPv6.
    Icmp6,
    /// TCP segments with SYN over IPv4.
    Tcp4,
    /// TCP segments with SYN over IPv6.
    Tcp6,
    /// UDP datagrams over IPv4.
    Udp4,
    /// UDP datagrams over IPv6.
    Udp6,
}

impl PacketType {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Icmp4, "icmp4"),
        (Self::Icmp6, "icmp6"),
        (Self::Tcp4, "tcp4"),
        (Self::Tcp6, "tcp6"),
        (Self::Udp4, "udp4"),
        (Self::Udp6, "udp6"),
    ];

    /// Returns the name that clients use.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find(|(known, _)| *known == self)
            .map_or("", |(_, name)| name)
    }

    /// Returns whether the packets are IPv6 packets.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        matches!(self, Self::Icmp6 | Self::Tcp6 | Self::Udp6)
    }

    /// Returns whether the packets are echo requests, which have an identifier instead of ports.
    #[must_use]
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::Icmp4 | Self::Icmp6)
    }
}

impl FromStr for PacketType {
    type Err = InjectError;

    /// Parses the name that clients use.
    ///
    /// # Errors
    /// Returns [`InjectError::UnknownName`] if the name is unknown.
    fn from_str(name: &str) -> Result<Self, InjectError> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|(_, known)| *known == name);
        found
            .map(|(packet_type, _)| packet_type)
            .ok_or_else(|| InjectError::UnknownName {
                what: "packet type",
                name: name.to_owned(),
                expected: "icmp4, icmp6, tcp4, tcp6, udp4, udp6",
            })
    }
}

/// Variation between the packets of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketMode {
    /// All packets have the same identifier or source port.
    #[default]
    Unique,
    /// Each packet after the first has a random identifier or source port.
    Random,
}

/// Packets that one node sends.
///
/// The JSON form is that of the protocol between analyzers and agents; MAC addresses and the
/// capture file are Base64.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
#[non_exhaustive]
pub struct PacketRequest {
    /// Identifier of the injection.
    pub uuid: String,
    /// Type of the packets.
    pub packet_type: PacketType,
    /// Source IP address; `None` only with a capture file.
    pub src_ip: Option<IpAddr>,
    /// Source MAC address; `None` for interfaces without hardware addresses.
    pub src_mac: Option<MacAddress>,
    /// TCP or UDP source port.
    pub src_port: u16,
    /// Destination IP address; `None` only with a capture file.
    pub dst_ip: Option<IpAddr>,
    /// Destination MAC address; `None` for interfaces without hardware addresses.
    pub dst_mac: Option<MacAddress>,
    /// TCP or UDP destination port; 0 for a random TCP port.
    pub dst_port: u16,
    /// Number of packets; 0 for all packets of the capture file once, or for one packet.
    pub count: u64,
    /// Identifier of echo requests.
    pub icmp_id: u16,
    /// Interval between packets, in milliseconds.
    pub interval: u64,
    /// Variation between packets.
    pub mode: PacketMode,
    /// Number of random letters by which the payload of each packet is longer than that of the
    /// previous one; negative for shorter payloads.
    pub increment_payload: i64,
    /// Payload of the first packet; empty for random letters.
    pub payload: String,
    /// Base64 of a capture file whose packets are sent instead.
    pub pcap: Option<String>,
    /// Time to live or hop limit; 0 for 64.
    pub ttl: u8,
}

impl PacketRequest {
    /// Returns a request for one packet without addresses.
    #[must_use]
    pub const fn new(packet_type: PacketType) -> Self {
        Self {
            uuid: String::new(),
            packet_type,
            src_ip: None,
            src_mac: None,
            src_port: 1,
            dst_ip: None,
            dst_mac: None,
            dst_port: 0,
            count: 1,
            icmp_id: 1,
            interval: 0,
            mode: PacketMode::Unique,
            increment_payload: 0,
            payload: String::new(),
            pcap: None,
            ttl: 0,
        }
    }

    /// Sets the source: MAC address (empty for none), IP address, and port.
    ///
    /// # Errors
    /// Returns [`InjectError::Address`] if a string is not an address.
    pub fn with_source(mut self, mac: &str, ip: &str, port: u16) -> Result<Self, InjectError> {
        (self.src_mac, self.src_ip, self.src_port) = (mac_of(mac)?, ip_of(ip)?, port);
        Ok(self)
    }

    /// Sets the destination: MAC address (empty for none), IP address, and port.
    ///
    /// # Errors
    /// Returns [`InjectError::Address`] if a string is not an address.
    pub fn with_destination(mut self, mac: &str, ip: &str, port: u16) -> Result<Self, InjectError> {
        (self.dst_mac, self.dst_ip, self.dst_port) = (mac_of(mac)?, ip_of(ip)?, port);
        Ok(self)
    }

    /// Sets the payload of the first packet.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Into<String>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Returns the members of the JSON form as metadata. A long payload or capture file is
    /// replaced by an empty string or null, so that the metadata of a node remains small.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let wire = Wire::from(self.clone());
        let mac = |mac: Option<String>| mac.map_or(Value::Null, Value::from);
        let is_shown = |text: &String| text.len() <= MAX_SHOWN_BYTES;
        let payload = Some(wire.payload).filter(is_shown);
        let mut map = Map::from_iter([
            ("UUID", Value::from(wire.uuid)),
            ("SrcIP", Value::from(wire.src_ip)),
            ("SrcMAC", mac(wire.src_mac)),
            ("SrcPort", Value::from(i64::from(wire.src_port))),
            ("DstIP", Value::from(wire.dst_ip)),
            ("DstMAC", mac(wire.dst_mac)),
            ("DstPort", Value::from(i64::from(wire.dst_port))),
            ("Type", Value::from(wire.packet_type)),
            ("Count", Value::from(wire.count)),
            ("ICMPID", Value::from(i64::from(wire.icmp_id))),
            ("Interval", Value::from(wire.interval)),
            ("Mode", Value::from(wire.mode)),
            ("IncrementPayload", Value::from(wire.increment_payload)),
            ("Payload", Value::from(payload.unwrap_or_default())),
            ("TTL", Value::from(i64::from(wire.ttl))),
        ]);
        map.set("Pcap", mac(wire.pcap.filter(is_shown)));
        map
    }
}

/// Maximum length of a payload or capture file in the metadata of a node, in bytes.
pub const MAX_SHOWN_BYTES: usize = 4 << 10;

/// The JSON form of a request.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(rename = "UUID", default)]
    uuid: String,
    #[serde(rename = "SrcIP", default)]
    src_ip: String,
    #[serde(rename = "SrcMAC", default)]
    src_mac: Option<String>,
    #[serde(default)]
    src_port: u16,
    #[serde(rename = "DstIP", default)]
    dst_ip: String,
    #[serde(rename = "DstMAC", default)]
    dst_mac: Option<String>,
    #[serde(default)]
    dst_port: u16,
    #[serde(rename = "Type", default)]
    packet_type: String,
    #[serde(default)]
    count: u64,
    #[serde(rename = "ICMPID", default)]
    icmp_id: u16,
    #[serde(default)]
    interval: u64,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    increment_payload: i64,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    pcap: Option<String>,
    #[serde(rename = "TTL", default)]
    ttl: u8,
}

impl From<PacketRequest> for Wire {
    fn from(request: PacketRequest) -> Self {
        let ip = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
        let mac = |mac: Option<MacAddress>| mac.map(|mac| BASE64.encode(mac.0));
        Self {
            uuid: request.uuid,
            src_ip: ip(request.src_ip),
            src_mac: mac(request.src_mac),
            src_port: request.src_port,
            dst_ip: ip(request.dst_ip),
            dst_mac: mac(request.dst_mac),
            dst_port: request.dst_port,
            packet_type: request.packet_type.name().to_owned(),
            count: request.count,
            icmp_id: request.icmp_id,
            interval: request.interval,
            mode: match request.mode {
                PacketMode::Unique => "unique",
                PacketMode::Random => "random",
            }
            .to_owned(),
            increment_payload: request.increment_payload,
            payload: request.payload,
            pcap: request.pcap,
            ttl: request.ttl,
        }
    }
}

impl TryFrom<Wire> for PacketRequest {
    type Error = InjectError;

    fn try_from(wire: Wire) -> Result<Self, InjectError> {
        Ok(Self {
            uuid: wire.uuid,
            packet_type: wire.packet_type.parse()?,
            src_ip: ip_of(&wire.src_ip)?,
            src_mac: mac_of_base64(wire.src_mac)?,
            src_port: wire.src_port,
            dst_ip: ip_of(&wire.dst_ip)?,
            dst_mac: mac_of_base64(wire.dst_mac)?,
            dst_port: wire.dst_port,
            count: wire.count,
            icmp_id: wire.icmp_id,
            interval: wire.interval,
            mode: wire.mode.parse()?,
            increment_payload: wire.increment_payload,
            payload: wire.payload,
            pcap: wire.pcap,
            ttl: wire.ttl,
        })
    }
}

impl FromStr for PacketMode {
    type Err = InjectError;

    /// Parses the name that clients use; an empty string is the default.
    ///
    /// # Errors
    /// Returns [`InjectError::UnknownName`] if the name is unknown.
    fn from_str(name: &str) -> Result<Self, InjectError> {
        match name {
            "" | "unique" => Ok(Self::Unique),
            "random" => Ok(Self::Random),
            _ => Err(InjectError::UnknownName {
                what: "mode",
                name: name.to_owned(),
                expected: "unique, random",
            }),
        }
    }
}

fn mac_of(text: &str) -> Result<Option<MacAddress>, InjectError> {
    (!text.is_empty()).then(|| text.parse()).transpose()
}

fn ip_of(text: &str) -> Result<Option<IpAddr>, InjectError> {
    let parse = || {
        text.parse().map_err(|_| InjectError::Address {
            text: text.to_owned(),
            expected: "an IP address",
        })
    };
    (!text.is_empty()).then(parse).transpose()
}

/// Decodes a MAC address in Base64.
fn mac_of_base64(text: Option<String>) -> Result<Option<MacAddress>, InjectError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let bytes = BASE64.decode(&text).ok();
    match bytes.and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Ok(Some(MacAddress(bytes))),
        None => Err(InjectError::Address {
            text,
            expected: "a MAC address of 6 bytes in Base64",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as Skydive's analyzer sends it.
    const WIRE: &str = concat!(
        r#"{"UUID":"u","SrcIP":"10.88.0.11","SrcMAC":"ouhozdfn","SrcPort":1,"DstIP":"10.88.0.12","#,
        r#""DstMAC":"IuFAb08q","DstPort":0,"Type":"icmp4","Count":5,"ICMPID":321,"Interval":900,"#,
        r#""Mode":"unique","IncrementPayload":0,"Payload":"hi","Pcap":null,"TTL":64}"#
    );

    #[test]
    fn the_form_on_the_wire_is_that_of_skydive() {
        let request: PacketRequest = serde_json::from_str(WIRE).unwrap();
        assert_eq!(
            request.src_mac,
            Some(MacAddress([0xa2, 0xe8, 0x68, 0xcd, 0xd7, 0xe7]))
        );
        assert_eq!((request.count, request.icmp_id, request.ttl), (5, 321, 64));
        assert_eq!(serde_json::to_string(&request).unwrap(), WIRE);
        let shown = serde_json::to_value(Value::from(request.to_map())).unwrap();
        assert_eq!(
            shown,
            serde_json::from_str::<serde_json::Value>(WIRE).unwrap()
        );
    }

    #[test]
    fn long_texts_are_not_shown_on_the_node() {
        let mut request = PacketRequest::new(PacketType::Udp4);
        request.payload = "x".repeat(MAX_SHOWN_BYTES + 1);
        request.pcap = Some(request.payload.clone());
        let map = request.to_map();
        assert_eq!(map.get("Payload"), Some(&Value::from("")));
        assert_eq!(map.get("Pcap"), Some(&Value::Null));
    }

    #[test]
    fn wrong_members_are_rejected() {
        for (wrong, right) in [
            (r#""Type":"smoke""#, r#""Type":"icmp4""#),
            (r#""Mode":"odd""#, r#""Mode":"unique""#),
            (r#""SrcIP":"10.88""#, r#""SrcIP":"10.88.0.11""#),
            (r#""DstMAC":"IuFA""#, r#""DstMAC":"IuFAb08q""#),
        ] {
            let text = WIRE.replace(right, wrong);
            assert_ne!(text, WIRE);
            assert!(
                serde_json::from_str::<PacketRequest>(&text).is_err(),
                "{wrong}"
            );
        }
    }
}
