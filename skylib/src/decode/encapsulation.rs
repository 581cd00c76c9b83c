//! Result of decoding a packet: one set of headers for each encapsulation level.

use std::ops::{Deref, Range};

use super::{EmbeddedPacket, Fragment, IcmpHeader, IpAddress, Layer, LayersPath, Marks};
use crate::packet::CapturePoint;

/// Encapsulation levels of one packet, outermost first; dereferences to a slice of levels.
///
/// A packet without tunnels has one level. A new level begins after a GRE, VXLAN, or Geneve header
/// and after an MPLS label stack; the tunnel header itself belongs to the outer level. Levels with
/// neither an Ethernet nor an IP header cannot form a flow and are only counted; see
/// [`without_flow`](Self::without_flow).
///
/// The value has a size of about 4 KiB and should be reused: each call to
/// [`Decoder::decode`](super::Decoder::decode) replaces its content.
#[derive(Clone, Debug)]
pub struct Encapsulations {
    /// Levels of this packet in the first `len` elements, levels of earlier packets in the others.
    pub(super) levels: [Encapsulation; Self::CAPACITY],
    /// Number of levels; `len <= CAPACITY`.
    pub(super) len: usize,
    /// Number of levels omitted because they have neither an Ethernet nor an IP header.
    pub(super) without_flow: usize,
    /// Addresses of the first IP header of the packet; `None` if the first level that has a
    /// `network` has the same addresses.
    pub(super) first_network: Option<(IpAddress, IpAddress)>,
    /// First transport header of the packet; `None` if it is equal to the first `transport` of the
    /// levels.
    pub(super) first_transport: Option<TransportHeader>,
    /// Start and end of the terminal protocol in the captured bytes; `None` if it is the payload
    /// of the transport.
    pub(super) terminal: Option<(u32, u32)>,
    /// Packet that the ICMP error of the innermost level refers to.
    pub(super) embedded: Option<EmbeddedPacket>,
    /// First IP header, if it belongs to a fragment.
    pub(super) fragment: Option<Fragment>,
}

/// Headers of one encapsulation level, from which one flow is formed.
///
/// If a level has several headers of one kind, the first one is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encapsulation {
    /// Protocol layers of the level, outermost first.
    pub layers: LayersPath,
    /// Ethernet header.
    pub link: Option<LinkHeader>,
    /// Identifiers of the VLAN tags of the whole level, 12 bits each, the outermost in the lowest
    /// bits; 0 without tags. A priority tag, which has the identifier 0, takes no bits (IEEE 802.1Q,
    /// 6.9), except with [`recorded`](super::DecoderOptions::recorded).
    pub vlan_id: i64,
    /// IPv4 header, or IPv6 header if there is no IPv4 header.
    pub network: Option<NetworkHeader>,
    /// TCP, UDP, or SCTP header, in this order of precedence.
    pub transport: Option<TransportHeader>,
    /// ICMP header of the same IP version as `network`.
    pub icmp: Option<IcmpHeader>,
    /// ICMP part of the identity of the flow: type, code, and identifier in one number.
    pub icmp_key: Option<u32>,
    /// Identifier of the UDP tunnel header that ends the level: the network identifier of VXLAN and
    /// Geneve, the tunnel endpoint identifier of GTP-U, the tunnel and session of L2TP, or 0 for
    /// other tunnels.
    pub tunnel_end: Option<u32>,
    /// Identifiers that distinguish flows in addition to the headers above.
    pub marks: Marks,
    /// Start of the level in the captured bytes.
    pub offset: u32,
    /// Number of bytes that are counted for the flow, derived from the length on the wire.
    ///
    /// First level: the frame for Ethernet and other link types with addresses, header and payload
    /// for IP, the frame without its link header for other link types. Deeper levels: the same
    /// number minus all headers before the level.
    pub length: i64,
}

/// Addresses of an Ethernet frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkHeader {
    /// Source address.
    pub source: [u8; 6],
    /// Destination address.
    pub destination: [u8; 6],
}

/// Addresses and fixed fields of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkHeader {
    /// Version of the header.
    pub protocol: NetworkProtocol,
    /// Time to live (IPv4) or hop limit (IPv6).
    pub hop_limit: u8,
    /// Source address; [`IpAddress::NONE`] if the header is truncated.
    pub source: IpAddress,
    /// Destination address; [`IpAddress::NONE`] if the header is truncated.
    pub destination: IpAddress,
    /// Length of header and payload, in bytes, according to the header, or the number of captured
    /// bytes if that length is 0. With [`recorded`](super::DecoderOptions::recorded), an IPv6
    /// header is not counted.
    pub length: u32,
    /// Identifier of the innermost VXLAN, GRE (its key), or Geneve header of the level; 0 if there
    /// is none.
    pub tunnel_id: i64,
    /// Start of the header in the captured bytes.
    pub offset: u32,
}

/// Version of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkProtocol {
    /// IP version 4.
    Ipv4,
    /// IP version 6.
    Ipv6,
}

/// Ports of a transport header and the position of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportHeader {
    /// Transport protocol.
    pub protocol: TransportProtocol,
    /// Whether the header is complete; if false, it is truncated and both ports are 0.
    pub has_ports: bool,
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Flags of TCP; none for other transports.
    pub flags: TcpFlags,
    /// Sequence number of TCP; 0 for other transports.
    pub sequence: u32,
    /// Acknowledgment number of TCP; 0 for other transports.
    pub acknowledgment: u32,
    /// Number of captured bytes of TCP options, which precede the payload.
    pub options_len: u8,
    /// Start of the payload in the packet, in bytes; beyond the captured bytes if the header is
    /// truncated.
    pub payload_offset: u32,
    /// Number of captured bytes of the payload.
    pub payload_len: u32,
}

