//! Position in the packet being decoded, and the headers found so far.

use super::{
    DecodeError, DecoderOptions, EmbeddedPacket, Encapsulation, Encapsulations, Fragment,
    IcmpHeader, IpAddress, Layer, LinkHeader, LinkType, Marks, NetworkHeader, NetworkProtocol,
    TcpFlags, TransportHeader, TransportProtocol,
};
use crate::packet::CapturePoint;

/// Cursor that moves from the outermost header of a packet inwards.
///
/// The decoder of a protocol reads [`Cursor::rest`], stores the data that a flow needs, calls
/// [`Cursor::push`] for its layer, and returns the kind of the next header. Everything stored
/// remains valid if a later header fails.
///
/// Invariant: `offset <= end <= data.len()`.
pub(super) struct Cursor<'a, 'p> {
    pub(super) options: &'a DecoderOptions,
    /// Length of the packet on the wire, in bytes; 0 if unknown.
    pub(super) wire_len: u32,
    /// Captured bytes of the packet.
    data: &'a [u8],
    /// Start of the next header in `data`.
    offset: usize,
    /// End of the innermost payload in `data`.
    end: usize,
    /// Number of bytes counted for the flow of the first level; set by the first layer.
    length: Option<i64>,
    /// Number of bytes of all headers so far.
    header_bytes: i64,
    encapsulations: &'p mut Encapsulations,
    /// Current level, not yet part of `encapsulations`.
    level: Encapsulation,
    /// First headers of the current level.
    first: FirstHeaders,
    /// Whether the next layer begins a new level.
    starts_new_level: bool,
    /// Layer of the innermost header so far, which determines the next header.
    announcer: Layer,
    /// Start of the fragmented IP header of a reassembled packet; `None` for other packets.
    pub(super) reassembled_at: Option<usize>,
    /// Whether an IPv4 header was found.
    pub(super) has_ipv4: bool,
    /// Byte offset of the innermost IPv6 header in the packet; `None` if none was found.
    pub(super) ipv6_offset: Option<usize>,
}

/// First headers of each protocol in the current level. Which of them represents the level is known
/// only at its end, because IPv4 takes precedence over IPv6, and TCP over UDP and SCTP.
#[derive(Default)]
struct FirstHeaders {
    ipv4: Option<NetworkHeader>,
    ipv6: Option<NetworkHeader>,
    tcp: Option<TransportHeader>,
    udp: Option<TransportHeader>,
    sctp: Option<TransportHeader>,
    icmpv4: Option<IcmpHeader>,
    icmpv6: Option<IcmpHeader>,
    /// VLAN identifiers, 12 bits each, the outermost in the lowest bits.
    vlan_id: u64,
    vlan_tags: u32,
    tunnel_id: u32,
}

/// Kind of the next header, as stated by a number in the header before it.
///
/// [`dispatch`](super::dispatch) selects the decoder, so that the decoder of a protocol does not
/// depend on others.
#[derive(Clone, Copy)]
pub(super) enum Next {
    /// No further header: the rest is payload, or the packet has ended.
    End,
    /// First header of a packet with this link type.
    LinkType(LinkType),
    /// Ethernet frame.
    Frame,
    /// LLC header.
    Llc,
    /// IPv4 header.
    Ipv4,
    /// IPv6 header.
    Ipv6,
    /// Header selected by an EtherType; values below 0x600 are the length of an LLC frame.
    EtherType(u16),
    /// Header selected by the protocol number of IPv4.
    IpProtocol(u8),
    /// Header selected by the Next Header number of IPv6, which includes extension headers.
    Ipv6NextHeader(u8),
    /// UDP payload, selected by source port and destination port.
    UdpPort(u16, u16),
    /// Header selected by a PPP protocol number.
    PppProtocol(u16),
    /// Header selected by the destination and source service access points of LLC, one byte each.
    LlcSap(u16),
    /// Terminal protocol: no header is decoded after it.
    Terminal(Layer),
}

impl<'a, 'p> Cursor<'a, 'p> {
    pub(super) fn new(
        options: &'a DecoderOptions,
        data: &'a [u8],
        wire_len: u32,
        encapsulations: &'p mut Encapsulations,
    ) -> Self {
        Self {
            options,
            wire_len,
            data,
            offset: 0,
            end: data.len(),
            length: None,
            header_bytes: 0,
            encapsulations,
            level: Encapsulation::default(),
            first: FirstHeaders::default(),
            starts_new_level: false,
            announcer: Layer::ETHERNET,
            reassembled_at: None,
            has_ipv4: false,
            ipv6_offset: None,
        }
    }

