//! `Flow`: the record that clients see, in JSON and protobuf.
//!
//! A table makes records when it sends, answers or expires flows; agents and files bring them in
//! from elsewhere. JSON goes through serde without a tree in between, protobuf through [`prost`]
//! (`prost::Message::encode_to_vec`, `decode`); field numbers and JSON keys are Skydive's.

use prost::bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::extra_layers::records::{Dhcpv4Layer, DnsLayer, Vrrpv2Layer};
use super::metric::{FlowMetric, IpMetric};
use super::protobuf::{wire_enum, wire_message};
use super::tcp_metric::TcpMetric;
use crate::value::Text;

/// Traffic between two ends, seen at one capture point.
///
/// ```
/// use skylib::flow::{Flow, FlowMetric};
/// let flow = Flow {
///     uuid: "650ae6e46b29f27b".into(),
///     layers_path: "Ethernet/ARP".into(),
///     metric: Some(FlowMetric::default()),
///     ..Flow::default()
/// };
/// let json = serde_json::to_string(&flow)?;
/// assert!(json.starts_with(r#"{"UUID":"650ae6e46b29f27b","LayersPath":"Ethernet/ARP","Metric":"#));
/// assert_eq!(serde_json::from_str::<Flow>(&json)?, flow);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// Identifier of this flow at this capture point, lower-case hex without padding.
    #[serde(rename = "UUID", skip_serializing_if = "no_text")]
    pub uuid: Text,
    /// Names of the layers, `Ethernet/IPv4/TCP`.
    #[serde(rename = "LayersPath", skip_serializing_if = "no_text")]
    pub layers_path: Text,
    /// Name of the last layer, or what the port map says.
    #[serde(rename = "Application", skip_serializing_if = "no_text")]
    pub application: Text,
    /// Layer 2 ends.
    #[serde(rename = "Link", skip_serializing_if = "Option::is_none")]
    pub link: Option<FlowLayer>,
    /// Layer 3 ends.
    #[serde(rename = "Network", skip_serializing_if = "Option::is_none")]
    pub network: Option<FlowLayer>,
    /// Ports.
    #[serde(rename = "Transport", skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportLayer>,
    /// ICMP type, code and id.
    #[serde(rename = "ICMP", skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpLayer>,
    /// Contents of DHCPv4, if asked for.
    #[serde(rename = "DHCPv4", skip_serializing_if = "Option::is_none")]
    pub dhcpv4: Option<Box<Dhcpv4Layer>>,
    /// Contents of DNS, if asked for.
    #[serde(rename = "DNS", skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<DnsLayer>>,
    /// Contents of VRRP, if asked for.
    #[serde(rename = "VRRPv2", skip_serializing_if = "Option::is_none")]
    pub vrrpv2: Option<Box<Vrrpv2Layer>>,
    /// Change since the previous update of the table.
    #[serde(rename = "LastUpdateMetric", skip_serializing_if = "Option::is_none")]
    pub last_update_metric: Option<FlowMetric>,
    /// Totals since the flow began.
    #[serde(rename = "Metric", skip_serializing_if = "Option::is_none")]
    pub metric: Option<FlowMetric>,
    /// What the TCP headers told, if asked for.
    #[serde(rename = "TCPMetric", skip_serializing_if = "Option::is_none")]
    pub tcp_metric: Option<TcpMetric>,
    /// What defragmentation saw, if asked for.
    #[serde(rename = "IPMetric", skip_serializing_if = "Option::is_none")]
    pub ip_metric: Option<IpMetric>,
    /// First packet, Unix ms.
    #[serde(rename = "Start")]
    pub start: i64,
    /// Last packet, Unix ms.
    #[serde(rename = "Last")]
    pub last: i64,
    /// Equal for the same traffic seen elsewhere, layer 2 included; hex.
    #[serde(rename = "TrackingID", skip_serializing_if = "no_text")]
    pub tracking_id: Text,
    /// Equal for the same traffic seen elsewhere, layer 3 and up; hex.
    #[serde(rename = "L3TrackingID", skip_serializing_if = "no_text")]
    pub l3_tracking_id: Text,
    /// The flow around this one; empty for an outermost flow.
    #[serde(rename = "ParentUUID")]
    pub parent_uuid: Text,
    /// `TID` of the node captured on.
    #[serde(rename = "NodeTID", skip_serializing_if = "no_text")]
    pub node_tid: Text,
    /// Identifier of the capture.
    #[serde(rename = "CaptureID", skip_serializing_if = "no_text")]
    pub capture_id: Text,
    /// Raw packets since the last update; in protobuf, never written as JSON.
    #[serde(rename = "LastRawPackets", skip_serializing)]
    pub last_raw_packets: Vec<RawPacket>,
    /// Raw packets kept since the flow began.
    #[serde(rename = "RawPacketsCaptured")]
    pub raw_packets_captured: i64,
    /// How it ended.
    #[serde(rename = "FinishType", skip_serializing_if = "is_default")]
    pub finish_type: FinishType,
}