/// Transport protocol whose ports identify a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Flags of a TCP header (byte 13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl Encapsulations {
    /// Sets the capture point of all levels, and of the fragment.
    #[cold]
    pub(crate) fn set_point(&mut self, point: CapturePoint) {
        for level in self.levels.iter_mut().take(self.len) {
            level.marks.set_point(point);
        }
        if let Some(fragment) = &mut self.fragment {
            fragment.point = point;
        }
    }

    /// Maximum number of levels of one packet; deeper levels are not decoded.
    pub const CAPACITY: usize = 16;

    /// Returns a value without levels.
    #[must_use]
    pub fn new() -> Self {
        Self {
            levels: [Encapsulation::default(); Self::CAPACITY],
            len: 0,
            without_flow: 0,
            first_network: None,
            first_transport: None,
            terminal: None,
            embedded: None,
            fragment: None,
        }
    }

    /// Returns the number of levels that form no flow because they have neither an Ethernet nor an
    /// IP header.
    #[must_use]
    pub const fn without_flow(&self) -> usize {
        self.without_flow
    }

    /// Returns the source and destination addresses that identify the flow of the level `index`.
    // COMPAT: identifiers equal to Skydive's. The first level uses the first IP header of the whole
    // packet, so that the flow of an MPLS path is identified by the addresses inside it.
    #[must_use]
    pub fn key_network(&self, index: usize) -> Option<(IpAddress, IpAddress)> {
        match index {
            0 => self
                .first_network
                .or_else(|| self.iter().find_map(Encapsulation::addresses)),
            _ => self.get(index).and_then(Encapsulation::addresses),
        }
    }

    /// Returns the transport header that identifies the flow of the level `index`.
    // COMPAT: as in `key_network`, the flow of a GRE tunnel is identified by the ports inside it.
    #[must_use]
    pub fn key_transport(&self, index: usize) -> Option<&TransportHeader> {
        match index {
            0 => self
                .first_transport
                .as_ref()
                .or_else(|| self.iter().find_map(|level| level.transport.as_ref())),
            _ => self.get(index)?.transport.as_ref(),
        }
    }

    /// Returns whether there is exactly one level and its own headers identify its flow, so that
    /// calls to [`key_network`](Self::key_network) and [`key_transport`](Self::key_transport) are
    /// not needed.
    #[inline]
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.len == 1 && self.first_network.is_none() && self.first_transport.is_none()
    }

    /// Returns the innermost layer of the packet and the range of its captured bytes.
    ///
    /// The range is meaningful only if that layer is an application protocol or directly follows
    /// IP.
    #[must_use]
    pub fn innermost(&self) -> Option<(Layer, Range<u32>)> {
        let level = self.last()?;
        let layer = level.layers.application()?;
        let (start, end) = match (self.terminal, &level.transport) {
            (Some(range), _) => range,
            (None, Some(transport)) => {
                let start = transport.payload_offset;
                (start, start + transport.payload_len)
            }
            (None, None) => return None,
        };
        Some((layer, start..end))
    }

    /// Returns the headers of the packet that the ICMP error of the innermost level refers to.
    #[inline]
    #[must_use]
    pub const fn embedded(&self) -> Option<&EmbeddedPacket> {
        self.embedded.as_ref()
    }

    /// Returns the first IP header of the packet if it belongs to a fragment that can be
    /// reassembled.
    #[must_use]
    pub const fn fragment(&self) -> Option<Fragment> {
        self.fragment
    }

    /// Removes the first headers of the packet if they are equal to those of the levels.
    pub(super) fn drop_redundant_first_headers(&mut self) {
        let level_network = self.iter().find_map(Encapsulation::addresses);
        if self.first_network == level_network {
            self.first_network = None;
        }
        let level_transport = self.iter().find_map(|level| level.transport);
        if self.first_transport == level_transport {
            self.first_transport = None;
        }
    }

    /// Removes all levels; their memory is overwritten by the next packet.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.without_flow = 0;
        self.first_network = None;
        self.first_transport = None;
        self.terminal = None;
        self.embedded = None;
        self.fragment = None;
    }
}

impl LinkHeader {
    /// Maximum number of VLAN identifiers in [`Encapsulation::vlan_id`].
    pub(crate) const MAX_TAGS: u32 = 5;

    /// Returns the header with source and destination swapped.
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

impl Encapsulation {
    /// Returns the source and destination address of `network`.
    fn addresses(&self) -> Option<(IpAddress, IpAddress)> {
        self.network
            .map(|header| (header.source, header.destination))
    }

    /// Resets the level of an earlier packet field by field, which is cheaper than writing the
    /// whole value.
    #[inline(always)]
    pub(super) fn reset(&mut self, offset: u32, length: i64) {
        self.layers = LayersPath::default();
        self.link = None;
        self.vlan_id = 0;
        self.network = None;
        self.transport = None;
        self.icmp = None;
        self.icmp_key = None;
        self.tunnel_end = None;
        self.marks.clear();
        self.offset = offset;
        self.length = length.max(0);
    }
}

impl Default for Encapsulations {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Encapsulations {
    type Target = [Encapsulation];

    fn deref(&self) -> &[Encapsulation] {
        self.levels.get(..self.len).unwrap_or_default()
    }
}

impl TcpFlags {
    /// FIN: the sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// SYN: synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// RST: reset the connection.
    pub const RST: Self = Self(0x04);
    /// ACK: the acknowledgment number is valid.
    pub const ACK: Self = Self(0x10);

    /// Returns whether all of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}
