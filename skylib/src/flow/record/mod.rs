//! `Flow`: the record that clients receive, in JSON and protobuf.
//!
//! A table creates records when it sends or removes flows and when it answers queries; others are
//! received from agents or read from files. JSON is encoded through serde without an intermediate
//! tree, protobuf through [`prost`] (`prost::Message::encode_to_vec`, `decode`). Field numbers and
//! JSON keys are Skydive's.

mod arp;
mod export_info;
mod icmp_errors;
mod initiator;
mod offload;
mod rtt_metric;
mod wire;

use prost::bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::arp::Arp;
pub use self::export_info::ExportInfo;
pub use self::icmp_errors::{About, IcmpErrors};
pub use self::initiator::Initiator;
pub use self::offload::Offload;
pub use self::rtt_metric::RttMetric;
pub use self::wire::Wire;
use super::extra_layers::records::{Dhcpv4Layer, DnsLayer, DnsMetric, Vrrpv2Layer};
use super::message::is_default;
use super::metric::{FlowMetric, IpMetric};
use super::protobuf::{wire_enum, wire_message};
use super::setters::setters;
use super::tcp_metric::TcpMetric;
use crate::decode::IcmpType;
use crate::value::Text;

/// Record of the traffic between two ends, A and B, seen at one capture point.
///
/// A is the source of the first packet.
///
/// ```
/// use skylib::flow::{Flow, FlowMetric};
/// let flow = Flow::default()
///     .with_uuid("650ae6e46b29f27b")
///     .with_layers_path("Ethernet/ARP")
///     .with_metric(FlowMetric::default());
/// let json = serde_json::to_string(&flow)?;
/// assert!(json.starts_with(r#"{"UUID":"650ae6e46b29f27b","LayersPath":"Ethernet/ARP","Metric":"#));
/// assert_eq!(serde_json::from_str::<Flow>(&json)?, flow);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Flow {
    /// Identifier of the flow at this capture point, in lower-case hex without padding.
    #[serde(rename = "UUID", skip_serializing_if = "no_text")]
    pub uuid: Text,
    /// Names of the layers, such as `Ethernet/IPv4/TCP`.
    #[serde(rename = "LayersPath", skip_serializing_if = "no_text")]
    pub layers_path: Text,
    /// Application name: the configured name of a port
    /// ([`ApplicationPorts`](super::ApplicationPorts)), or else the name of the last layer.
    #[serde(rename = "Application", skip_serializing_if = "no_text")]
    pub application: Text,
    /// MAC addresses; `None` without a link layer.
    #[serde(rename = "Link", skip_serializing_if = "Option::is_none")]
    pub link: Option<FlowLayer>,
    /// IP addresses; `None` without a network layer.
    #[serde(rename = "Network", skip_serializing_if = "Option::is_none")]
    pub network: Option<FlowLayer>,
    /// Ports; `None` without a transport layer.
    #[serde(rename = "Transport", skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportLayer>,
    /// ICMP type, code, and identifier; `None` unless the flow is ICMP.
    #[serde(rename = "ICMP", skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpLayer>,
    /// First DHCPv4 message, if [`ExtraLayers::DHCPV4`](super::ExtraLayers::DHCPV4) is set.
    #[serde(rename = "DHCPv4", skip_serializing_if = "Option::is_none")]
    pub dhcpv4: Option<Box<Dhcpv4Layer>>,
    /// Last DNS message, if [`ExtraLayers::DNS`](super::ExtraLayers::DNS) is set.
    #[serde(rename = "DNS", skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<DnsLayer>>,
    /// First VRRPv2 advertisement, if [`ExtraLayers::VRRP`](super::ExtraLayers::VRRP) is set.
    #[serde(rename = "VRRPv2", skip_serializing_if = "Option::is_none")]
    pub vrrpv2: Option<Box<Vrrpv2Layer>>,
    /// Packets and bytes of the last update interval; `None` before the first update.
    #[serde(rename = "LastUpdateMetric", skip_serializing_if = "Option::is_none")]
    pub last_update_metric: Option<FlowMetric>,
    /// Packets and bytes since the start of the flow.
    #[serde(rename = "Metric", skip_serializing_if = "Option::is_none")]
    pub metric: Option<FlowMetric>,
    /// TCP times and stream counters, if an option enables them.
    #[serde(rename = "TCPMetric", skip_serializing_if = "Option::is_none")]
    pub tcp_metric: Option<TcpMetric>,
    /// Counters of IPv4 reassembly, if an option enables it.
    #[serde(rename = "IPMetric", skip_serializing_if = "Option::is_none")]
    pub ip_metric: Option<IpMetric>,
    /// Time of the first packet, in Unix milliseconds.
    #[serde(rename = "Start")]
    pub start: i64,
    /// Time of the last packet, in Unix milliseconds.
    #[serde(rename = "Last")]
    pub last: i64,
    /// Identifier of the traffic from layer 2 up, in hex: equal at every capture point.
    #[serde(rename = "TrackingID", skip_serializing_if = "no_text")]
    pub tracking_id: Text,
    /// Identifier of the traffic from layer 3 up, in hex: equal at every capture point.
    #[serde(rename = "L3TrackingID", skip_serializing_if = "no_text")]
    pub l3_tracking_id: Text,
    /// UUID of the enclosing (tunnel) flow; empty for an outermost flow.
    #[serde(rename = "ParentUUID")]
    pub parent_uuid: Text,
    /// `TID` of the captured node.
    #[serde(rename = "NodeTID", skip_serializing_if = "no_text")]
    pub node_tid: Text,
    /// Identifier of the capture.
    #[serde(rename = "CaptureID", skip_serializing_if = "no_text")]
    pub capture_id: Text,
    /// Raw packets stored since the previous update; encoded in protobuf, but never in JSON.
    #[serde(rename = "LastRawPackets", skip_serializing)]
    pub last_raw_packets: Vec<RawPacket>,
    /// Number of raw packets stored since the start of the flow.
    #[serde(rename = "RawPacketsCaptured")]
    pub raw_packets_captured: i64,
    /// Way in which the flow ended.
    #[serde(rename = "FinishType", skip_serializing_if = "is_default")]
    pub finish_type: FinishType,
    /// Tags, identifiers, and capture point; `None` if there are none.
    #[serde(rename = "Wire", skip_serializing_if = "Option::is_none")]
    pub wire: Option<Box<Wire>>,
    /// End that opened the flow; `None` if it is unknown.
    #[serde(rename = "Initiator", skip_serializing_if = "Option::is_none")]
    pub initiator: Option<Initiator>,
    /// Statistics of round-trip times, if an option enables them.
    #[serde(rename = "RTTMetric", skip_serializing_if = "Option::is_none")]
    pub rtt_metric: Option<Box<RttMetric>>,
    /// Contents of the first ARP packet; `None` unless the flow is ARP.
    #[serde(rename = "ARP", skip_serializing_if = "Option::is_none")]
    pub arp: Option<Box<Arp>>,
    /// Flow that an ICMP error refers to; `None` unless the flow consists of ICMP errors.
    #[serde(rename = "About", skip_serializing_if = "Option::is_none")]
    pub about: Option<Box<About>>,
    /// ICMP errors that refer to this flow; `None` if there were none.
    #[serde(rename = "ICMPErrors", skip_serializing_if = "Option::is_none")]
    pub icmp_errors: Option<Box<IcmpErrors>>,
    /// Estimate of the segments on the wire; `None` without joined segments.
    #[serde(rename = "Offload", skip_serializing_if = "Option::is_none")]
    pub offload: Option<Box<Offload>>,
    /// Counters of DNS messages, if [`ExtraLayers::DNS`](super::ExtraLayers::DNS) is set.
    #[serde(rename = "DNSMetric", skip_serializing_if = "Option::is_none")]
    pub dns_metric: Option<Box<DnsMetric>>,
    /// Exporter of the flow; `None` for captured flows.
    #[serde(rename = "Export", skip_serializing_if = "Option::is_none")]
    pub export: Option<Box<ExportInfo>>,
}