wire_message!(Flow {
    1 => uuid, 2 => layers_path, 3 => application, 6 => parent_uuid, 10 => start, 11 => last,
    20 => link, 21 => network, 22 => transport, 23 => icmp,
    31 => last_update_metric, 32 => metric, 33 => node_tid, 34 => capture_id,
    36 => last_raw_packets, 37 => raw_packets_captured, 38 => tcp_metric, 39 => ip_metric,
    50 => tracking_id, 51 => l3_tracking_id, 60 => finish_type,
    1000 => dhcpv4, 1001 => dns, 1002 => vrrpv2,
});

/// The two ends on layer 2 or 3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowLayer {
    /// What `a` and `b` are.
    #[serde(rename = "Protocol")]
    pub protocol: FlowProtocol,
    /// Source of the first packet: MAC or IP address.
    #[serde(rename = "A", skip_serializing_if = "no_text")]
    pub a: Text,
    /// Destination of the first packet.
    #[serde(rename = "B", skip_serializing_if = "no_text")]
    pub b: Text,
    /// VLAN id on layer 2 (outermost tag in the lowest 12 bits), tunnel id on layer 3.
    #[serde(rename = "ID")]
    pub id: i64,
}

wire_message!(FlowLayer { 1 => protocol, 3 => a, 4 => b, 5 => id });

/// The two ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransportLayer {
    /// Whose ports they are.
    #[serde(rename = "Protocol")]
    pub protocol: FlowProtocol,
    /// Source port of the first packet.
    #[serde(rename = "A")]
    pub a: i64,
    /// Destination port of the first packet.
    #[serde(rename = "B")]
    pub b: i64,
    /// Always 0.
    #[serde(rename = "ID")]
    pub id: i64,
}

wire_message!(TransportLayer { 1 => protocol, 2 => a, 3 => b, 4 => id });

/// ICMP of either version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IcmpLayer {
    /// Kind of message, request and reply alike.
    #[serde(rename = "Type")]
    pub kind: IcmpType,
    /// Code of the first packet.
    #[serde(rename = "Code", skip_serializing_if = "is_default")]
    pub code: u32,
    /// Echo id; for ICMPv4 bytes 4 and 5 of any type.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: u32,
}

wire_message!(IcmpLayer { 1 => kind, 2 => code, 3 => id });

/// A packet kept with its flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawPacket {
    /// Capture time, Unix ms.
    #[serde(rename = "Timestamp")]
    pub timestamp: i64,
    /// Its number in the flow, from 1.
    #[serde(rename = "Index")]
    pub index: i64,
    /// The bytes from the first layer of the flow on, as captured.
    #[serde(
        rename = "Data",
        skip_serializing_if = "Bytes::is_empty",
        with = "crate::flow::extra_layers::records::base64_bytes"
    )]
    pub data: Bytes,
    /// Type of the first layer, a `LINKTYPE_` number of libpcap; 0 if there is none.
    #[serde(rename = "LinkType", skip_serializing_if = "is_default")]
    pub link_type: u32,
}

wire_message!(RawPacket { 1 => timestamp, 2 => index, 3 => data, 4 => link_type });

fn no_text(text: &Text) -> bool {
    text.is_empty()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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

        wire_enum!($name);

        impl $name {
            /// By its number on the wire.
            #[must_use]
            pub const fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// By its name in JSON.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }

            /// Its name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

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

named_enum! {
    /// Whose addresses or ports a layer holds.
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
        /// ICMP, in flows made from NetFlow.
        Icmpv4 = 6 "ICMPV4",
        /// ICMPv6, in flows made from NetFlow.
        Icmpv6 = 7 "ICMPV6",
    }
}

named_enum! {
    /// Kind of ICMP message; request and reply share one, so both directions share a flow.
    IcmpType, "ICMPType invalid" {
        /// Anything else.
        #[default]
        Unknown = 0 "UNKNOWN",
        /// Destination unreachable.
        DestinationUnreachable = 1 "DESTINATION_UNREACHABLE",
        /// Echo request and reply.
        Echo = 2 "ECHO",
        /// Neighbour solicitation and advertisement.
        Neighbor = 3 "NEIGHBOR",
        /// Address mask request and reply.
        AddressMask = 4 "ADDRESS_MASK",
        /// Information request and reply.
        Info = 5 "INFO",
        /// Parameter problem.
        ParameterProblem = 6 "PARAMETER_PROBLEM",
        /// Redirect.
        Redirect = 7 "REDIRECT",
        /// Router solicitation and advertisement.
        Router = 8 "ROUTER",
        /// Source quench.
        SourceQuench = 9 "SOURCE_QUENCH",
        /// Time exceeded.
        TimeExceeded = 10 "TIME_EXCEEDED",
        /// Timestamp request and reply.
        Timestamp = 11 "TIMESTAMP",
        /// Packet too big.
        PacketTooBig = 12 "PACKET_TOO_BIG",
    }
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum FinishType {
    /// It goes on.
    #[default]
    NotFinished = 0,
    /// Nothing came any more, or the capture ended.
    Timeout = 1,
    /// TCP closed it.
    TcpFin = 2,
    /// TCP reset it.
    TcpRst = 3,
}

wire_enum!(FinishType);

impl FinishType {
    /// By its number on the wire.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::NotFinished),
            1 => Some(Self::Timeout),
            2 => Some(Self::TcpFin),
            3 => Some(Self::TcpRst),
            _ => None,
        }
    }
}

impl Serialize for FinishType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // COMPAT: the one enum that clients get as a number.
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
