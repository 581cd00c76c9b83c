//! What the decoder tells of a packet: its parts, each with the headers that make a flow.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::{Deref, Range};

use super::{Fragment, Layer, LayersPath};

/// The parts of one packet, outermost first; made once and filled anew for every packet.
///
/// A packet without tunnels has one part. After a GRE, VXLAN or Geneve header and after an MPLS
/// label stack a new part begins; the tunnel's header belongs to the outer one. A part that holds
/// neither Ethernet nor IP makes no flow and is left out.
#[derive(Clone, Debug)]
pub struct Encapsulations {
    pub(super) levels: [Encapsulation; Self::CAPACITY],
    pub(super) len: usize,
    pub(super) without_flow: usize,
    /// First IP header of the packet, where no part shows it as its `network`.
    pub(super) first_network: Option<(IpAddress, IpAddress)>,
    /// First transport header of the packet, where no part shows it as its `transport`.
    pub(super) first_transport: Option<TransportHeader>,
    /// Begin and end of the layer that ends the packet, where the transport does not tell.
    pub(super) leaf: Option<(u32, u32)>,
    pub(super) fragment: Option<Fragment>,
}

/// One stretch of a packet's layers: what makes one flow of the chain.
///
/// Of several headers of a kind the first one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encapsulation {
    /// The layers.
    pub layers: LayersPath,
    /// Ethernet, with the VLAN tags of the whole part.
    pub link: Option<LinkHeader>,
    /// IPv4, else IPv6.
    pub network: Option<NetworkHeader>,
    /// TCP, else UDP, else SCTP.
    pub transport: Option<TransportHeader>,
    /// ICMP of the version of `network`.
    pub icmp: Option<IcmpHeader>,
    /// What ICMP adds to the identity of the flow: type, code and identifier in one number.
    pub icmp_key: Option<u32>,
    /// The network identifier of the VXLAN or Geneve header that ends the part.
    pub tunnel_end: Option<u32>,
    /// Where the part starts in the captured bytes.
    pub offset: u32,
    /// Bytes that count for the flow, from the length on the wire.
    ///
    /// First part: the frame for Ethernet, the total length for IPv4, the payload length for IPv6,
    /// the frame without its link header for others. Later parts: that without the headers before.
    pub length: i64,
}

/// Ends of an Ethernet frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkHeader {
    /// Source address.
    pub source: [u8; 6],
    /// Destination address.
    pub destination: [u8; 6],
    /// The VLAN tags, 12 bits each, the outermost in the lowest bits; 0 without tags.
    pub vlan_id: i64,
}

/// Ends of an IP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkHeader {
    /// Version of the header.
    pub protocol: NetworkProtocol,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// Source address; [`IpAddress::NONE`] if the header is cut short.
    pub source: IpAddress,
    /// Destination address; [`IpAddress::NONE`] if the header is cut short.
    pub destination: IpAddress,
    /// Bytes by the header: total length of IPv4 (what was captured if it says 0), payload length
    /// of IPv6.
    pub length: u32,
    /// Identifier of the innermost VXLAN, GRE (its key) or Geneve header of the part, else 0.
    pub tunnel_id: i64,
}

/// Version of an IP header; complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkProtocol {
    /// IP version 4.
    Ipv4,
    /// IP version 6.
    Ipv6,
}

/// An IP address as on the wire: 4 or 16 bytes, or none where a header is cut short.
///
/// ```
/// use skylib::decode::IpAddress;
/// let address = IpAddress::v4([10, 0, 0, 1]);
/// assert_eq!(address.as_bytes(), [10, 0, 0, 1]);
/// assert_eq!(address.to_string(), "10.0.0.1");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct IpAddress {
    octets: [u8; 16],
    len: u8,
}

/// Ends of a transport connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportHeader {
    /// Which transport.
    pub protocol: TransportProtocol,
    /// Whether the header was there: if false, it was cut short and both ports are 0.
    pub has_ports: bool,
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Flags of TCP; none for other transports.
    pub flags: TcpFlags,
    /// Sequence number of TCP; 0 for other transports.
    pub sequence: u32,
    /// Where the payload starts in the captured bytes.
    pub payload_offset: u32,
    /// Captured bytes of the payload.
    pub payload_len: u32,
}

/// A transport that flows know the ports of.
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

/// The flags of a TCP header, in wire order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpHeader {
    /// Its type, request and reply alike.
    pub kind: IcmpType,
    /// Its code.
    pub code: u8,
    /// Identifier of an echo; for ICMPv4 bytes 4 and 5 of any message.
    pub id: u16,
    /// Which half of an echo it is, if any.
    pub echo: Option<IcmpEcho>,
}

