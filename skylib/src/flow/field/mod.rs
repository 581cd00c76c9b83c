//! `FlowField`: fields of a flow, by the dotted names in queries.

mod detail;
mod error;
mod layer;
mod names;

use std::fmt;
use std::str::FromStr;

pub use self::detail::DetailField;
pub use self::error::UnknownNameError;
pub use self::layer::LayerField;
use super::metric::FlowMetric;
use super::record::Flow;
use super::tcp_metric::TcpMetricField;
use crate::filter::{Fields, Predicate};
use crate::value::{Map, Text, Value};

/// Field of a flow, compiled from its dotted name.
///
/// ```
/// use skylib::flow::{Flow, FlowField, FlowLayer};
/// use skylib::value::Value;
/// let network = FlowLayer { a: "10.0.0.1".into(), ..FlowLayer::default() };
/// let flow = Flow::default().with_network(network);
/// let field: FlowField = "IPV4.A".parse()?;
/// assert_eq!(flow.value(&field), Some(Value::from("10.0.0.1")));
/// assert!(FlowField::parse("Nope").is_none());
/// # Ok::<(), skylib::flow::UnknownNameError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowField {
    /// String field.
    Text(TextField),
    /// Integer field.
    Int(IntField),
    /// Whole sub-message.
    Object(ObjectField),
    /// Field of a sub-message that few records have.
    Detail(DetailField),
    /// Field of an extra layer or of a stored packet.
    Layer(LayerField),
}

impl FlowField {
    /// `Last`, the default field of sorting.
    pub const LAST: Self = Self::Int(IntField::Plain(PlainInt::Last));
    /// `TrackingID`, the default field of deduplication.
    pub const TRACKING_ID: Self = Self::Text(TextField::TrackingId);

    /// Parses a name such as `UUID`, `Metric.ABBytes`, or `Network`; `None` if there is no such
    /// field.
    ///
    /// COMPAT: components after the name of a field are ignored (`UUID.x`, `Link.A.x`), and the
    /// protocol aliases (`IPV6.A`, `TCP.Protocol`) apply to flows of every protocol.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(object) = ObjectField::exact(name) {
            return Some(Self::Object(object));
        }
        if let Some(detail) = DetailField::parse(name) {
            return Some(Self::Detail(detail));
        }
        let plain = |name: &str| {
            let int = IntField::parse(name).map(Self::Int);
            int.or_else(|| TextField::parse(name).map(Self::Text))
        };
        plain(name).or_else(|| {
            let layer = LayerField::parse(name)?;
            // The spelling of the JSON record may denote a field of another kind.
            plain(layer.name()).or(Some(Self::Layer(layer)))
        })
    }

    /// Returns the paths of all fields of a record, in record order, as `Keys()` returns them.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        names::NAMES
    }
}

impl FromStr for FlowField {
    type Err = UnknownNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name).ok_or_else(|| {
            UnknownNameError::new("flow field", name, "expected a path such as Metric.ABBytes")
        })
    }
}

impl fmt::Display for FlowField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(field) => f.write_str(field.name()),
            Self::Int(field) => field.fmt(f),
            Self::Object(field) => f.write_str(field.name()),
            Self::Detail(field) => f.write_str(field.name()),
            Self::Layer(field) => f.write_str(field.name()),
        }
    }
}

macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $($variant:ident $text:literal $doc:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $type { $(#[doc = $doc] $variant,)* }

        impl $type {
            /// Returns the path of the field.
            fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Returns the field with exactly this path; `None` if there is none.
            fn exact(name: &str) -> Option<Self> {
                find(Self::ALL, |known| known == name)
            }

            /// All fields with their paths.
            const ALL: &[(Self, &'static str)] = &[$((Self::$variant, $text),)*];
        }
    };
}

names! {
    /// String field of a flow.
    TextField {
        Uuid "UUID" "Identifier of the flow at this capture point.",
        LayersPath "LayersPath" "Names of the layers.",
        TrackingId "TrackingID" "Identifier of the traffic from layer 2 up.",
        L3TrackingId "L3TrackingID" "Identifier of the traffic from layer 3 up.",
        ParentUuid "ParentUUID" "UUID of the enclosing flow.",
        NodeTid "NodeTID" "TID of the captured node.",
        Application "Application" "Application name.",
        CaptureId "CaptureID" "Identifier of the capture.",
        LinkProtocol "Link.Protocol" "Protocol at layer 2.",
        LinkA "Link.A" "MAC address of A.",
        LinkB "Link.B" "MAC address of B.",
        NetworkProtocol "Network.Protocol" "Protocol at layer 3.",
        NetworkA "Network.A" "IP address of A.",
        NetworkB "Network.B" "IP address of B.",
        TransportProtocol "Transport.Protocol" "Protocol at layer 4.",
        IcmpType "ICMP.Type" "Kind of ICMP message.",
        DnsOpCode "DNS.OpCode" "Operation of the last DNS message.",
        DnsResponseCode "DNS.ResponseCode" "Response code of the last DNS message.",
    }
}

impl TextField {
    fn parse(name: &str) -> Option<Self> {
        let (root, part) = first_two(name);
        if let Some(field) = Self::exact(root) {
            return Some(field);
        }
        let root = match root {
            "ETHERNET" => "Link",
            "IPV4" | "IPV6" => "Network",
            "TCP" | "UDP" | "SCTP" => "Transport",
            other => other,
        };
        let part = part?;
        find(Self::ALL, |known| {
            known.split_once('.') == Some((root, part))
        })
    }
}

/// Integer field of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntField {
    /// Field outside a metric.
    Plain(PlainInt),
    /// `Metric.*`: packets and bytes since the start of the flow.
    Metric(MetricField),
    /// `LastUpdateMetric.*`: packets and bytes of the last update interval.
    LastUpdateMetric(MetricField),
    /// `TCPMetric.*`: TCP times and stream counters.
    TcpMetric(TcpMetricField),
}

names! {
    /// Integer field of a flow outside its metrics.
    PlainInt {
        Start "Start" "Time of the first packet, in Unix milliseconds.",
        Last "Last" "Time of the last packet, in Unix milliseconds.",
        RawPacketsCaptured "RawPacketsCaptured" "Number of raw packets stored since the start of the flow.",
        FinishType "FinishType" "Finish type, as its number.",
        LinkId "Link.ID" "VLAN identifiers.",
        NetworkId "Network.ID" "Tunnel identifier.",
        TransportA "Transport.A" "Port of A.",
        TransportB "Transport.B" "Port of B.",
        TransportId "Transport.ID" "Always 0.",
        IcmpCode "ICMP.Code" "ICMP code.",
        IcmpId "ICMP.ID" "ICMP echo identifier.",
        Fragments "IPMetric.Fragments" "Number of IPv4 fragments buffered for reassembly.",
        FragmentErrors "IPMetric.FragmentErrors" "Number of rejected IPv4 fragments.",
        DnsId "DNS.ID" "Identifier of the last DNS message.",
        DnsZ "DNS.Z" "Reserved bits of the last DNS message.",
        DnsQdCount "DNS.QDCount" "Number of questions of the last DNS message.",
        DnsAnCount "DNS.ANCount" "Number of answers of the last DNS message.",
        DnsNsCount "DNS.NSCount" "Number of authority records of the last DNS message.",
        DnsArCount "DNS.ARCount" "Number of additional records of the last DNS message.",
        DhcpHardwareLen "DHCPv4.HardwareLen" "Length of a DHCPv4 hardware address, in bytes.",
        DhcpHardwareOpts "DHCPv4.HardwareOpts" "Number of DHCPv4 relay agents passed (`hops`).",
        DhcpXid "DHCPv4.Xid" "DHCPv4 transaction identifier.",
        DhcpSecs "DHCPv4.Secs" "Seconds since the DHCPv4 client started.",
        DhcpFlags "DHCPv4.Flags" "DHCPv4 flags.",
        VrrpVersion "VRRPv2.Version" "VRRP version.",
        VrrpVirtualRouterId "VRRPv2.VirtualRtrID" "VRRP virtual router identifier.",
        VrrpPriority "VRRPv2.Priority" "VRRP priority.",
        VrrpCountIpAddr "VRRPv2.CountIPAddr" "Number of VRRP addresses.",
        VrrpAdverInt "VRRPv2.AdverInt" "VRRP advertisement interval, in seconds.",
        VrrpChecksum "VRRPv2.Checksum" "VRRP checksum.",
    }
}

names! {
    /// Field of a [`FlowMetric`].
    MetricField {
        AbPackets "ABPackets" "Packets from A to B.",
        AbBytes "ABBytes" "Bytes from A to B.",
        BaPackets "BAPackets" "Packets from B to A.",
        BaBytes "BABytes" "Bytes from B to A.",
        Start "Start" "Start of the interval, in Unix milliseconds.",
        Last "Last" "End of the interval, in Unix milliseconds.",
        Rtt "RTT" "Round-trip time, in nanoseconds.",
    }
}

impl MetricField {
    /// Parses a wire name such as `ABBytes`; `None` if there is no such field.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::exact(name)
    }
}

impl FromStr for MetricField {
    type Err = UnknownNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name).ok_or_else(|| {
            UnknownNameError::new("metric field", name, "expected a name such as ABBytes")
        })
    }
}