wire_message!(Flow {
    1 => uuid, 2 => layers_path, 3 => application, 6 => parent_uuid, 10 => start, 11 => last,
    20 => link, 21 => network, 22 => transport, 23 => icmp,
    31 => last_update_metric, 32 => metric, 33 => node_tid, 34 => capture_id,
    36 => last_raw_packets, 37 => raw_packets_captured, 38 => tcp_metric, 39 => ip_metric,
    50 => tracking_id, 51 => l3_tracking_id, 60 => finish_type,
    1000 => dhcpv4, 1001 => dns, 1002 => vrrpv2, 1100 => export,
    2001 => rtt_metric, 2002 => wire, 2003 => initiator, 2004 => arp, 2005 => about,
    2006 => icmp_errors, 2007 => offload, 2008 => dns_metric,
});

setters! {
    Flow {
        with_uuid uuid impl Into<Text>;
        with_layers_path layers_path impl Into<Text>;
        with_application application impl Into<Text>;
        with_link link FlowLayer;
        with_network network FlowLayer;
        with_transport transport TransportLayer;
        with_icmp icmp IcmpLayer;
        with_last_update_metric last_update_metric FlowMetric;
        with_metric metric FlowMetric;
        with_tcp_metric tcp_metric TcpMetric;
        with_ip_metric ip_metric IpMetric;
        with_tracking_id tracking_id impl Into<Text>;
        with_l3_tracking_id l3_tracking_id impl Into<Text>;
        with_parent_uuid parent_uuid impl Into<Text>;
        with_node_tid node_tid impl Into<Text>;
        with_capture_id capture_id impl Into<Text>;
        with_last_raw_packets last_raw_packets Vec<RawPacket>;
        with_finish_type finish_type FinishType;
    }
}

