//! Fast path: packets that consist only of the most common headers, all of them complete.
//!
//! The fast path supports Ethernet with up to four tags, ARP, IPv4 without options, IPv6 without
//! extension headers, TCP, UDP with its payload, ICMP echoes, and the same headers in VXLAN, GRE,
//! and Geneve tunnels. The only failure it reports is a UDP payload that does not belong to the
//! protocol of the port. All other packets are unsupported, and the general path decodes them from
//! the first byte. A property test verifies that both paths have the same result.
//!
//! All functions are inlined into one, so that the fields of [`FastPath`] can be held in registers.

use super::ethernet::{TYPE_IPV4, TYPE_IPV6};
use super::{
    DecodeError, DecoderOptions, Encapsulation, Encapsulations, IcmpHeader, IpAddress, Layer,
    LayersPath, LinkHeader, Marks, NetworkHeader, NetworkProtocol, TcpFlags, TransportHeader,
    TransportProtocol, icmp, terminal, udp_payload,
};

/// Result of the fast path.
pub(super) enum Outcome {
    /// The packet is decoded.
    Done,
    /// The packet is decoded, except that its UDP payload is not a valid message of this protocol,
    /// which the port indicates. The caller gets the error from [`payload_error`].
    // Returning the error itself would copy it through memory for every packet, which costs more
    // than decoding all of TCP.
    InvalidPayload(Layer),
    /// The packet is not supported; the content of the encapsulations is unspecified.
    Unsupported,
}

/// Decodes an Ethernet frame.
pub(super) fn decode(
    options: &DecoderOptions,
    data: &[u8],
    wire_len: u32,
    encapsulations: &mut Encapsulations,
) -> Outcome {
    // An unknown length on the wire needs special rules, which only the general path implements.
    if wire_len == 0 {
        return Outcome::Unsupported;
    }
    let mut path = FastPath {
        options,
        wire_len,
        rest: data,
        offset: 0,
        invalid_payload: None,
    };
    let mut start = Start::Ethernet;
    for (index, level) in encapsulations.levels.iter_mut().enumerate() {
        match path.level(start, level) {
            None => return Outcome::Unsupported,
            Some(Some(next)) => start = next,
            Some(None) => {
                encapsulations.len = index + 1;
                return path
                    .invalid_payload
                    .map_or(Outcome::Done, Outcome::InvalidPayload);
            }
        }
    }
    Outcome::Unsupported
}

/// Returns the error that belongs to [`Outcome::InvalidPayload`].
#[cold]
pub(super) fn payload_error(
    layer: Layer,
    data: &[u8],
    encapsulations: &Encapsulations,
) -> Result<(), DecodeError> {
    let Some(transport) = encapsulations.last().and_then(|level| level.transport) else {
        return Ok(());
    };
    let payload = data
        .get(transport.payload_offset as usize..)
        .unwrap_or_default();
    let payload = payload
        .get(..transport.payload_len as usize)
        .unwrap_or_default();
    terminal::check(layer, payload, transport.payload_offset)
}

/// Position in the packet being decoded.
struct FastPath<'a> {
    options: &'a DecoderOptions,
    wire_len: u32,
    /// Bytes from the next header to the end of the innermost payload.
    rest: &'a [u8],
    /// Start of `rest` in the captured bytes.
    offset: u32,
    /// Protocol of a UDP payload that is invalid.
    invalid_payload: Option<Layer>,
}

/// First header of an encapsulation level.
#[derive(Clone, Copy)]
enum Start {
    Ethernet,
    Ipv4,
    Ipv6,
}

/// First header of the next level; `None` at the end of the packet.
type Next = Option<Start>;

impl<'a> FastPath<'a> {
    /// Decodes one encapsulation level; `None` if it is not supported.
    #[inline(always)]
    fn level(&mut self, start: Start, level: &mut Encapsulation) -> Option<Next> {
        level.reset(
            self.offset,
            i64::from(self.wire_len) - i64::from(self.offset),
        );
        match start {
            Start::Ethernet => self.ethernet(level),
            Start::Ipv4 => self.ipv4(level),
            Start::Ipv6 => self.ipv6(level),
        }
    }

    #[inline(always)]
    fn ethernet(&mut self, level: &mut Encapsulation) -> Option<Next> {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *self.take::<14>()?;
        let mut ether_type = u16::from_be_bytes([t0, t1]);
        let mut layers = LayersPath::default().with(Layer::ETHERNET);
        let mut vlan_id = 0;
        let mut shift = 0;
        while matches!(ether_type, 0x8100 | 0x88a8) {
            let [i0, i1, t0, t1] = *self.take::<4>()?;
            if shift == MAX_TAGS * 12 {
                return None;
            }
            let id = u16::from_be_bytes([i0, i1]) & 0xfff;
            if id != 0 || self.options.recorded {
                vlan_id |= i64::from(id) << shift;
                shift += 12;
            }
            ether_type = u16::from_be_bytes([t0, t1]);
            layers = layers.with(Layer::DOT1Q);
        }
        level.layers = layers;
        level.link = Some(LinkHeader {
            source: [s0, s1, s2, s3, s4, s5],
            destination: [d0, d1, d2, d3, d4, d5],
        });
        level.vlan_id = vlan_id;
        match ether_type {
            TYPE_IPV4 => self.ipv4(level),
            TYPE_IPV6 => self.ipv6(level),
            0x0806 => self.arp(level),
            _ => None,
        }
    }