/// A half of an echo; complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpEcho {
    /// The question.
    Request,
    /// The answer.
    Reply,
}

/// Types of ICMP messages, both versions and both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum IcmpType {
    /// Any other.
    #[default]
    Unknown = 0,
    /// Destination unreachable.
    DestinationUnreachable = 1,
    /// Echo.
    Echo = 2,
    /// Neighbour solicitation or advertisement.
    Neighbor = 3,
    /// Address mask.
    AddressMask = 4,
    /// Information.
    Info = 5,
    /// Parameter problem.
    ParameterProblem = 6,
    /// Redirect.
    Redirect = 7,
    /// Router solicitation or advertisement.
    Router = 8,
    /// Source quench.
    SourceQuench = 9,
    /// Time exceeded.
    TimeExceeded = 10,
    /// Timestamp.
    Timestamp = 11,
    /// Packet too big.
    PacketTooBig = 12,
}

impl Encapsulations {
    /// The most parts kept of one packet; what is nested deeper is left out.
    pub const CAPACITY: usize = 16;

    /// No parts yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            levels: [Encapsulation::default(); Self::CAPACITY],
            len: 0,
            without_flow: 0,
            first_network: None,
            first_transport: None,
            leaf: None,
            fragment: None,
        }
    }

    /// How many parts of the packet make no flow, as they hold neither Ethernet nor IP.
    #[must_use]
    pub const fn without_flow(&self) -> usize {
        self.without_flow
    }

    /// Source and destination that identify a part's flow on layer 3.
    // COMPAT: identifiers equal to Skydive's. The first part takes the first IP header of the
    // whole packet, so that the flow of an MPLS path is known by the addresses within.
    #[must_use]
    pub fn key_network(&self, index: usize) -> Option<(IpAddress, IpAddress)> {
        match index {
            0 => self
                .first_network
                .or_else(|| self.iter().find_map(Encapsulation::ends)),
            _ => self.get(index).and_then(Encapsulation::ends),
        }
    }

    /// The transport header that identifies a part's flow.
    // COMPAT: as for `key_network`: the flow of a GRE tunnel is known by the ports within too.
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

    /// Whether there is one part and its own headers identify its flow: what
    /// [`Encapsulations::key_network`] and [`Encapsulations::key_transport`] would tell is what the part shows.
    #[inline]
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.len == 1 && self.first_network.is_none() && self.first_transport.is_none()
    }

    /// The innermost layer of the packet and where its bytes start and end in the captured ones;
    /// of use where that layer is an application or stands right behind IP.
    #[must_use]
    pub fn innermost(&self) -> Option<(Layer, Range<u32>)> {
        let level = self.last()?;
        let layer = level.layers.application()?;
        let (start, end) = match (self.leaf, &level.transport) {
            (Some(ends), _) => ends,
            (None, Some(transport)) => {
                let start = transport.payload_offset;
                (start, start + transport.payload_len)
            }
            (None, None) => return None,
        };
        Some((layer, start..end))
    }

    /// Where the packet's first IPv4 header is, if it begins a fragment that may be joined.
    #[must_use]
    pub const fn fragment(&self) -> Option<Fragment> {
        self.fragment
    }

    /// Keeps the first headers of the packet only where the parts show others.
    pub(super) fn forget_what_parts_show(&mut self) {
        let shown_network = self.iter().find_map(Encapsulation::ends);
        if self.first_network == shown_network {
            self.first_network = None;
        }
        let shown_transport = self.iter().find_map(|level| level.transport);
        if self.first_transport == shown_transport {
            self.first_transport = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.without_flow = 0;
        self.first_network = None;
        self.first_transport = None;
        self.leaf = None;
        self.fragment = None;
    }
}

impl Encapsulation {
    /// Source and destination of `network`.
    fn ends(&self) -> Option<(IpAddress, IpAddress)> {
        self.network
            .map(|header| (header.source, header.destination))
    }

    /// Empties a part of an earlier packet, field by field: cheaper than writing it all anew.
    #[inline(always)]
    pub(super) fn begin(&mut self, offset: u32, length: i64) {
        self.layers = LayersPath::default();
        self.link = None;
        self.network = None;
        self.transport = None;
        self.icmp = None;
        self.icmp_key = None;
        self.tunnel_end = None;
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

impl IpAddress {
    /// No address.
    pub const NONE: Self = Self {
        octets: [0; 16],
        len: 0,
    };

    /// An IPv4 address.
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        // Written as whole words, as it is read again soon: four bytes and then twelve would have
        // to reach the cache first.
        let number = (u32::from_be_bytes(octets) as u128) << 96;
        Self {
            octets: number.to_be_bytes(),
            len: 4,
        }
    }

    /// An IPv6 address.
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self { octets, len: 16 }
    }