impl Flow {
    /// Sets [`start`](Self::start) and [`last`](Self::last), in Unix milliseconds.
    #[must_use]
    pub const fn with_times(mut self, start: i64, last: i64) -> Self {
        (self.start, self.last) = (start, last);
        self
    }

    /// Sets [`dns`](Self::dns).
    #[must_use]
    pub fn with_dns(mut self, dns: DnsLayer) -> Self {
        self.dns = Some(Box::new(dns));
        self
    }

    /// Sets [`dhcpv4`](Self::dhcpv4).
    #[must_use]
    pub fn with_dhcpv4(mut self, dhcpv4: Dhcpv4Layer) -> Self {
        self.dhcpv4 = Some(Box::new(dhcpv4));
        self
    }

    /// Sets [`vrrpv2`](Self::vrrpv2).
    #[must_use]
    pub fn with_vrrpv2(mut self, vrrpv2: Vrrpv2Layer) -> Self {
        self.vrrpv2 = Some(Box::new(vrrpv2));
        self
    }
}

/// Addresses of A and B at layer 2 or 3. The schema is Skydive's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowLayer {
    /// Protocol of the addresses.
    #[serde(rename = "Protocol")]
    pub protocol: FlowProtocol,
    /// MAC or IP address of A.
    #[serde(rename = "A", skip_serializing_if = "no_text")]
    pub a: Text,
    /// MAC or IP address of B.
    #[serde(rename = "B", skip_serializing_if = "no_text")]
    pub b: Text,
    /// VLAN identifiers at layer 2 (outermost tag in the lowest 12 bits), tunnel identifier at
    /// layer 3.
    #[serde(rename = "ID")]
    pub id: i64,
}

wire_message!(FlowLayer { 1 => protocol, 3 => a, 4 => b, 5 => id });

/// Ports of A and B. The schema is Skydive's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransportLayer {
    /// Protocol of the ports.
    #[serde(rename = "Protocol")]
    pub protocol: FlowProtocol,
    /// Port of A.
    #[serde(rename = "A")]
    pub a: i64,
    /// Port of B.
    #[serde(rename = "B")]
    pub b: i64,
    /// Always 0.
    #[serde(rename = "ID")]
    pub id: i64,
}

wire_message!(TransportLayer { 1 => protocol, 2 => a, 3 => b, 4 => id });

/// ICMP or ICMPv6 header of the first packet. The schema is Skydive's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IcmpLayer {
    /// Kind of message; equal for request and reply.
    #[serde(rename = "Type")]
    pub kind: IcmpType,
    /// Code of the first packet.
    #[serde(rename = "Code", skip_serializing_if = "is_default")]
    pub code: u32,
    /// Echo identifier; for ICMPv4, bytes 4 and 5 of a message of any type.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: u32,
}

