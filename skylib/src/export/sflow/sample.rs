//! Flow samples and samples of discarded packets.

use std::net::IpAddr;

use super::super::reader::Reader;
use super::super::section::PacketSummary;
use super::{Header, each_record, opaque, read_address, read_source};

/// A sampled packet.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FlowSample<'a> {
    /// Address of the agent.
    pub agent: IpAddr,
    /// Number of the agent's process.
    pub sub_agent: u32,
    /// Sequence number of the source.
    pub sequence: u32,
    /// Type of the source: 0 for an interface.
    pub source_type: u32,
    /// Index of the source.
    pub source_index: u32,
    /// One packet in `rate` is sampled.
    pub rate: u32,
    /// Number of packets that could have been sampled.
    pub pool: u32,
    /// Number of samples that the agent dropped.
    pub drops: u32,
    /// Input interface.
    pub input: SflowInterface,
    /// Output interface.
    pub output: SflowInterface,
    /// Contents of the packet.
    pub packet: SampledPacket<'a>,
}

/// A packet that was discarded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DiscardSample<'a> {
    /// Address of the agent.
    pub agent: IpAddr,
    /// Sequence number of the source.
    pub sequence: u32,
    /// Type of the source: 0 for an interface.
    pub source_type: u32,
    /// Index of the source.
    pub source_index: u32,
    /// Number of samples that the agent dropped.
    pub drops: u32,
    /// Index of the input interface.
    pub input: u32,
    /// Index of the output interface.
    pub output: u32,
    /// Reason for which the packet was discarded.
    pub reason: u32,
    /// Contents of the packet.
    pub packet: SampledPacket<'a>,
}

/// Interface of a sampled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SflowInterface {
    /// Meaning of `value`: 0 index of the interface, 1 reason of a discard, 2 number of interfaces.
    pub format: u32,
    /// Index, reason, or number. The index 0x3fffffff is the agent itself, and 0 is unknown.
    pub value: u32,
}

/// Contents of a sampled packet. Several records of a sample describe the same packet.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SampledPacket<'a> {
    /// Beginning of the packet.
    pub header: Option<SampledHeader<'a>>,
    /// Ends of the packet, as the agent has decoded them; used if there is no header.
    pub decoded: PacketSummary,
    /// Length of the packet without a header, in bytes.
    pub decoded_length: Option<u32>,
    /// VLAN of the packet at the input.
    pub src_vlan: Option<u32>,
    /// VLAN of the packet at the output.
    pub dst_vlan: Option<u32>,
    /// Next hop.
    pub next_hop: Option<IpAddr>,
    /// Prefix length of the route to the source.
    pub src_mask: Option<u32>,
    /// Prefix length of the route to the destination.
    pub dst_mask: Option<u32>,
    /// Autonomous system of the source.
    pub src_as: Option<u32>,
    /// Autonomous system of the destination: the last of its path.
    pub dst_as: Option<u32>,
}

/// Beginning of a sampled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampledHeader<'a> {
    /// First protocol: 1 Ethernet, 11 IPv4, 12 IPv6, 13 MPLS.
    pub protocol: u32,
    /// Length of the packet on the wire, in bytes, including the bytes that the agent stripped.
    pub frame_length: u32,
    /// Number of bytes stripped from the packet, for example its check sequence.
    pub stripped: u32,
    /// First bytes of the packet.
    pub bytes: &'a [u8],
}

impl SampledPacket<'_> {
    /// Returns the ends and the protocol of the packet.
    #[must_use]
    pub fn summary(&self) -> PacketSummary {
        match self.header {
            Some(header) if header.protocol == ETHERNET => PacketSummary::of_frame(header.bytes),
            Some(header) if matches!(header.protocol, IPV4 | IPV6) => {
                PacketSummary::of_ip(header.bytes)
            }
            _ => self.decoded,
        }
    }
}

/// Reads a flow sample.
pub(super) fn read_flow<'a>(
    reader: &mut Reader<'a>,
    header: &Header,
    is_expanded: bool,
    malformed: &mut u64,
) -> Option<FlowSample<'a>> {
    let sequence = reader.u32()?;
    let (source_type, source_index) = read_source(reader, is_expanded)?;
    let (rate, pool, drops) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let input = read_interface(reader, is_expanded)?;
    let output = read_interface(reader, is_expanded)?;
    let count = reader.u32()?;
    Some(FlowSample {
        agent: header.agent,
        sub_agent: header.sub_agent,
        sequence,
        source_type,
        source_index,
        rate,
        pool,
        drops,
        input,
        output,
        packet: read_packet(reader, count, malformed),
    })
}

