//! Information elements of NetFlow 9 and IPFIX from which a record is filled.
//!
//! The elements that this module reads are a list of [`Target`]s. Several elements can provide one
//! field of a record; the order of the list is their precedence, and the first value wins. A
//! template is compiled to its known elements in this order, so that no decision is left when a
//! record is read by [`RecordBuilder`](super::record_builder::RecordBuilder).

/// Private enterprise number of elements in the reverse direction (RFC 5103).
pub(super) const REVERSE: u32 = 29_305;

/// An element that a record is filled from, in the order of precedence among elements with the same
/// meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// Source address (IPFIX elements 8, 27, then 44).
    Src,
    /// Destination address (IPFIX elements 12, 28, then 45).
    Dst,
    SrcNetwork,
    DstNetwork,
    /// Source port (IPFIX elements 7, 180, 182).
    SrcPort,
    /// Destination port (IPFIX elements 11, 181, 183).
    DstPort,
    /// Protocol of the transport layer (IPFIX element 4).
    Protocol,
    /// Type of service (IPFIX element 5).
    Tos,
    /// TCP flags (IPFIX element 6).
    TcpFlags,
    /// Numbers of packets and bytes (IPFIX elements 2, 1, then the totals 86, 85, then the numbers
    /// of an initiator 298, 231, then 24, 23).
    Packets,
    Bytes,
    TotalPackets,
    TotalBytes,
    InitiatorPackets,
    InitiatorBytes,
    OutPackets,
    OutBytes,
    /// Numbers and flags of the opposite direction (IPFIX elements reverse 2, 1, 86, 85, 6, then
    /// 299, 232).
    ReversePackets,
    ReverseBytes,
    ReverseTotalPackets,
    ReverseTotalBytes,
    ReverseTcpFlags,
    ResponderPackets,
    ResponderBytes,
    /// Start of the exporter (IPFIX element 160, before all uptimes).
    SystemInit,
    /// Time of the first packet (IPFIX elements 152, 154, 156, 150, 158, 22).
    FirstMs,
    FirstNtp,
    FirstSeconds,
    FirstDelta,
    FirstUptime,
    /// Time of the last packet (IPFIX elements 153, 155, 157, 151, 159, 21).
    LastMs,
    LastNtp,
    LastSeconds,
    LastDelta,
    LastUptime,
    /// Time of the event (IPFIX elements 323, 322).
    EventMs,
    EventSeconds,
    /// Source MAC address (IPFIX elements 56, then 81).
    SrcMac,
    PostSrcMac,
    /// Destination MAC address (IPFIX elements 80, then 57).
    DstMac,
    PostDstMac,
    /// VLAN identifiers (IPFIX elements 58, 243, 245, 59, 254).
    Vlan,
    OuterVlan,
    InnerVlan,
    PostVlan,
    /// Index of the input interface (IPFIX elements 10, then 252).
    Input,
    PhysicalInput,
    /// Index of the output interface (IPFIX elements 14, then 253).
    Output,
    PhysicalOutput,
    /// Direction of the flow at the interface (IPFIX element 61).
    Direction,
    /// Order of the ends of a biflow (IPFIX element 239).
    BiflowDirection,
    /// Reason for the end of the flow (IPFIX element 136).
    EndReason,
    /// Event of a firewall (IPFIX element 233).
    FirewallEvent,
    /// Identifier of the flow (IPFIX element 148).
    FlowId,
    /// ICMP type and code (IPFIX elements 32, 139, then 176, 178 and 177, 179).
    IcmpTypeCode,
    IcmpType,
    IcmpCode,
    /// Next hop (IPFIX elements 15, 62, then 18, 63).
    NextHop,
    BgpNextHop,
    /// Autonomous systems of source and destination (IPFIX elements 16, 17).
    SrcAs,
    DstAs,
    /// Prefix lengths of source and destination (IPFIX elements 9, 29 and 13, 30).
    SrcMask,
    DstMask,
    /// Identifier of the overlay network (IPFIX element 351).
    Vni,
    /// Translated addresses and ports (IPFIX elements 225, 281; 226, 282; 227; 228).
    NatSrc,
    NatDst,
    NatSrcPort,
    NatDstPort,
    /// Sampling rate (IPFIX elements 34, 50, then 305 with 306, then 310 with 309).
    SamplingInterval,
    PacketInterval,
    PacketSpace,
    SamplingPopulation,
    SamplingSize,
    /// Identifier of the sampler (IPFIX elements 48, 302).
    Sampler,
    /// Application, user, and VRF (IPFIX elements 95, 96, 371, 236).
    ApplicationId,
    Application,
    User,
    Vrf,
    /// Length of the frame and of its recorded section (IPFIX elements 312, then 410).
    FrameLength,
    SectionLength,
    /// Recorded section of a packet (elements 313, 315); last, because sections fill in only what is
    /// missing.
    IpSection,
    FrameSection,
}