wire_message!(IcmpLayer { 1 => kind, 2 => code, 3 => id });

/// Packet stored with its flow. The schema is Skydive's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawPacket {
    /// Capture time, in Unix milliseconds.
    #[serde(rename = "Timestamp")]
    pub timestamp: i64,
    /// Number of the packet in the flow, from 1.
    #[serde(rename = "Index")]
    pub index: i64,
    /// Captured bytes, from the first layer of the flow on.
    #[serde(
        rename = "Data",
        skip_serializing_if = "Bytes::is_empty",
        with = "crate::flow::extra_layers::records::base64_bytes"
    )]
    pub data: Bytes,
    /// Type of the first layer: a `LINKTYPE_` number of libpcap, or 0 if the layer has none.
    #[serde(rename = "LinkType", skip_serializing_if = "is_default")]
    pub link_type: u32,
    /// Nanoseconds to add to `timestamp`, below one million; not in JSON.
    #[serde(skip)]
    pub nanos: u32,
    /// Length of the packet on the wire, in bytes, from the first layer of the flow on; 0 if it is
    /// equal to the length of `data`. Not in JSON.
    #[serde(skip)]
    pub wire_len: u32,
}

wire_message!(RawPacket {
    1 => timestamp, 2 => index, 3 => data, 4 => link_type, 2001 => nanos, 2002 => wire_len,
});

/// Returns whether a string is empty.
fn no_text(text: &Text) -> bool {
    text.is_empty()
}

/// Implements protobuf by number and JSON by name for an enum; `$wrong` is the error for an unknown
/// name.
macro_rules! record_enum {
    ($name:ident, $wrong:literal) => {
        wire_enum!($name);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::from_name(&name).ok_or_else(|| serde::de::Error::custom($wrong))
            }
        }
    };
}

macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        $name:ident, $wrong:literal { $($(#[$doc:meta])* $variant:ident = $number:literal $text:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant = $number,)* }

        record_enum!($name, $wrong);

        impl $name {
            /// Returns the variant with this number in the protobuf schema; `None` if there is none.
            #[must_use]
            pub const fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Returns the variant with a name in JSON; `None` if there is none.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }

            /// Returns the name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

named_enum! {
    /// Protocol of the addresses or ports of a layer.
    FlowProtocol, "FlowProtocol invalid" {
        /// MAC addresses.
        #[default]
        Ethernet = 0 "ETHERNET",
        /// IPv4 addresses.
        Ipv4 = 1 "IPV4",
        /// TCP ports.
        Tcp = 2 "TCP",
        /// UDP ports.
        Udp = 3 "UDP",
        /// SCTP ports.
        Sctp = 4 "SCTP",
        /// IPv6 addresses.
        Ipv6 = 5 "IPV6",
        /// ICMP, in flows from NetFlow.
        Icmpv4 = 6 "ICMPV4",
        /// ICMPv6, in flows from NetFlow.
        Icmpv6 = 7 "ICMPV6",
    }
}

record_enum!(IcmpType, "ICMPType invalid");

/// Way in which a flow ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum FinishType {
    /// The flow is open.
    #[default]
    NotFinished = 0,
    /// No packet arrived before a timeout, or the capture ended.
    Timeout = 1,
    /// Both ends sent a TCP FIN.
    TcpFin = 2,
    /// One end sent a TCP RST.
    TcpRst = 3,
    /// A new connection between the same ports began before an end of this flow was seen.
    Replaced = 4,
}

wire_enum!(FinishType);

impl FinishType {
    /// Returns the variant with this number in the protobuf schema; `None` if there is none.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::NotFinished),
            1 => Some(Self::Timeout),
            2 => Some(Self::TcpFin),
            3 => Some(Self::TcpRst),
            4 => Some(Self::Replaced),
            _ => None,
        }
    }
}

impl Serialize for FinishType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // COMPAT: clients expect a number, unlike for all other enums.
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for FinishType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i32::deserialize(deserializer)?;
        Self::from_number(number).ok_or_else(|| serde::de::Error::custom("FinishType invalid"))
    }
}

#[cfg(test)]
mod tests;
