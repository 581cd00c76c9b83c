//! `FlowRecord`: one flow as an exporter reports it, whatever the format.

use std::net::IpAddr;

use super::section::PacketSummary;
use crate::time::Timestamp;

/// Format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ExportFormat {
    /// NetFlow version 5.
    NetFlow5,
    /// NetFlow version 7.
    NetFlow7,
    /// NetFlow version 9 (RFC 3954).
    NetFlow9,
    /// IPFIX (RFC 7011).
    Ipfix,
    /// sFlow version 5.
    Sflow5,
}

impl ExportFormat {
    /// Returns the name: `netflow5`, `netflow7`, `netflow9`, `ipfix`, or `sflow5`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetFlow5 => "netflow5",
            Self::NetFlow7 => "netflow7",
            Self::NetFlow9 => "netflow9",
            Self::Ipfix => "ipfix",
            Self::Sflow5 => "sflow5",
        }
    }
}

/// Origin of a record: the exporter, and the message that contained the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordOrigin {
    /// Address of the exporter; for sFlow, the address that the agent states.
    pub exporter: IpAddr,
    /// Format of the message.
    pub format: ExportFormat,
    /// Observation domain, source ID, engine, or sub-agent.
    pub domain: u32,
    /// Template of the record; 0 if the format has no templates.
    pub template: u16,
    /// Time of the message on the clock of the exporter; for sFlow, the time of arrival.
    pub exported_at: Timestamp,
}

/// Packets and bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportCounters {
    /// Number of packets.
    pub packets: Option<u64>,
    /// Number of bytes.
    pub bytes: Option<u64>,
    /// Cumulative TCP flags.
    pub tcp_flags: Option<u16>,
    /// Whether the numbers are totals since the start of the flow, not since the previous record.
    pub is_total: bool,
}

impl ExportCounters {
    /// Returns the counters of one packet of a length in bytes.
    #[must_use]
    pub fn of_packet(length: Option<u32>) -> Self {
        Self {
            packets: Some(1),
            bytes: length.map(u64::from),
            ..Self::default()
        }
    }
}

/// Ends of a flow after address translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Translation {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub src_port: Option<u16>,
    /// Destination port.
    pub dst_port: Option<u16>,
}

/// One flow as an exporter reports it. Counters are as observed, not multiplied by the sampling
/// rate. Fields that the record does not have are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FlowRecord<'a> {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub src_port: Option<u16>,
    /// Destination port; for ICMP, mostly the type times 256 plus the code.
    pub dst_port: Option<u16>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Type of service, or traffic class.
    pub tos: Option<u8>,
    /// Counters of the packets from the source to the destination.
    pub counters: ExportCounters,
    /// Counters of the packets in the other direction, of a bidirectional record.
    pub reverse: Option<ExportCounters>,
    /// Time of the first packet.
    pub first: Option<Timestamp>,
    /// Time of the last packet.
    pub last: Option<Timestamp>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// Source MAC address.
    pub src_mac: Option<[u8; 6]>,
    /// Destination MAC address.
    pub dst_mac: Option<[u8; 6]>,
    /// VLAN of the packets.
    pub vlan: Option<u16>,
    /// Index of the input interface.
    pub input: Option<u32>,
    /// Index of the output interface.
    pub output: Option<u32>,
    /// Direction: 0 for a record of the input interface, 1 for one of the output interface.
    pub direction: Option<u8>,
    /// End of a bidirectional record that began the flow (RFC 5103): 1 source, 2 destination.
    pub biflow_direction: Option<u8>,
    /// Reason for the end of the flow (`flowEndReason`).
    pub end_reason: Option<u8>,
    /// Event of a firewall (`firewallEvent`).
    pub firewall_event: Option<u8>,
    /// Identifier of the flow within the exporter.
    pub flow_id: Option<u64>,
    /// Next hop.
    pub next_hop: Option<IpAddr>,
    /// Autonomous system of the source.
    pub src_as: Option<u32>,
    /// Autonomous system of the destination.
    pub dst_as: Option<u32>,
    /// Prefix length of the route to the source.
    pub src_mask: Option<u8>,
    /// Prefix length of the route to the destination.
    pub dst_mask: Option<u8>,
    /// Virtual network identifier of a tunnel.
    pub vni: Option<u32>,
    /// Ends after address translation.
    pub translation: Translation,
    /// Sampler that selected the packets.
    pub sampler: Option<u64>,
    /// Sampling rate that applies: `n` if one in `n` packets was observed. `None` if unknown.
    pub sampling: Option<u64>,
    /// Identifier of the application: engine, then selector.
    pub application_id: Option<&'a [u8]>,
    /// Name of the application.
    pub application: Option<&'a [u8]>,
    /// User of the flow.
    pub user: Option<&'a [u8]>,
    /// Name of the routing instance.
    pub vrf: Option<&'a [u8]>,
    /// Length of a sampled packet, in bytes.
    pub section_length: Option<u64>,
    /// Contents of a sampled packet, from which missing fields were filled in.
    pub section: Option<PacketSummary>,
}

/// Contents of an options record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionRecord<'a> {
    /// Sampling rate, if the record contains one.
    pub sampling: Option<SamplingOption>,
    /// Description of an interface, if the record contains one.
    pub interface: Option<InterfaceOption<'a>>,
    /// Description of an application, if the record contains one.
    pub application: Option<ApplicationOption<'a>>,
    /// Start time of the exporter, to which uptimes refer.
    pub system_init: Option<Timestamp>,
}

/// Sampling rate in an options record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SamplingOption {
    /// One packet in `rate` is observed; at least 1.
    pub rate: u64,
    /// Sampler; `None` for the whole domain.
    pub selector: Option<u64>,
}

/// Description of an interface in an options record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceOption<'a> {
    /// Index of the interface.
    pub index: Option<u32>,
    /// Name, without trailing NUL bytes.
    pub name: Option<&'a [u8]>,
    /// Description, without trailing NUL bytes.
    pub description: Option<&'a [u8]>,
}

/// Description of an application in an options record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplicationOption<'a> {
    /// Classification engine.
    pub engine: u8,
    /// Number within the engine.
    pub selector: u64,
    /// Name, without trailing NUL bytes.
    pub name: Option<&'a [u8]>,
    /// Description, without trailing NUL bytes.
    pub description: Option<&'a [u8]>,
}

/// Returns the bytes before the first NUL byte.
pub(super) fn before_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}