/// Reads the sample of a discarded packet.
pub(super) fn read_discard<'a>(
    reader: &mut Reader<'a>,
    header: &Header,
    malformed: &mut u64,
) -> Option<DiscardSample<'a>> {
    let sequence = reader.u32()?;
    let (source_type, source_index) = read_source(reader, true)?;
    let drops = reader.u32()?;
    let (input, output, reason) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let count = reader.u32()?;
    Some(DiscardSample {
        agent: header.agent,
        sequence,
        source_type,
        source_index,
        drops,
        input,
        output,
        reason,
        packet: read_packet(reader, count, malformed),
    })
}

fn read_interface(reader: &mut Reader<'_>, is_expanded: bool) -> Option<SflowInterface> {
    if is_expanded {
        return Some(SflowInterface {
            format: reader.u32()?,
            value: reader.u32()?,
        });
    }
    let interface = reader.u32()?;
    Some(SflowInterface {
        format: interface >> 30,
        value: interface & 0x3fff_ffff,
    })
}

fn read_packet<'a>(reader: &mut Reader<'a>, count: u32, malformed: &mut u64) -> SampledPacket<'a> {
    let mut packet = SampledPacket::default();
    each_record(reader, count, malformed, |kind, content| {
        packet.read_record(kind, content)
    });
    packet
}

impl<'a> SampledPacket<'a> {
    /// Reads a record; `None` if it is truncated. Unknown records are skipped.
    fn read_record(&mut self, kind: u32, reader: &mut Reader<'a>) -> Option<()> {
        match kind {
            1 => {
                let protocol = reader.u32()?;
                let (frame_length, stripped) = (reader.u32()?, reader.u32()?);
                let bytes = opaque(reader)?;
                self.header.get_or_insert(SampledHeader {
                    protocol,
                    frame_length,
                    stripped,
                    bytes,
                });
            }
            2 => {
                let length = reader.u32()?;
                // Six bytes, padded to eight.
                let (src, _) = (reader.array()?, reader.u16()?);
                let (dst, _) = (reader.array()?, reader.u16()?);
                self.decoded_length.get_or_insert(length);
                (self.decoded.src_mac, self.decoded.dst_mac) = (Some(src), Some(dst));
            }
            3 => {
                let length = reader.u32()?;
                let protocol = reader.u32()?;
                let (src, dst) = (reader.array::<4>()?, reader.array::<4>()?);
                self.read_ip(length, protocol, (src.into(), dst.into()), reader)?;
            }
            4 => {
                let length = reader.u32()?;
                let protocol = reader.u32()?;
                let (src, dst) = (reader.array::<16>()?, reader.array::<16>()?);
                self.read_ip(length, protocol, (src.into(), dst.into()), reader)?;
            }
            1001 => {
                let (src, _) = (reader.u32()?, reader.u32()?);
                let (dst, _) = (reader.u32()?, reader.u32()?);
                (self.src_vlan, self.dst_vlan) = (Some(src), Some(dst));
            }
            1002 => {
                self.next_hop = read_address(reader)?;
                (self.src_mask, self.dst_mask) = (Some(reader.u32()?), Some(reader.u32()?));
            }
            1003 => self.read_gateway(reader)?,
            _ => {}
        }
        Some(())
    }

    /// Reads the rest of a record about an IP packet, after its addresses.
    fn read_ip(
        &mut self,
        length: u32,
        protocol: u32,
        (src, dst): (IpAddr, IpAddr),
        reader: &mut Reader<'_>,
    ) -> Option<()> {
        let (src_port, dst_port) = (reader.u32()?, reader.u32()?);
        let (tcp_flags, tos) = (reader.u32()?, reader.u32()?);
        self.decoded_length = Some(length);
        let decoded = &mut self.decoded;
        (decoded.src, decoded.dst) = (Some(src), Some(dst));
        decoded.protocol = u8::try_from(protocol).ok();
        decoded.src_port = u16::try_from(src_port).ok();
        decoded.dst_port = u16::try_from(dst_port).ok();
        decoded.tcp_flags = u8::try_from(tcp_flags).ok();
        decoded.tos = u8::try_from(tos).ok();
        Some(())
    }

    /// Reads a record about the path of autonomous systems.
    fn read_gateway(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        self.next_hop = self.next_hop.or(read_address(reader)?);
        let (_own, source, _peer) = (reader.u32()?, reader.u32()?, reader.u32()?);
        self.src_as = Some(source);
        for _ in 0..reader.u32()? {
            let (_kind, length) = (reader.u32()?, reader.u32()?);
            for _ in 0..length {
                self.dst_as = Some(reader.u32()?);
            }
        }
        Some(())
    }
}

/// Protocols of a sampled header.
const ETHERNET: u32 = 1;
const IPV4: u32 = 11;
const IPV6: u32 = 12;