    #[inline(always)]
    fn arp(&self, level: &mut Encapsulation) -> Option<Next> {
        let [_, _, _, _, hardware_len, protocol_len, _, _] = *self.rest.first_chunk::<8>()?;
        let len = 8 + 2 * (usize::from(hardware_len) + usize::from(protocol_len));
        level.layers = level.layers.with(Layer::ARP);
        level.marks = Marks::default();
        level.marks.set_arp(self.rest);
        (self.rest.len() >= len).then_some(None)
    }

    #[inline(always)]
    fn ipv4(&mut self, level: &mut Encapsulation) -> Option<Next> {
        let [
            v,
            _,
            l0,
            l1,
            _,
            _,
            f0,
            f1,
            ttl,
            protocol,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = *self.take::<20>()?;
        let is_fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
        if v != 0x45 || is_fragment {
            return None;
        }
        let payload_len = match u16::from_be_bytes([l0, l1]) {
            0 => self.rest.len(),
            total_len => usize::from(total_len).checked_sub(20)?,
        };
        self.limit(payload_len);
        level.layers = level.layers.with(Layer::IPV4);
        level.network = Some(NetworkHeader {
            protocol: NetworkProtocol::Ipv4,
            hop_limit: ttl,
            source: IpAddress::v4([s0, s1, s2, s3]),
            destination: IpAddress::v4([d0, d1, d2, d3]),
            length: 20 + payload_len as u32,
            tunnel_id: 0,
            offset: self.offset - 20,
        });
        match protocol {
            6 => self.tcp(level),
            17 => self.udp(level),
            1 => self.icmpv4(level),
            47 => self.gre(level),
            _ => None,
        }
    }

    #[inline(always)]
    fn ipv6(&mut self, level: &mut Encapsulation) -> Option<Next> {
        let [v, _, _, _, l0, l1, protocol, hop_limit, ..] = *self.rest.first_chunk::<40>()?;
        let source = *self.rest.get(8..)?.first_chunk()?;
        let destination = *self.rest.get(24..)?.first_chunk()?;
        self.take::<40>()?;
        let payload_len = u16::from_be_bytes([l0, l1]);
        if v >> 4 != 6 || payload_len == 0 {
            return None;
        }
        self.limit(usize::from(payload_len));
        level.layers = level.layers.with(Layer::IPV6);
        level.network = Some(NetworkHeader {
            protocol: NetworkProtocol::Ipv6,
            hop_limit,
            source: IpAddress::v6(source),
            destination: IpAddress::v6(destination),
            length: if self.options.recorded { 0 } else { 40 } + u32::from(payload_len),
            tunnel_id: 0,
            offset: self.offset - 40,
        });
        match protocol {
            6 => self.tcp(level),
            17 => self.udp(level),
            58 => self.icmpv6_echo(level),
            47 => self.gre(level),
            _ => None,
        }
    }

    #[inline(always)]
    fn tcp(&self, level: &mut Encapsulation) -> Option<Next> {
        let [
            s0,
            s1,
            d0,
            d1,
            q0,
            q1,
            q2,
            q3,
            a0,
            a1,
            a2,
            a3,
            data_offset,
            flags,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = *self.rest.first_chunk::<20>()?;
        let header_len = usize::from(data_offset >> 4) * 4;
        if header_len < 20 {
            return None;
        }
        level.layers = level.layers.with(Layer::TCP);
        level.transport = Some(TransportHeader {
            protocol: TransportProtocol::Tcp,
            has_ports: true,
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
            flags: TcpFlags(flags),
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
            options_len: (header_len - 20) as u8,
            payload_offset: self.offset + header_len as u32,
            payload_len: self.rest.len().checked_sub(header_len)? as u32,
        });
        Some(None)
    }

    #[inline(always)]
    fn udp(&mut self, level: &mut Encapsulation) -> Option<Next> {
        let [s0, s1, d0, d1, l0, l1, _, _] = *self.take::<8>()?;
        match u16::from_be_bytes([l0, l1]) {
            0 => {}
            len => self.limit(usize::from(len).checked_sub(8)?),
        }
        let (source, destination) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        level.layers = level.layers.with(Layer::UDP);
        level.transport = Some(TransportHeader {
            protocol: TransportProtocol::Udp,
            has_ports: true,
            source,
            destination,
            flags: TcpFlags::default(),
            sequence: 0,
            acknowledgment: 0,
            options_len: 0,
            payload_offset: self.offset,
            payload_len: self.rest.len() as u32,
        });
        if self.rest.is_empty() {
            return Some(None);
        }
        match udp_payload::layer(source, destination, self.options) {
            None => Some(None),
            Some(Layer::VXLAN) => self.vxlan(level),
            Some(Layer::GENEVE) => self.geneve(level),
            // Only the general path has decoders for these protocols.
            Some(
                Layer::GTPV1U
                | Layer::MPLS
                | Layer::VXLAN_GPE
                | Layer::L2TP
                | Layer::GUE
                | Layer::TEREDO,
            ) => None,
            Some(layer) => {
                if terminal::is_valid(layer, self.rest) {
                    level.layers = level.layers.with(layer);
                } else {
                    self.invalid_payload = Some(layer);
                }
                Some(None)
            }
        }
    }

    #[inline(always)]
    fn vxlan(&mut self, level: &mut Encapsulation) -> Option<Next> {
        let [_, _, _, _, v0, v1, v2, _] = *self.take::<8>()?;
        level.layers = level.layers.with(Layer::VXLAN);
        self.virtual_network(level, u32::from_be_bytes([0, v0, v1, v2]), Start::Ethernet)
    }

    #[inline(always)]
    fn geneve(&mut self, level: &mut Encapsulation) -> Option<Next> {
        let [options, _, p0, p1, v0, v1, v2, _] = *self.take::<8>()?;
        let options_len = (options & 0x3f) * 4;
        self.rest = self.rest.get(usize::from(options_len)..)?;
        self.offset += u32::from(options_len);
        level.layers = level.layers.with(Layer::GENEVE);
        let start = start(u16::from_be_bytes([p0, p1]))?;
        self.virtual_network(level, u32::from_be_bytes([0, v0, v1, v2]), start)
    }

    #[inline(always)]
    fn virtual_network(&self, level: &mut Encapsulation, id: u32, start: Start) -> Option<Next> {
        level.tunnel_end = Some(id);
        level.network.as_mut()?.tunnel_id = i64::from(id);
        (!self.rest.is_empty()).then_some(Some(start))
    }

    /// Decodes a GRE header of version 0 with or without key and sequence number, but without
    /// checksum.
    #[inline(always)]
    fn gre(&mut self, level: &mut Encapsulation) -> Option<Next> {
        let [flags, version, p0, p1] = *self.take::<4>()?;
        if flags & !0x30 != 0 || version != 0 {
            return None;
        }
        level.marks = Marks::default();
        level.marks.set_ip_protocol(47);
        if flags & 0x20 != 0 {
            let key = u32::from_be_bytes(*self.take::<4>()?);
            level.network.as_mut()?.tunnel_id = i64::from(key);
            level.marks.set_gre_key(key);
        }
        if flags & 0x10 != 0 {
            self.take::<4>()?;
        }
        level.layers = level.layers.with(Layer::GRE);
        let start = start(u16::from_be_bytes([p0, p1]))?;
        (!self.rest.is_empty()).then_some(Some(start))
    }

    #[inline(always)]
    fn icmpv4(&self, level: &mut Encapsulation) -> Option<Next> {
        let bytes = *self.rest.first_chunk::<8>()?;
        if icmp::is_v4_error(bytes[0]) {
            return None;
        }
        let header = IcmpHeader::v4(bytes, self.options.recorded);
        level.layers = level.layers.with(Layer::ICMPV4);
        level.icmp = Some(header);
        level.icmp_key = Some(header.key(NetworkProtocol::Ipv4));
        Some(None)
    }

    #[inline(always)]
    fn icmpv6_echo(&self, level: &mut Encapsulation) -> Option<Next> {
        let [kind @ (128 | 129), code, _, _, rest @ ..] = self.rest.first_chunk::<8>()? else {
            return None;
        };
        let header = IcmpHeader::v6(*kind, *code, rest, self.options.recorded);
        level.layers = level.layers.with(Layer::ICMPV6).with(Layer::ICMPV6_ECHO);
        level.icmp = Some(header);
        level.icmp_key = Some(header.key(NetworkProtocol::Ipv6));
        Some(None)
    }

    /// Returns the next `N` bytes and moves past them.
    #[inline(always)]
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (header, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        self.offset += N as u32;
        Some(header)
    }

    /// Limits the payload to `len` bytes, unless it ends earlier.
    #[inline(always)]
    fn limit(&mut self, len: usize) {
        if let Some(payload) = self.rest.get(..len) {
            self.rest = payload;
        }
    }
}

/// Returns the first header of the level in a tunnel whose header contains an EtherType; `None` if
/// it is not supported.
#[inline(always)]
const fn start(ether_type: u16) -> Option<Start> {
    match ether_type {
        0x6558 => Some(Start::Ethernet),
        TYPE_IPV4 => Some(Start::Ipv4),
        TYPE_IPV6 => Some(Start::Ipv6),
        _ => None,
    }
}

/// Maximum number of VLAN tags.
const MAX_TAGS: u32 = 4;
