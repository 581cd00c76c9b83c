//! `FlowField`: fields of a flow by the names that queries use.

mod names;

use std::fmt;

use super::metric::FlowMetric;
use super::record::Flow;
use super::tcp_metric::TcpMetricKey;
use crate::filter::{Fields, Predicate};
use crate::value::{Map, Text, Value};

/// One field of a flow, its dotted name compiled.
///
/// ```
/// use skylib::flow::{Flow, FlowField, FlowLayer};
/// use skylib::value::Value;
/// let network = FlowLayer { a: "10.0.0.1".into(), ..FlowLayer::default() };
/// let flow = Flow { network: Some(network), ..Flow::default() };
/// let field = FlowField::parse("IPV4.A").ok_or("a field")?;
/// assert_eq!(flow.value(&field), Some(Value::from("10.0.0.1")));
/// assert!(FlowField::parse("Nope").is_none());
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowField {
    /// A string.
    Text(TextField),
    /// An integer.
    Int(IntField),
    /// A whole sub-message.
    Object(ObjectField),
}

impl FlowField {
    /// `Last`, the default order.
    pub const LAST: Self = Self::Int(IntField::Plain(PlainInt::Last));
    /// `TrackingID`, the default of deduplication.
    pub const TRACKING_ID: Self = Self::Text(TextField::TrackingId);

    /// Compiles a name such as `UUID`, `Metric.ABBytes` or `Network`; `None` if no flow has it.
    ///
    /// COMPAT: what follows the part that names a field is ignored (`UUID.x`, `Link.A.x`), and the
    /// protocol aliases (`IPV6.A`, `TCP.Protocol`) do not look at the flow's real protocol.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(object) = ObjectField::exact(name) {
            return Some(Self::Object(object));
        }
        IntField::parse(name)
            .map(Self::Int)
            .or_else(|| TextField::parse(name).map(Self::Text))
    }

    /// Paths of all fields a record can hold, in record order: what `Keys()` lists.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        names::NAMES
    }
}

impl fmt::Display for FlowField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(field) => f.write_str(field.name()),
            Self::Int(field) => field.fmt(f),
            Self::Object(field) => f.write_str(field.name()),
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
            fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn exact(name: &str) -> Option<Self> {
                find(Self::ALL, |known| known == name)
            }

            const ALL: &[(Self, &'static str)] = &[$((Self::$variant, $text),)*];
        }
    };
}

names! {
    /// Fields that are strings.
    TextField {
        Uuid "UUID" "Identifier.",
        LayersPath "LayersPath" "Names of the layers.",
        TrackingId "TrackingID" "Tracking id, layer 2 included.",
        L3TrackingId "L3TrackingID" "Tracking id, layer 3 and up.",
        ParentUuid "ParentUUID" "Flow around this one.",
        NodeTid "NodeTID" "Node captured on.",
        Application "Application" "Application.",
        CaptureId "CaptureID" "Capture.",
        LinkProtocol "Link.Protocol" "Layer 2 protocol.",
        LinkA "Link.A" "MAC of end A.",
        LinkB "Link.B" "MAC of end B.",
        NetworkProtocol "Network.Protocol" "Layer 3 protocol.",
        NetworkA "Network.A" "IP address of end A.",
        NetworkB "Network.B" "IP address of end B.",
        TransportProtocol "Transport.Protocol" "Layer 4 protocol.",
        IcmpType "ICMP.Type" "Kind of ICMP message.",
        DnsOpCode "DNS.OpCode" "Operation of the last DNS message.",
        DnsResponseCode "DNS.ResponseCode" "Outcome of the last DNS message.",
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

/// Fields that are integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntField {
    /// A field named by itself.
    Plain(PlainInt),
    /// `Metric.*`: totals.
    Metric(MetricField),
    /// `LastUpdateMetric.*`: change since the previous update.
    LastUpdateMetric(MetricField),
    /// `TCPMetric.*`.
    TcpMetric(TcpMetricKey),
}

names! {
    /// Integers of the record and of its layers.
    PlainInt {
        Start "Start" "First packet, Unix ms.",
        Last "Last" "Last packet, Unix ms.",
        RawPacketsCaptured "RawPacketsCaptured" "Raw packets kept.",
        FinishType "FinishType" "How it ended, by number.",
        LinkId "Link.ID" "VLAN id.",
        NetworkId "Network.ID" "Tunnel id.",
        TransportA "Transport.A" "Port of end A.",
        TransportB "Transport.B" "Port of end B.",
        TransportId "Transport.ID" "Always 0.",
        IcmpCode "ICMP.Code" "ICMP code.",
        IcmpId "ICMP.ID" "ICMP echo id.",
        Fragments "IPMetric.Fragments" "Fragments that waited.",
        FragmentErrors "IPMetric.FragmentErrors" "Fragments refused.",
        DnsId "DNS.ID" "Id of the last DNS message.",
        DnsZ "DNS.Z" "Reserved bits of the last DNS message.",
        DnsQdCount "DNS.QDCount" "Questions of the last DNS message.",
        DnsAnCount "DNS.ANCount" "Answers of the last DNS message.",
        DnsNsCount "DNS.NSCount" "Authorities of the last DNS message.",
        DnsArCount "DNS.ARCount" "Additionals of the last DNS message.",
        DhcpHardwareLen "DHCPv4.HardwareLen" "Length of a hardware address.",
        DhcpHardwareOpts "DHCPv4.HardwareOpts" "Relay hops.",
        DhcpXid "DHCPv4.Xid" "Transaction.",
        DhcpSecs "DHCPv4.Secs" "Seconds since the client began.",
        DhcpFlags "DHCPv4.Flags" "Flags.",
        VrrpVersion "VRRPv2.Version" "VRRP version.",
        VrrpVirtualRouterId "VRRPv2.VirtualRtrID" "Virtual router.",
        VrrpPriority "VRRPv2.Priority" "Priority.",
        VrrpCountIpAddr "VRRPv2.CountIPAddr" "Addresses.",
        VrrpAdverInt "VRRPv2.AdverInt" "Advertisement interval, s.",
        VrrpChecksum "VRRPv2.Checksum" "Checksum.",
    }
}

names! {
    /// Fields of a [`FlowMetric`].
    MetricField {
        AbPackets "ABPackets" "Packets from A to B.",
        AbBytes "ABBytes" "Bytes from A to B.",
        BaPackets "BAPackets" "Packets from B to A.",
        BaBytes "BABytes" "Bytes from B to A.",
        Start "Start" "Begin, Unix ms.",
        Last "Last" "End, Unix ms.",
        Rtt "RTT" "Round-trip time, ns.",
    }
}

impl MetricField {
    /// By its name on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::exact(name)
    }
}