    /// Returns the bytes from the next header to the end of the innermost payload.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.data.get(self.offset..self.end).unwrap_or_default()
    }

    /// Returns the first `N` bytes of the next header. If fewer are left, returns an error that
    /// names `layer`.
    pub(super) fn fixed_header<const N: usize>(
        &self,
        layer: Layer,
    ) -> Result<&'a [u8; N], DecodeError> {
        self.rest()
            .first_chunk()
            .ok_or_else(|| self.truncated(layer, N))
    }

    /// Returns the error for a next header that needs `needed` bytes.
    pub(super) fn truncated(&self, layer: Layer, needed: usize) -> DecodeError {
        DecodeError::Truncated {
            layer,
            offset: self.offset as u32,
            needed: needed as u32,
            available: self.rest().len() as u32,
        }
    }

    /// Returns the error for a next header that is malformed.
    pub(super) const fn malformed(&self, layer: Layer) -> DecodeError {
        DecodeError::Malformed {
            layer,
            offset: self.offset as u32,
        }
    }

    /// Handles a next header of an unknown protocol: returns an error, unless there are no more
    /// bytes.
    pub(super) fn unknown(&self, protocol: u16) -> Result<Next, DecodeError> {
        self.unknown_after(self.announcer, protocol)
    }

    /// Handles a next header of an unknown protocol that follows `layer`.
    pub(super) fn unknown_after(&self, layer: Layer, protocol: u16) -> Result<Next, DecodeError> {
        if self.rest().is_empty() {
            return Ok(Next::End);
        }
        Err(DecodeError::UnknownProtocol {
            layer,
            protocol,
            offset: self.offset as u32,
        })
    }

    /// Adds a layer to the path and moves past its header of `header_len` bytes.
    pub(super) fn push(&mut self, layer: Layer, header_len: usize) -> Result<(), DecodeError> {
        if self.starts_new_level {
            self.finish_level();
            self.starts_new_level = false;
        }
        if self.level.layers.is_empty() {
            self.level.offset = self.offset as u32;
            self.level.length = (self.length.unwrap_or_default() - self.header_bytes).max(0);
        }
        let has_room =
            self.encapsulations.len < Encapsulations::CAPACITY && self.level.layers.push(layer);
        if !has_room {
            return Err(DecodeError::TooDeep {
                layer,
                offset: self.offset as u32,
            });
        }
        // Layers without bytes, such as "Fragment", do not determine the next header.
        if header_len > 0 {
            self.announcer = layer;
        }
        self.header_bytes += header_len as i64;
        self.skip(header_len);
        Ok(())
    }

    /// Moves past a header that has no layer in the path; its bytes are not counted for the levels
    /// inside it.
    pub(super) fn skip_header(&mut self, len: usize) {
        self.header_bytes += len as i64;
        self.skip(len);
    }

    /// Returns the number of bytes from the next header to the end of the packet on the wire.
    pub(super) fn wire_rest(&self) -> usize {
        (self.wire_len as usize)
            .saturating_sub(self.offset)
            .max(self.rest().len())
    }

    /// Moves past bytes that belong to no layer of the path.
    pub(super) fn skip(&mut self, len: usize) {
        self.offset = self.end.min(self.offset + len);
    }

    /// Limits the innermost payload to `len` bytes from the start of the next header, unless it
    /// ends earlier.
    pub(super) fn limit(&mut self, len: usize) {
        // Headers around a reassembled datagram state the length of one fragment.
        if self.reassembled_at.is_none_or(|at| at <= self.offset) {
            self.end = self.end.min(self.offset + len);
        }
    }

    /// Sets the number of bytes that are counted for the flow of the first level, unless it is set
    /// already.
    pub(super) fn set_length(&mut self, length: i64) {
        self.length.get_or_insert(length);
    }

    /// Ends the current level; the next layer begins a new one.
    pub(super) const fn end_level(&mut self) {
        self.starts_new_level = true;
    }

    /// Returns whether the path of the current level is full.
    pub(super) const fn path_is_full(&self) -> bool {
        self.level.layers.is_full()
    }

    /// Stores the addresses of an Ethernet header, if it is the first one of its level.
    pub(super) fn add_link(&mut self, source: [u8; 6], destination: [u8; 6]) {
        self.level.link.get_or_insert(LinkHeader {
            source,
            destination,
        });
    }

    /// Stores a VLAN identifier of 12 bits; from the sixth one on, bits are lost, and a hash is stored
    /// in addition. The identifier 0 belongs to a priority tag (IEEE 802.1Q, 6.9).
    pub(super) fn add_vlan(&mut self, id: u16) {
        // COMPAT: recorded values of Skydive, in which a priority tag takes 12 bits.
        if id == 0 && !self.options.recorded {
            return;
        }
        if self.first.vlan_tags >= LinkHeader::MAX_TAGS {
            self.level.marks.add_more_tag(id);
        }
        let shifted = (id as u64)
            .checked_shl(12 * self.first.vlan_tags)
            .unwrap_or_default();
        self.first.vlan_id |= shifted;
        self.first.vlan_tags += 1;
    }

    /// Stores an IP header, if it is the first one of its version in the level.
    pub(super) fn add_network(&mut self, header: NetworkHeader) {
        let addresses = (header.source, header.destination);
        self.encapsulations.first_network.get_or_insert(addresses);
        let slot = match header.protocol {
            NetworkProtocol::Ipv4 => &mut self.first.ipv4,
            NetworkProtocol::Ipv6 => &mut self.first.ipv6,
        };
        slot.get_or_insert(header);
    }

    /// Stores a transport header, if it is the first one of its protocol in the level.
    pub(super) fn add_transport(&mut self, header: TransportHeader) {
        self.encapsulations.first_transport.get_or_insert(header);
        let slot = match header.protocol {
            TransportProtocol::Tcp => &mut self.first.tcp,
            TransportProtocol::Udp => &mut self.first.udp,
            TransportProtocol::Sctp => &mut self.first.sctp,
        };
        slot.get_or_insert(header);
    }

    /// Stores an IP header that is too short for its addresses; returns the error for the caller to
    /// report.
    // COMPAT: Skydive shows such a layer in the path and identifies the flow by empty addresses.
    pub(super) fn add_short_network(
        &mut self,
        protocol: NetworkProtocol,
        layer: Layer,
        needed: usize,
    ) -> DecodeError {
        let error = self.truncated(layer, needed);
        self.set_length(i64::from(self.wire_len));
        let (offset, len) = (self.offset as u32, self.rest().len());
        if let Err(error) = self.push(layer, len) {
            return error;
        }
        self.add_network(NetworkHeader {
            protocol,
            hop_limit: 0,
            source: IpAddress::NONE,
            destination: IpAddress::NONE,
            length: len as u32,
            tunnel_id: 0,
            offset,
        });
        error
    }

    /// Stores a transport header that is too short for its ports; returns the error for the caller
    /// to report.
    // COMPAT: Skydive shows such a layer in the path and identifies the flow by empty ports.
    pub(super) fn add_short_transport(
        &mut self,
        protocol: TransportProtocol,
        layer: Layer,
        needed: usize,
    ) -> DecodeError {
        let error = self.truncated(layer, needed);
        let len = self.rest().len();
        let payload_offset = (self.offset + len) as u32;
        if let Err(error) = self.push(layer, len) {
            return error;
        }
        self.add_transport(TransportHeader {
            protocol,
            has_ports: false,
            source: 0,
            destination: 0,
            flags: TcpFlags::default(),
            sequence: 0,
            acknowledgment: 0,
            options_len: 0,
            payload_offset,
            payload_len: 0,
        });
        error
    }

    /// Stores an ICMPv4 header; replaces an earlier ICMPv4 header of the level.
    pub(super) const fn set_icmpv4(&mut self, header: IcmpHeader) {
        self.first.icmpv4 = Some(header);
    }

    /// Stores an ICMPv6 header; replaces an earlier ICMPv6 header of the level.
    pub(super) const fn set_icmpv6(&mut self, header: IcmpHeader) {
        self.first.icmpv6 = Some(header);
    }

    /// Stores the identifier of a tunnel; replaces an earlier identifier of the level.
    pub(super) const fn set_tunnel(&mut self, id: u32) {
        self.first.tunnel_id = id;
    }

    /// Stores the identifier of the UDP tunnel header that ends the level, and ends it.
    pub(super) const fn set_tunnel_end(&mut self, id: u32) {
        self.level.tunnel_end = Some(id);
        self.end_level();
    }

    /// Stores the network identifier of a VXLAN or Geneve header and ends the level.
    pub(super) const fn set_virtual_network(&mut self, id: u32) {
        self.first.tunnel_id = id;
        self.level.tunnel_end = Some(id);
        self.end_level();
    }

    /// Marks the remaining bytes as the payload of a fragment. `header` is the start of the IP
    /// header; `extension` is the start of the IPv6 fragment header, or 0 for IPv4.
    pub(super) fn set_fragment(&mut self, header: usize, extension: usize) {
        self.encapsulations.fragment = Some(Fragment {
            outermost: self.encapsulations.first_network.unwrap_or_default(),
            header: header as u32,
            extension: extension as u32,
            payload: self.offset as u32,
            end: self.end as u32,
            point: CapturePoint::ONLY,
            around: 0,
        });
    }

    /// Marks the bytes after the first `skipped` bytes as a quote of the packet that an ICMP error
    /// refers to. `len` is the length of the quote stated in the header, in bytes, or 0 if it is
    /// not stated; `mtu` is the next-hop MTU, in bytes, or 0.
    pub(super) fn set_embedded(&mut self, skipped: usize, len: usize, mtu: u32) {
        if self.options.recorded {
            return;
        }
        let start = self.offset + skipped;
        let end = match start + len {
            end if len > 0 && end < self.end => end,
            _ => self.end,
        };
        let quote = self.data.get(start..end).unwrap_or_default();
        self.encapsulations.embedded = EmbeddedPacket::new(quote).map(|embedded| EmbeddedPacket {
            start: start as u32,
            end: end as u32,
            mtu,
            ..embedded
        });
    }

    /// Returns the identifiers of the current level.
    pub(super) const fn marks(&mut self) -> &mut Marks {
        &mut self.level.marks
    }

    /// Stores the EtherType of the next header, unless a new level begins or the EtherType of an
    /// outer header is stored.
    pub(super) fn note_ether_type(&mut self, value: u16) {
        if !self.starts_new_level && self.level.marks.link_tag().is_none() {
            self.level.marks.set_link_tag(0x10000 + u64::from(value));
        }
    }

    /// Stores the IP protocol number of the next header, unless a new level begins.
    pub(super) const fn note_ip_protocol(&mut self, value: u8) {
        if !self.starts_new_level {
            self.level.marks.set_ip_protocol(value);
        }
    }

    /// Stores the security parameter index at `at` bytes after the start of the next header.
    pub(super) fn note_spi(&mut self, at: usize) {
        if let Some(spi) = self
            .rest()
            .get(at..)
            .and_then(|rest| rest.first_chunk::<4>())
        {
            self.level.marks.set_spi(u32::from_be_bytes(*spi));
        }
    }

    /// Marks the remaining bytes as a terminal protocol.
    pub(super) fn set_terminal(&mut self) {
        self.encapsulations.terminal = Some((self.offset as u32, self.end as u32));
    }

    /// Returns the start of the next header in the captured bytes.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// Moves the last level to the result.
    pub(super) fn finish(&mut self) {
        self.finish_level();
        self.encapsulations.drop_redundant_first_headers();
    }

    /// Moves the current level to the result, or counts it if it has no flow.
    fn finish_level(&mut self) {
        let (mut level, first) = (self.level, std::mem::take(&mut self.first));
        self.level = Encapsulation::default();
        level.vlan_id = first.vlan_id as i64;
        level.network = first.ipv4.or(first.ipv6);
        if let Some(network) = &mut level.network {
            network.tunnel_id = i64::from(first.tunnel_id);
            level.icmp = match network.protocol {
                NetworkProtocol::Ipv4 => first.icmpv4,
                NetworkProtocol::Ipv6 => first.icmpv6,
            };
        }
        level.transport = first.tcp.or(first.udp).or(first.sctp);
        level.icmp_key = first
            .icmpv4
            .map(|header| header.key(NetworkProtocol::Ipv4))
            .or_else(|| first.icmpv6.map(|header| header.key(NetworkProtocol::Ipv6)));
        let has_ports = level.transport.is_some_and(|transport| transport.has_ports);
        let has_ports_or_icmp = has_ports || level.icmp.is_some();
        level
            .marks
            .retain(level.network.is_some(), has_ports_or_icmp);
        let makes_flow = level.link.is_some() || level.network.is_some();
        match self.encapsulations.levels.get_mut(self.encapsulations.len) {
            Some(slot) if makes_flow => {
                *slot = level;
                self.encapsulations.len += 1;
            }
            _ => {
                self.encapsulations.without_flow += usize::from(!level.layers.is_empty());
                // The identifiers of headers that form no flow distinguish the flows inside.
                self.level.marks = level.marks.inherited();
            }
        }
    }
}