impl FlowMetric {
    /// Returns the value of a field.
    #[must_use]
    pub const fn get(&self, field: MetricField) -> i64 {
        match field {
            MetricField::AbPackets => self.ab_packets,
            MetricField::AbBytes => self.ab_bytes,
            MetricField::BaPackets => self.ba_packets,
            MetricField::BaBytes => self.ba_bytes,
            MetricField::Start => self.start,
            MetricField::Last => self.last,
            MetricField::Rtt => self.rtt,
        }
    }
}

impl IntField {
    fn parse(name: &str) -> Option<Self> {
        let (root, part) = first_two(name);
        let Some(part) = part else {
            return PlainInt::exact(root).map(Self::Plain);
        };
        match root {
            "Metric" => MetricField::exact(part).map(Self::Metric),
            "LastUpdateMetric" => MetricField::exact(part).map(Self::LastUpdateMetric),
            "TCPMetric" => TcpMetricField::parse(part).map(Self::TcpMetric),
            // COMPAT: Skydive finds this field only with a second component, which may be any name.
            "RawPacketsCaptured" => Some(Self::Plain(PlainInt::RawPacketsCaptured)),
            _ => {
                let root = if root == "VRRP" { "VRRPv2" } else { root };
                find(PlainInt::ALL, |known| {
                    known.split_once('.') == Some((root, part))
                })
                .map(Self::Plain)
            }
        }
    }
}

impl fmt::Display for IntField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(field) => f.write_str(field.name()),
            Self::Metric(field) => write!(f, "Metric.{}", field.name()),
            Self::LastUpdateMetric(field) => write!(f, "LastUpdateMetric.{}", field.name()),
            Self::TcpMetric(field) => write!(f, "TCPMetric.{}", field.name()),
        }
    }
}

names! {
    /// Sub-message of a flow that a query can return as a whole.
    ObjectField {
        Metric "Metric" "Packets and bytes since the start of the flow.",
        LastUpdateMetric "LastUpdateMetric" "Packets and bytes of the last update interval.",
        TcpMetric "TCPMetric" "TCP times and stream counters.",
        Link "Link" "MAC addresses.",
        Network "Network" "IP addresses.",
        Transport "Transport" "Ports.",
        Icmp "ICMP" "ICMP type, code, and identifier.",
        Wire "Wire" "Tags, identifiers, and capture point.",
        Initiator "Initiator" "End that opened the flow.",
        RttMetric "RTTMetric" "Statistics of round-trip times.",
        Arp "ARP" "Contents of the first ARP packet.",
        About "About" "Flow that an ICMP error refers to.",
        IcmpErrors "ICMPErrors" "ICMP errors that refer to the flow.",
        Offload "Offload" "Estimate of the segments on the wire.",
        DnsMetric "DNSMetric" "Counters of DNS messages.",
        Export "Export" "Exporter of the flow.",
    }
}

/// Access to the fields of a flow: of a record, or of an entry of a table.
pub(super) trait FlowFields {
    /// Returns an integer field; `None` if it is absent.
    fn int(&self, field: IntField) -> Option<i64>;
    /// Calls `read` with a string field and returns its result; `None` if the field is absent.
    fn with_text<R>(&self, field: TextField, read: impl FnOnce(&str) -> R) -> Option<R>;

    /// Calls `read` with a record that has the sub-messages of the [`DetailField`]s, and returns
    /// its result.
    fn with_details<R>(&self, read: impl FnOnce(&Flow) -> R) -> R;