impl FlowMetric {
    /// One of its fields.
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
            "TCPMetric" => TcpMetricKey::parse(part).map(Self::TcpMetric),
            // COMPAT: the original finds it only so, with anything behind the dot.
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
    /// Sub-messages that queries can ask for whole.
    ObjectField {
        Metric "Metric" "Totals.",
        LastUpdateMetric "LastUpdateMetric" "Change since the previous update.",
        TcpMetric "TCPMetric" "TCP.",
        Link "Link" "Layer 2.",
        Network "Network" "Layer 3.",
        Transport "Transport" "Ports.",
        Icmp "ICMP" "ICMP.",
    }
}

/// Something whose flow fields can be read: a record, or a live entry of a table.
pub(super) trait FlowFields {
    fn int(&self, field: IntField) -> Option<i64>;
    /// Calls back with the text, if the field is there.
    fn with_text<R>(&self, field: TextField, read: impl FnOnce(&str) -> R) -> Option<R>;

    fn test_field(&self, field: &FlowField, predicate: &Predicate) -> bool {
        match field {
            FlowField::Int(field) => self.int(*field).is_some_and(|n| predicate.matches_int(n)),
            FlowField::Text(field) => self
                .with_text(*field, |text| predicate.matches_text(text))
                .unwrap_or(false),
            // COMPAT: a sub-message can be asked for even where it is absent.
            FlowField::Object(_) => matches!(predicate, Predicate::Present),
        }
    }
}

impl Flow {
    /// What a query gets for a field; `None` if the layer that has it is absent.
    ///
    /// An absent sub-message asked for whole is null (COMPAT: `Values('TCPMetric')`).
    #[must_use]
    pub fn value(&self, field: &FlowField) -> Option<Value> {
        match field {
            FlowField::Text(field) => self.text(*field).map(Value::from),
            FlowField::Int(field) => self.int(*field).map(Value::from),
            FlowField::Object(field) => Some(self.object(*field)),
        }
    }

    /// A string field; `None` if the layer that has it is absent.
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

    /// An integer field; `None` if the layer or metric that has it is absent.
    #[must_use]
    pub fn int(&self, field: IntField) -> Option<i64> {
        match field {
            IntField::Plain(field) => self.plain_int(field),
            IntField::Metric(field) => Some(self.metric.as_ref()?.get(field)),
            IntField::LastUpdateMetric(field) => Some(self.last_update_metric.as_ref()?.get(field)),
            IntField::TcpMetric(field) => Some(self.tcp_metric.as_ref()?.get(field)),
        }
    }

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

    fn object(&self, field: ObjectField) -> Value {
        match field {
            ObjectField::Metric => to_value(self.metric.as_ref()),
            ObjectField::LastUpdateMetric => to_value(self.last_update_metric.as_ref()),
            ObjectField::TcpMetric => to_value(self.tcp_metric.as_ref()),
            ObjectField::Link => to_value(self.link.as_ref()),
            ObjectField::Network => to_value(self.network.as_ref()),
            ObjectField::Transport => to_value(self.transport.as_ref()),
            ObjectField::Icmp => to_value(self.icmp.as_ref()),
        }
    }
}

/// A sub-message as a value, by way of its JSON.
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
}

impl Fields<FlowField> for Flow {
    fn test(&self, key: &FlowField, predicate: &Predicate) -> bool {
        self.test_field(key, predicate)
    }
}

/// A name that is no field passes no test.
impl Fields<Option<FlowField>> for Flow {
    fn test(&self, key: &Option<FlowField>, predicate: &Predicate) -> bool {
        key.as_ref()
            .is_some_and(|key| self.test_field(key, predicate))
    }
}

/// Compiles the name for each test; compile the filter instead where many flows are tested.
impl Fields<Text> for Flow {
    fn test(&self, key: &Text, predicate: &Predicate) -> bool {
        FlowField::parse(key).is_some_and(|key| self.test_field(&key, predicate))
    }
}

fn find<T: Copy>(all: &[(T, &'static str)], wanted: impl Fn(&str) -> bool) -> Option<T> {
    all.iter()
        .find(|(_, name)| wanted(name))
        .map(|(field, _)| *field)
}

/// The first two components of a dotted name.
fn first_two(name: &str) -> (&str, Option<&str>) {
    let mut parts = name.split('.');
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests;
