//! `DetailField`: fields of the sub-messages that few records have, found by a linear search of one
//! table.

use std::fmt;

use self::Detail::{Int, List, Text};
use crate::filter::Predicate;
use crate::flow::record::Flow;
use crate::value::Value;

/// Field of a sub-message such as `Wire`, `RTTMetric`, or `About`: an index into `DETAILS`, always
/// in range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DetailField(usize);

/// Accessor of a field; `None` if it is absent.
enum Detail {
    Int(fn(&Flow) -> Option<i64>),
    Text(fn(&Flow) -> Option<&str>),
    List(fn(&Flow) -> Option<&[u32]>),
}

impl DetailField {
    /// Parses a path such as `Wire.SPI`; `None` if there is no such field. The spelling of the JSON
    /// record, `DNSMetric.LastFailure.response_code`, is a path too.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let is = |path: &str| {
            let letters = name.bytes().filter(|byte| *byte != b'_');
            path == name
                || letters
                    .map(|byte| byte.to_ascii_lowercase())
                    .eq(path.bytes().map(|byte| byte.to_ascii_lowercase()))
        };
        DETAILS.iter().position(|(path, _)| is(path)).map(Self)
    }

    /// Returns the path of the field.
    #[must_use]
    pub fn name(self) -> &'static str {
        DETAILS[self.0].0
    }

    /// Returns the value; `None` if the flow does not have the field.
    pub(super) fn value(self, flow: &Flow) -> Option<Value> {
        match DETAILS[self.0].1 {
            Int(read) => read(flow).map(Value::from),
            Text(read) => read(flow).filter(|text| !text.is_empty()).map(Value::from),
            List(read) => {
                let numbers = read(flow).filter(|numbers| !numbers.is_empty())?;
                let numbers = numbers.iter().map(|n| Value::from(i64::from(*n)));
                Some(numbers.collect::<Vec<_>>().into())
            }
        }
    }

    /// Returns whether the value, or an element of a list, satisfies a predicate.
    pub(super) fn test(self, flow: &Flow, predicate: &Predicate) -> bool {
        match DETAILS[self.0].1 {
            Int(read) => read(flow).is_some_and(|n| predicate.matches_int(n)),
            Text(read) => read(flow)
                .filter(|text| !text.is_empty())
                .is_some_and(|text| predicate.matches_text(text)),
            List(read) => read(flow).is_some_and(|numbers| {
                numbers.iter().any(|n| predicate.matches_int(i64::from(*n)))
            }),
        }
    }

    /// Returns all fields, in the order of the record.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..DETAILS.len()).map(Self)
    }
}

impl fmt::Debug for DetailField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns a number; `None` for 0, which means that the value is unknown.
fn known(number: impl Into<i64>) -> Option<i64> {
    Some(number.into()).filter(|number| *number != 0)
}