    /// Returns whether a field satisfies a predicate; false if the field is absent.
    fn test_field(&self, field: &FlowField, predicate: &Predicate) -> bool {
        match field {
            FlowField::Int(field) => self.int(*field).is_some_and(|n| predicate.matches_int(n)),
            FlowField::Text(field) => self
                .with_text(*field, |text| predicate.matches_text(text))
                .unwrap_or(false),
            // COMPAT: an absent sub-message counts as present.
            FlowField::Object(_) => matches!(predicate, Predicate::Present),
            FlowField::Detail(field) => self.with_details(|flow| field.test(flow, predicate)),
            FlowField::Layer(field) => self.with_details(|flow| field.test(flow, predicate)),
        }
    }
}

impl Flow {
    /// Returns the value of a field in queries; `None` if the layer with the field is absent.
    ///
    /// The value of an absent sub-message is null (COMPAT: `Values('TCPMetric')`).
    #[must_use]
    pub fn value(&self, field: &FlowField) -> Option<Value> {
        match field {
            FlowField::Text(field) => self.text(*field).map(Value::from),
            FlowField::Int(field) => self.int(*field).map(Value::from),
            FlowField::Object(field) => Some(self.object(*field)),
            FlowField::Detail(field) => field.value(self),
            FlowField::Layer(field) => field.value(self),
        }
    }

    /// Returns a string field; `None` if the layer with the field is absent.
    #[must_use]
    pub fn text(&self, field: TextField) -> Option<&str> {
        let text: &str = match field {
            TextField::Uuid => &self.uuid,
            TextField::LayersPath => &self.layers_path,
            TextField::TrackingId => &self.tracking_id,
            TextField::L3TrackingId => &self.l3_tracking_id,
            TextField::ParentUuid => &self.parent_uuid,
            TextField::NodeTid => &self.node_tid,
            TextField::Application => &self.application,
            TextField::CaptureId => &self.capture_id,
            TextField::LinkProtocol => self.link.as_ref()?.protocol.name(),
            TextField::LinkA => &self.link.as_ref()?.a,
            TextField::LinkB => &self.link.as_ref()?.b,
            TextField::NetworkProtocol => self.network.as_ref()?.protocol.name(),
            TextField::NetworkA => &self.network.as_ref()?.a,
            TextField::NetworkB => &self.network.as_ref()?.b,
            TextField::TransportProtocol => self.transport.as_ref()?.protocol.name(),
            TextField::IcmpType => self.icmp.as_ref()?.kind.name(),
            TextField::DnsOpCode => &self.dns.as_ref()?.op_code,
            TextField::DnsResponseCode => &self.dns.as_ref()?.response_code,
        };
        Some(text)
    }

    /// Returns an integer field; `None` if the layer or metric with the field is absent.
    #[must_use]
    pub fn int(&self, field: IntField) -> Option<i64> {
        match field {
            IntField::Plain(field) => self.plain_int(field),
            IntField::Metric(field) => Some(self.metric.as_ref()?.get(field)),
            IntField::LastUpdateMetric(field) => Some(self.last_update_metric.as_ref()?.get(field)),
            IntField::TcpMetric(field) => Some(self.tcp_metric.as_ref()?.get(field)),
        }
    }

    /// Returns an integer field outside a metric.
    fn plain_int(&self, field: PlainInt) -> Option<i64> {
        let dns = self.dns.as_ref();
        let dhcp = self.dhcpv4.as_ref();
        let vrrp = self.vrrpv2.as_ref();
        Some(match field {
            PlainInt::Start => self.start,
            PlainInt::Last => self.last,
            PlainInt::RawPacketsCaptured => self.raw_packets_captured,
            PlainInt::FinishType => i64::from(self.finish_type as u8),
            PlainInt::LinkId => self.link.as_ref()?.id,
            PlainInt::NetworkId => self.network.as_ref()?.id,
            PlainInt::TransportA => self.transport?.a,
            PlainInt::TransportB => self.transport?.b,
            PlainInt::TransportId => self.transport?.id,
            PlainInt::IcmpCode => self.icmp?.code.into(),
            PlainInt::IcmpId => self.icmp?.id.into(),
            PlainInt::Fragments => self.ip_metric?.fragments,
            PlainInt::FragmentErrors => self.ip_metric?.fragment_errors,
            PlainInt::DnsId => dns?.id.into(),
            PlainInt::DnsZ => dns?.z.into(),
            PlainInt::DnsQdCount => dns?.qd_count.into(),
            PlainInt::DnsAnCount => dns?.an_count.into(),
            PlainInt::DnsNsCount => dns?.ns_count.into(),
            PlainInt::DnsArCount => dns?.ar_count.into(),
            PlainInt::DhcpHardwareLen => dhcp?.hardware_len.into(),
            PlainInt::DhcpHardwareOpts => dhcp?.hardware_opts.into(),
            PlainInt::DhcpXid => dhcp?.xid.into(),
            PlainInt::DhcpSecs => dhcp?.secs.into(),
            PlainInt::DhcpFlags => dhcp?.flags.into(),
            PlainInt::VrrpVersion => vrrp?.version.into(),
            PlainInt::VrrpVirtualRouterId => vrrp?.virtual_rtr_id.into(),
            PlainInt::VrrpPriority => vrrp?.priority.into(),
            PlainInt::VrrpCountIpAddr => vrrp?.count_ip_addr.into(),
            PlainInt::VrrpAdverInt => vrrp?.adver_int.into(),
            PlainInt::VrrpChecksum => vrrp?.checksum.into(),
        })
    }