    /// The bytes on the wire: 4, 16 or none.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// All 16 bytes; of IPv4 the first four, the rest zero.
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        self.octets
    }

    /// Whether it is an IPv4 address.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.len == 4
    }

    /// Whether there is no address.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.len == 0
    }
}

impl PartialOrd for IpAddress {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IpAddress {
    /// By bytes, as identifiers and directions need it.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.octets
            .cmp(&other.octets)
            .then(self.len.cmp(&other.len))
    }
}

impl fmt::Display for IpAddress {
    /// RFC 5952, an IPv4 address mapped into IPv6 as dotted quad; empty if there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_bytes() {
            &[a, b, c, d] => Ipv4Addr::new(a, b, c, d).fmt(f),
            [] => Ok(()),
            _ => {
                let address = Ipv6Addr::from(self.octets);
                match address.to_ipv4_mapped() {
                    Some(mapped) => mapped.fmt(f),
                    None => address.fmt(f),
                }
            }
        }
    }
}

impl fmt::Debug for IpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Acknowledgement.
    pub const ACK: Self = Self(0x10);

    /// Whether all flags of another set are here.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl IcmpHeader {
    /// What the message adds to the identity of its flow: type, code and identifier in one number.
    // COMPAT: identifiers equal to Skydive's, which takes no code from an ICMPv6 echo.
    pub(super) const fn key(&self, protocol: NetworkProtocol) -> u32 {
        let code = match protocol {
            NetworkProtocol::Ipv6 if self.echo.is_some() => 0,
            _ => self.code,
        };
        (self.kind as u32) << 24 | (code as u32) << 16 | self.id as u32
    }
}

impl IcmpType {
    /// The type of an ICMPv4 message from its type byte (RFC 792, 950, 1256).
    #[must_use]
    pub const fn from_v4(byte: u8) -> Self {
        match byte {
            0 | 8 => Self::Echo,
            3 => Self::DestinationUnreachable,
            4 => Self::SourceQuench,
            5 => Self::Redirect,
            9 | 10 => Self::Router,
            11 => Self::TimeExceeded,
            12 => Self::ParameterProblem,
            13 | 14 => Self::Timestamp,
            15 | 16 => Self::Info,
            17 | 18 => Self::AddressMask,
            _ => Self::Unknown,
        }
    }

    /// The type of an ICMPv6 message from its type byte (RFC 4443, 4861).
    #[must_use]
    pub const fn from_v6(byte: u8) -> Self {
        match byte {
            1 => Self::DestinationUnreachable,
            2 => Self::PacketTooBig,
            3 => Self::TimeExceeded,
            4 => Self::ParameterProblem,
            128 | 129 => Self::Echo,
            133 | 134 => Self::Router,
            135 | 136 => Self::Neighbor,
            137 => Self::Redirect,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_clients_expect() {
        let v6 = |text: &str| {
            let address: Ipv6Addr = text.parse().unwrap();
            IpAddress::v6(address.octets()).to_string()
        };
        assert_eq!(v6("2001:db8:0:0:1:0:0:1"), "2001:db8::1:0:0:1");
        assert_eq!(v6("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(v6("::a00:1"), "::a00:1");
        assert_eq!(v6("::"), "::");
        assert_eq!(IpAddress::NONE.to_string(), "");
    }

    #[test]
    fn addresses_order_by_their_bytes() {
        assert!(IpAddress::v4([10, 0, 0, 2]) < IpAddress::v4([10, 0, 1, 0]));
        assert!(IpAddress::v4([9, 255, 0, 0]) < IpAddress::v4([10, 0, 0, 0]));
    }

    #[test]
    fn request_and_reply_share_one_icmp_type() {
        for (a, b) in [(0, 8), (9, 10), (13, 14), (15, 16), (17, 18)] {
            assert_eq!(IcmpType::from_v4(a), IcmpType::from_v4(b));
        }
        for (a, b) in [(128, 129), (133, 134), (135, 136)] {
            assert_eq!(IcmpType::from_v6(a), IcmpType::from_v6(b));
        }
        assert_eq!(IcmpType::from_v4(128), IcmpType::Unknown);
        assert_eq!(IcmpType::PacketTooBig as u8, 12);
    }
}