/// Path and accessor of each field.
const DETAILS: &[(&str, Detail)] = &[
    (
        "Wire.Interface",
        Text(|f| Some(&f.wire.as_ref()?.interface)),
    ),
    ("Wire.IfIndex", Int(|f| known(f.wire.as_ref()?.if_index))),
    ("Wire.VLAN", List(|f| Some(&f.wire.as_ref()?.vlan))),
    ("Wire.MPLS", List(|f| Some(&f.wire.as_ref()?.mpls))),
    ("Wire.BAMPLS", List(|f| Some(&f.wire.as_ref()?.ba_mpls))),
    ("Wire.PPPoE", Int(|f| known(f.wire.as_ref()?.pppoe))),
    (
        "Wire.EtherType",
        Int(|f| known(f.wire.as_ref()?.ether_type)),
    ),
    (
        "Wire.IPProtocol",
        Int(|f| known(f.wire.as_ref()?.ip_protocol)),
    ),
    ("Wire.SPI", Int(|f| known(f.wire.as_ref()?.spi))),
    ("Wire.TEID", Int(|f| known(f.wire.as_ref()?.teid))),
    ("Wire.BATEID", Int(|f| known(f.wire.as_ref()?.ba_teid))),
    (
        "Wire.GREKey",
        Int(|f| f.wire.as_ref()?.gre_key.map(i64::from)),
    ),
    ("Wire.Session", Int(|f| known(f.wire.as_ref()?.session))),
    (
        "Wire.BASession",
        Int(|f| known(f.wire.as_ref()?.ba_session)),
    ),
    (
        "Wire.ServicePath",
        Int(|f| known(f.wire.as_ref()?.service_path)),
    ),
    (
        "Wire.ServiceInstance",
        Int(|f| known(f.wire.as_ref()?.service_instance)),
    ),
    (
        "Wire.BAParentUUID",
        Text(|f| Some(&f.wire.as_ref()?.ba_parent_uuid)),
    ),
    (
        "Initiator.Side",
        Text(|f| Some(&f.initiator.as_ref()?.side)),
    ),
    ("Initiator.By", Text(|f| Some(&f.initiator.as_ref()?.by))),
    (
        "RTTMetric.Samples",
        Int(|f| Some(f.rtt_metric.as_ref()?.samples)),
    ),
    ("RTTMetric.Min", Int(|f| Some(f.rtt_metric.as_ref()?.min))),
    ("RTTMetric.Max", Int(|f| Some(f.rtt_metric.as_ref()?.max))),
    ("RTTMetric.Last", Int(|f| Some(f.rtt_metric.as_ref()?.last))),
    ("RTTMetric.Sum", Int(|f| Some(f.rtt_metric.as_ref()?.sum))),
    (
        "RTTMetric.Jitter",
        Int(|f| Some(f.rtt_metric.as_ref()?.jitter)),
    ),
    (
        "RTTMetric.Requests",
        Int(|f| Some(f.rtt_metric.as_ref()?.requests)),
    ),
    (
        "RTTMetric.Unanswered",
        Int(|f| Some(f.rtt_metric.as_ref()?.unanswered)),
    ),
    (
        "RTTMetric.ABRTT",
        Int(|f| Some(f.rtt_metric.as_ref()?.ab_rtt)),
    ),
    (
        "RTTMetric.BARTT",
        Int(|f| Some(f.rtt_metric.as_ref()?.ba_rtt)),
    ),
    ("ARP.Operation", Text(|f| Some(&f.arp.as_ref()?.operation))),
    ("ARP.SenderMAC", Text(|f| Some(&f.arp.as_ref()?.sender_mac))),
    ("ARP.SenderIP", Text(|f| Some(&f.arp.as_ref()?.sender_ip))),
    ("ARP.TargetMAC", Text(|f| Some(&f.arp.as_ref()?.target_mac))),
    ("ARP.TargetIP", Text(|f| Some(&f.arp.as_ref()?.target_ip))),
    ("About.UUID", Text(|f| Some(&f.about.as_ref()?.uuid))),
    (
        "About.TrackingID",
        Text(|f| Some(&f.about.as_ref()?.tracking_id)),
    ),
    (
        "About.Network.Protocol",
        Text(|f| Some(f.about.as_ref()?.network.as_ref()?.protocol.name())),
    ),
    (
        "About.Network.A",
        Text(|f| Some(&f.about.as_ref()?.network.as_ref()?.a)),
    ),
    (
        "About.Network.B",
        Text(|f| Some(&f.about.as_ref()?.network.as_ref()?.b)),
    ),
    (
        "About.Transport.Protocol",
        Text(|f| Some(f.about.as_ref()?.transport.as_ref()?.protocol.name())),
    ),
    (
        "About.Transport.A",
        Int(|f| Some(f.about.as_ref()?.transport?.a)),
    ),
    (
        "About.Transport.B",
        Int(|f| Some(f.about.as_ref()?.transport?.b)),
    ),
    (
        "About.IPProtocol",
        Int(|f| known(f.about.as_ref()?.ip_protocol)),
    ),
    (
        "ICMPErrors.Count",
        Int(|f| Some(f.icmp_errors.as_ref()?.count)),
    ),
    (
        "ICMPErrors.LastType",
        Text(|f| Some(&f.icmp_errors.as_ref()?.last_type)),
    ),
    (
        "ICMPErrors.LastCode",
        Int(|f| Some(f.icmp_errors.as_ref()?.last_code.into())),
    ),
    (
        "ICMPErrors.Last",
        Int(|f| Some(f.icmp_errors.as_ref()?.last)),
    ),
    (
        "ICMPErrors.MTU",
        Int(|f| known(f.icmp_errors.as_ref()?.mtu)),
    ),
    (
        "Offload.ABSegments",
        Int(|f| Some(f.offload.as_ref()?.ab_segments)),
    ),
    (
        "Offload.BASegments",
        Int(|f| Some(f.offload.as_ref()?.ba_segments)),
    ),
    (
        "Offload.ABWireBytes",
        Int(|f| Some(f.offload.as_ref()?.ab_wire_bytes)),
    ),
    (
        "Offload.BAWireBytes",
        Int(|f| Some(f.offload.as_ref()?.ba_wire_bytes)),
    ),
    (
        "Offload.SegmentSize",
        Int(|f| Some(f.offload.as_ref()?.segment_size.into())),
    ),
    (
        "Offload.Exact",
        Int(|f| Some(f.offload.as_ref()?.exact.into())),
    ),
    (
        "DNSMetric.Queries",
        Int(|f| Some(f.dns_metric.as_ref()?.queries)),
    ),
    (
        "DNSMetric.Responses",
        Int(|f| Some(f.dns_metric.as_ref()?.responses)),
    ),
    (
        "DNSMetric.Failures",
        Int(|f| Some(f.dns_metric.as_ref()?.failures)),
    ),
    (
        "DNSMetric.Unanswered",
        Int(|f| Some(f.dns_metric.as_ref()?.unanswered)),
    ),
    (
        "DNSMetric.LastFailure.ID",
        Int(|f| Some(f.dns_metric.as_ref()?.last_failure.as_ref()?.id.into())),
    ),
    (
        "DNSMetric.LastFailure.Name",
        Text(|f| Some(&f.dns_metric.as_ref()?.last_failure.as_ref()?.name)),
    ),
    (
        "DNSMetric.LastFailure.Type",
        Text(|f| Some(&f.dns_metric.as_ref()?.last_failure.as_ref()?.kind)),
    ),
    (
        "DNSMetric.LastFailure.ResponseCode",
        Text(|f| Some(&f.dns_metric.as_ref()?.last_failure.as_ref()?.response_code)),
    ),
    (
        "DHCPv4.MessageType",
        Text(|f| Some(&f.dhcpv4.as_ref()?.message_type)),
    ),
    (
        "DHCPv4.ClientIP",
        Text(|f| Some(&f.dhcpv4.as_ref()?.client_ip)),
    ),
    ("DHCPv4.YourIP", Text(|f| Some(&f.dhcpv4.as_ref()?.your_ip))),
    (
        "DHCPv4.ServerIP",
        Text(|f| Some(&f.dhcpv4.as_ref()?.server_ip)),
    ),
    (
        "DHCPv4.RelayIP",
        Text(|f| Some(&f.dhcpv4.as_ref()?.relay_ip)),
    ),
    (
        "DHCPv4.ClientMAC",
        Text(|f| Some(&f.dhcpv4.as_ref()?.client_mac)),
    ),
    (
        "DHCPv4.RequestedIP",
        Text(|f| Some(&f.dhcpv4.as_ref()?.requested_ip)),
    ),
    (
        "DHCPv4.ServerID",
        Text(|f| Some(&f.dhcpv4.as_ref()?.server_id)),
    ),
    (
        "DHCPv4.HostName",
        Text(|f| Some(&f.dhcpv4.as_ref()?.host_name)),
    ),
    (
        "DHCPv4.LeaseTime",
        Int(|f| known(f.dhcpv4.as_ref()?.lease_time)),
    ),
    (
        "Export.Exporter",
        Text(|f| Some(&f.export.as_ref()?.exporter)),
    ),
    ("Export.Domain", Int(|f| known(f.export.as_ref()?.domain))),
    ("Export.Format", Text(|f| Some(&f.export.as_ref()?.format))),
    ("Export.Input", Int(|f| known(f.export.as_ref()?.input))),
    ("Export.Output", Int(|f| known(f.export.as_ref()?.output))),
    (
        "Export.Direction",
        Int(|f| known(f.export.as_ref()?.direction)),
    ),
    ("Export.Rate", Int(|f| known(f.export.as_ref()?.rate))),
    (
        "Export.Scaled",
        Int(|f| Some(f.export.as_ref()?.scaled.into())),
    ),
    (
        "Export.NextHop",
        Text(|f| Some(&f.export.as_ref()?.next_hop)),
    ),
    ("Export.SrcAS", Int(|f| known(f.export.as_ref()?.src_as))),
    ("Export.DstAS", Int(|f| known(f.export.as_ref()?.dst_as))),
    (
        "Export.SrcMask",
        Int(|f| known(f.export.as_ref()?.src_mask)),
    ),
    (
        "Export.DstMask",
        Int(|f| known(f.export.as_ref()?.dst_mask)),
    ),
    ("Export.NatA", Text(|f| Some(&f.export.as_ref()?.nat_a))),
    ("Export.NatB", Text(|f| Some(&f.export.as_ref()?.nat_b))),
    (
        "Export.NatAPort",
        Int(|f| known(f.export.as_ref()?.nat_a_port)),
    ),
    (
        "Export.NatBPort",
        Int(|f| known(f.export.as_ref()?.nat_b_port)),
    ),
    ("Export.User", Text(|f| Some(&f.export.as_ref()?.user))),
    ("Export.VRF", Text(|f| Some(&f.export.as_ref()?.vrf))),
];