    /// Returns a sub-message, or null if it is absent.
    fn object(&self, field: ObjectField) -> Value {
        match field {
            ObjectField::Metric => to_value(self.metric.as_ref()),
            ObjectField::LastUpdateMetric => to_value(self.last_update_metric.as_ref()),
            ObjectField::TcpMetric => to_value(self.tcp_metric.as_ref()),
            ObjectField::Link => to_value(self.link.as_ref()),
            ObjectField::Network => to_value(self.network.as_ref()),
            ObjectField::Transport => to_value(self.transport.as_ref()),
            ObjectField::Icmp => to_value(self.icmp.as_ref()),
            ObjectField::Wire => to_value(self.wire.as_ref()),
            ObjectField::Initiator => to_value(self.initiator.as_ref()),
            ObjectField::RttMetric => to_value(self.rtt_metric.as_ref()),
            ObjectField::Arp => to_value(self.arp.as_ref()),
            ObjectField::About => to_value(self.about.as_ref()),
            ObjectField::IcmpErrors => to_value(self.icmp_errors.as_ref()),
            ObjectField::Offload => to_value(self.offload.as_ref()),
            ObjectField::DnsMetric => to_value(self.dns_metric.as_ref()),
            ObjectField::Export => to_value(self.export.as_ref()),
        }
    }
}

/// Returns a sub-message as a value, converted through its JSON.
fn to_value<T: serde::Serialize>(message: Option<&T>) -> Value {
    let Some(message) = message else {
        return Value::Null;
    };
    let map: Option<Map> = serde_json::to_vec(message)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    map.map_or(Value::Null, Value::from)
}

impl FlowFields for Flow {
    fn int(&self, field: IntField) -> Option<i64> {
        Self::int(self, field)
    }

    fn with_text<R>(&self, field: TextField, read: impl FnOnce(&str) -> R) -> Option<R> {
        self.text(field).map(read)
    }

    fn with_details<R>(&self, read: impl FnOnce(&Self) -> R) -> R {
        read(self)
    }
}

impl Fields<FlowField> for Flow {
    fn test(&self, key: &FlowField, predicate: &Predicate) -> bool {
        self.test_field(key, predicate)
    }
}

/// Compiled filter keys. `None` means that a name is not a field; it matches nothing.
impl Fields<Option<FlowField>> for Flow {
    fn test(&self, key: &Option<FlowField>, predicate: &Predicate) -> bool {
        key.as_ref()
            .is_some_and(|key| self.test_field(key, predicate))
    }
}

/// Filter keys by name, parsed for each test. To test many flows, use
/// [`Filter::map_keys`](crate::filter::Filter::map_keys).
impl Fields<Text> for Flow {
    fn test(&self, key: &Text, predicate: &Predicate) -> bool {
        FlowField::parse(key).is_some_and(|key| self.test_field(&key, predicate))
    }
}

/// Returns the first field whose name satisfies `wanted`; `None` if there is none.
fn find<T: Copy>(all: &[(T, &'static str)], wanted: impl Fn(&str) -> bool) -> Option<T> {
    all.iter()
        .find(|(_, name)| wanted(name))
        .map(|(field, _)| *field)
}

/// Returns the first two components of a dotted name.
fn first_two(name: &str) -> (&str, Option<&str>) {
    let mut parts = name.split('.');
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests;