impl Target {
    /// Returns the target of an element; `None` if the element is not read.
    pub(super) const fn of(enterprise: u32, element: u16) -> Option<Self> {
        match enterprise {
            0 => Self::of_registered(element),
            REVERSE => Some(match element {
                2 => Self::ReversePackets,
                1 => Self::ReverseBytes,
                86 => Self::ReverseTotalPackets,
                85 => Self::ReverseTotalBytes,
                6 => Self::ReverseTcpFlags,
                _ => return None,
            }),
            _ => None,
        }
    }

    /// Returns the target of an element of IANA's registry.
    const fn of_registered(element: u16) -> Option<Self> {
        Some(match element {
            8 | 27 => Self::Src,
            12 | 28 => Self::Dst,
            44 => Self::SrcNetwork,
            45 => Self::DstNetwork,
            7 | 180 | 182 => Self::SrcPort,
            11 | 181 | 183 => Self::DstPort,
            4 => Self::Protocol,
            5 => Self::Tos,
            6 => Self::TcpFlags,
            2 => Self::Packets,
            1 => Self::Bytes,
            86 => Self::TotalPackets,
            85 => Self::TotalBytes,
            298 => Self::InitiatorPackets,
            231 => Self::InitiatorBytes,
            299 => Self::ResponderPackets,
            232 => Self::ResponderBytes,
            24 => Self::OutPackets,
            23 => Self::OutBytes,
            160 => Self::SystemInit,
            152 => Self::FirstMs,
            153 => Self::LastMs,
            154 | 156 => Self::FirstNtp,
            155 | 157 => Self::LastNtp,
            150 => Self::FirstSeconds,
            151 => Self::LastSeconds,
            158 => Self::FirstDelta,
            159 => Self::LastDelta,
            22 => Self::FirstUptime,
            21 => Self::LastUptime,
            323 => Self::EventMs,
            322 => Self::EventSeconds,
            56 => Self::SrcMac,
            81 => Self::PostSrcMac,
            80 => Self::DstMac,
            57 => Self::PostDstMac,
            58 => Self::Vlan,
            243 => Self::OuterVlan,
            245 => Self::InnerVlan,
            59 | 254 => Self::PostVlan,
            10 => Self::Input,
            252 => Self::PhysicalInput,
            14 => Self::Output,
            253 => Self::PhysicalOutput,
            61 => Self::Direction,
            239 => Self::BiflowDirection,
            136 => Self::EndReason,
            233 => Self::FirewallEvent,
            148 => Self::FlowId,
            32 | 139 => Self::IcmpTypeCode,
            176 | 178 => Self::IcmpType,
            177 | 179 => Self::IcmpCode,
            15 | 62 => Self::NextHop,
            18 | 63 => Self::BgpNextHop,
            16 => Self::SrcAs,
            17 => Self::DstAs,
            9 | 29 => Self::SrcMask,
            13 | 30 => Self::DstMask,
            351 => Self::Vni,
            225 | 281 => Self::NatSrc,
            226 | 282 => Self::NatDst,
            227 => Self::NatSrcPort,
            228 => Self::NatDstPort,
            34 | 50 => Self::SamplingInterval,
            305 => Self::PacketInterval,
            306 => Self::PacketSpace,
            310 => Self::SamplingPopulation,
            309 => Self::SamplingSize,
            48 | 302 => Self::Sampler,
            95 => Self::ApplicationId,
            96 => Self::Application,
            371 => Self::User,
            236 => Self::Vrf,
            312 => Self::FrameLength,
            410 => Self::SectionLength,
            313 => Self::IpSection,
            315 => Self::FrameSection,
            _ => return None,
        })
    }
}
