//! Link, IP and transport headers, read through etherparse.
//!
//! etherparse says whether a header is whole; what is still readable of one that is not is kept.

use etherparse::{
    Ethernet2HeaderSlice, IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
    err,
};

use super::cursor::{Cursor, Next};
use super::encapsulation::{
    IpAddress, NetworkHeader, NetworkProtocol, TcpFlags, TransportHeader, TransportProtocol,
};
use super::{DecodeError, Layer, gre, icmp, llc, lldp, mpls, ppp, sctp, udp_payload};

/// Ethernet II, or IEEE 802.3 with a length in place of the type.
pub(super) fn ethernet(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = Ethernet2HeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(Layer::ETHERNET, error.required_len))?;
    let ether_type = header.ether_type().0;
    let payload_len = cursor.rest().len() - ETHERNET_LEN;
    cursor.set_length(match cursor.wire_len {
        0 if ether_type < LEAST_ETHER_TYPE => (ETHERNET_LEN as i64) + i64::from(ether_type),
        0 => (ETHERNET_LEN + payload_len) as i64,
        wire_len => i64::from(wire_len),
    });
    cursor.push(Layer::ETHERNET, ETHERNET_LEN)?;
    cursor.found_link(header.source(), header.destination());
    sized_ether_type(cursor, Layer::ETHERNET, ether_type)
}

fn dot1q(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = SingleVlanHeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(Layer::DOT1Q, error.required_len))?;
    cursor.push(Layer::DOT1Q, header.slice().len())?;
    cursor.found_vlan(header.vlan_identifier().value());
    sized_ether_type(cursor, Layer::DOT1Q, header.ether_type().0)
}

/// What follows by an EtherType field that may hold the payload's length instead.
fn sized_ether_type(
    cursor: &mut Cursor<'_, '_>,
    from: Layer,
    value: u16,
) -> Result<Next, DecodeError> {
    if value < LEAST_ETHER_TYPE {
        cursor.limit(usize::from(value));
    }
    ether_type(cursor, from, value)
}

/// What follows by EtherType.
pub(super) fn ether_type(
    cursor: &Cursor<'_, '_>,
    from: Layer,
    value: u16,
) -> Result<Next, DecodeError> {
    Ok(match value {
        ETHER_TYPE_IPV4 => Next::Header(ipv4),
        ETHER_TYPE_IPV6 => Next::Header(ipv6),
        0x0806 => Next::Leaf(Layer::ARP),
        0x8100 | 0x88a8 => Next::Header(dot1q),
        0x8847 | 0x8848 => Next::Header(mpls::decode),
        0x6558 => Next::Header(ethernet),
        0x8863 | 0x8864 => Next::Header(ppp::pppoe),
        0x880b => Next::Header(ppp::decode),
        0x88cc => Next::Header(lldp::lldp),
        0x888e => Next::Header(lldp::eapol),
        0x2000 => Next::Header(lldp::cisco_discovery),
        0x9000 => Next::Header(lldp::ethernet_ctp),
        0x88be => Next::Header(gre::erspan),
        0..LEAST_ETHER_TYPE => Next::Header(llc::decode),
        _ => return cursor.unknown(from, value),
    })
}

/// IP of either version, told by the first nibble.
pub(super) fn ip(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    match cursor.rest().first().map(|byte| byte >> 4) {
        Some(6) => ipv6(cursor),
        Some(4) | None => ipv4(cursor),
        Some(_) => Err(cursor.malformed(Layer::IPV4)),
    }
}

/// IPv4 (RFC 791).
pub(super) fn ipv4(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let rest = cursor.rest();
    let Some(fixed) = rest.first_chunk::<20>() else {
        let error = cursor.truncated(Layer::IPV4, 20);
        return Err(short_ip(cursor, NetworkProtocol::Ipv4, error));
    };
    let [
        _,
        _,
        l0,
        l1,
        _,
        _,
        _,
        _,
        ttl,
        _,
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
    ] = *fixed;
    // Segmentation offload leaves the length open: then it is what was captured.
    let total_len = match u16::from_be_bytes([l0, l1]) {
        0 => rest.len(),
        len => usize::from(len),
    };
    let network = NetworkHeader {
        protocol: NetworkProtocol::Ipv4,
        hop_limit: ttl,
        source: IpAddress::v4([s0, s1, s2, s3]),
        destination: IpAddress::v4([d0, d1, d2, d3]),
        length: total_len as u32,
        tunnel_id: 0,
    };
    let header = match Ipv4HeaderSlice::from_slice(rest) {
        Ok(header) if header.slice().len() <= total_len => Ok(header),
        Ok(_) | Err(err::ipv4::HeaderSliceError::Content(_)) => Err(cursor.malformed(Layer::IPV4)),
        Err(err::ipv4::HeaderSliceError::Len(len)) => {
            Err(cursor.truncated(Layer::IPV4, len.required_len))
        }
    };
    cursor.set_length(total_len as i64);
    cursor.limit(total_len);
    let offset = cursor.offset();
    let is_first = !std::mem::replace(&mut cursor.has_ipv4, true);
    cursor.push(
        Layer::IPV4,
        header.as_ref().map_or(20, |header| header.slice().len()),
    )?;
    cursor.found_network(network);
    let header = header?;
    if is_first && cursor.is_joined {
        cursor.push(Layer::FRAGMENT, 0)?;
    }
    if header.is_fragmenting_payload() {
        if is_first && !header.dont_fragment() {
            cursor.found_fragment(offset);
        }
        return Ok(Next::Leaf(Layer::FRAGMENT));
    }
    ip_protocol(cursor, Layer::IPV4, header.protocol().0)
}

/// IPv6 (RFC 8200), without its extension headers.
pub(super) fn ipv6(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let rest = cursor.rest();
    let Some((fixed, payload)) = rest.split_first_chunk::<40>() else {
        let error = cursor.truncated(Layer::IPV6, 40);
        return Err(short_ip(cursor, NetworkProtocol::Ipv6, error));
    };
    let header = Ipv6HeaderSlice::from_slice(rest).map_err(|_| cursor.malformed(Layer::IPV6));
    // Jumbograms and segmentation offload leave the length open.
    let payload_len = match u16::from_be_bytes([fixed[4], fixed[5]]) {
        0 => payload.len(),
        len => usize::from(len),
    };
    let (mut source, mut destination) = ([0; 16], [0; 16]);
    source.copy_from_slice(&fixed[8..24]);
    destination.copy_from_slice(&fixed[24..]);
    // COMPAT: Skydive counts raw IPv6 packets without their 40-byte header.
    cursor.set_length(payload_len as i64);
    cursor.limit(fixed.len() + payload_len);
    cursor.push(Layer::IPV6, fixed.len())?;
    cursor.found_network(NetworkHeader {
        protocol: NetworkProtocol::Ipv6,
        hop_limit: fixed[7],
        source: IpAddress::v6(source),
        destination: IpAddress::v6(destination),
        length: payload_len as u32,
        tunnel_id: 0,
    });
    ip_protocol(cursor, Layer::IPV6, header?.next_header().0)
}

/// Notes an IP header that is too short for its addresses.
// COMPAT: Skydive shows such a layer in the path and identifies the flow by empty addresses.
fn short_ip(
    cursor: &mut Cursor<'_, '_>,
    protocol: NetworkProtocol,
    error: DecodeError,
) -> DecodeError {
    let layer = match protocol {
        NetworkProtocol::Ipv4 => Layer::IPV4,
        NetworkProtocol::Ipv6 => Layer::IPV6,
    };
    cursor.set_length(i64::from(cursor.wire_len));
    let len = cursor.rest().len();
    if let Err(error) = cursor.push(layer, len) {
        return error;
    }
    cursor.found_network(NetworkHeader {
        protocol,
        hop_limit: 0,
        source: IpAddress::NONE,
        destination: IpAddress::NONE,
        length: len as u32,
        tunnel_id: 0,
    });
    error
}

/// What follows by IP protocol number; `from` is the header that holds it.
pub(super) fn ip_protocol(
    cursor: &Cursor<'_, '_>,
    from: Layer,
    value: u8,
) -> Result<Next, DecodeError> {
    Ok(match value {
        1 => Next::Header(icmp::v4),
        2 => Next::Leaf(Layer::IGMP),
        4 | 94 => Next::Header(ipv4),
        6 => Next::Header(tcp),
        17 => Next::Header(udp),
        27 => Next::Leaf(Layer::RUDP),
        41 => Next::Header(ipv6),
        47 => Next::Header(gre::decode),
        50 => Next::Leaf(Layer::IPSEC_ESP),
        51 => Next::Header(authentication),
        58 => Next::Header(icmp::v6),
        89 => Next::Leaf(Layer::OSPF),
        97 => Next::Header(ether_ip),
        112 => Next::Leaf(Layer::VRRP),
        132 => Next::Header(sctp::decode),
        136 => Next::Leaf(Layer::UDP_LITE),
        137 => Next::Header(mpls::decode),
        0 if from != Layer::IPV4 => Next::Header(hop_by_hop),
        43 if from != Layer::IPV4 => Next::Header(routing),
        44 if from != Layer::IPV4 => Next::Header(ipv6_fragment),
        60 if from != Layer::IPV4 => Next::Header(destination_options),
        59 if from != Layer::IPV4 => Next::End,
        _ => return cursor.unknown(from, u16::from(value)),
    })
}

fn hop_by_hop(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    extension(cursor, Layer::IPV6_HOP_BY_HOP)
}

fn routing(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    extension(cursor, Layer::IPV6_ROUTING)
}

fn destination_options(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    extension(cursor, Layer::IPV6_DESTINATION)
}

fn extension(cursor: &mut Cursor<'_, '_>, layer: Layer) -> Result<Next, DecodeError> {
    let header = Ipv6RawExtHeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(layer, error.required_len))?;
    cursor.push(layer, header.slice().len())?;
    ip_protocol(cursor, layer, header.next_header().0)
}

fn ipv6_fragment(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = Ipv6FragmentHeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(Layer::IPV6_FRAGMENT, error.required_len))?;
    cursor.push(Layer::IPV6_FRAGMENT, header.slice().len())?;
    // COMPAT: Skydive joins no IPv6 fragments, not even a whole datagram with this header.
    Ok(Next::Leaf(Layer::FRAGMENT))
}

fn authentication(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::IPSEC_AH;
    let header = IpAuthHeaderSlice::from_slice(cursor.rest()).map_err(|error| match error {
        err::ip_auth::HeaderSliceError::Len(len) => cursor.truncated(layer, len.required_len),
        err::ip_auth::HeaderSliceError::Content(_) => cursor.malformed(layer),
    })?;
    cursor.push(layer, header.slice().len())?;
    ip_protocol(cursor, layer, header.next_header().0)
}

/// EtherIP (RFC 3378).
fn ether_ip(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    cursor.chunk::<2>(Layer::ETHER_IP)?;
    cursor.push(Layer::ETHER_IP, 2)?;
    Ok(Next::Header(ethernet))
}

fn tcp(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let rest = cursor.rest();
    let Some(fixed) = rest.first_chunk::<20>() else {
        return Err(short_transport(
            cursor,
            TransportProtocol::Tcp,
            Layer::TCP,
            20,
        ));
    };
    let [
        s0,
        s1,
        d0,
        d1,
        q0,
        q1,
        q2,
        q3,
        _,
        _,
        _,
        _,
        _,
        flags,
        _,
        _,
        _,
        _,
        _,
        _,
    ] = *fixed;
    let header = TcpHeaderSlice::from_slice(rest).map_err(|error| match error {
        err::tcp::HeaderSliceError::Len(len) => cursor.truncated(Layer::TCP, len.required_len),
        err::tcp::HeaderSliceError::Content(_) => cursor.malformed(Layer::TCP),
    });
    let header_len = header
        .as_ref()
        .map_or(rest.len(), |header| header.slice().len());
    let payload_offset = cursor.offset() + header_len;
    cursor.push(Layer::TCP, header_len)?;
    cursor.found_transport(TransportHeader {
        protocol: TransportProtocol::Tcp,
        has_ports: true,
        source: u16::from_be_bytes([s0, s1]),
        destination: u16::from_be_bytes([d0, d1]),
        flags: TcpFlags(flags),
        sequence: u32::from_be_bytes([q0, q1, q2, q3]),
        payload_offset: payload_offset as u32,
        payload_len: cursor.rest().len() as u32,
    });
    header?;
    Ok(Next::End)
}

fn udp(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let Ok(header) = UdpHeaderSlice::from_slice(cursor.rest()) else {
        return Err(short_transport(
            cursor,
            TransportProtocol::Udp,
            Layer::UDP,
            8,
        ));
    };
    let (source, destination) = (header.source_port(), header.destination_port());
    let payload_offset = cursor.offset() + header.slice().len();
    let malformed = cursor.malformed(Layer::UDP);
    match header.length() {
        // More than 65535 bytes (RFC 2675), or segmentation offload: all that is there.
        0 => {}
        len => cursor.limit(usize::from(len).max(header.slice().len())),
    }
    cursor.push(Layer::UDP, header.slice().len())?;
    cursor.found_transport(TransportHeader {
        protocol: TransportProtocol::Udp,
        has_ports: true,
        source,
        destination,
        flags: TcpFlags::default(),
        sequence: 0,
        payload_offset: payload_offset as u32,
        payload_len: cursor.rest().len() as u32,
    });
    if matches!(header.length(), 1..8) {
        return Err(malformed);
    }
    Ok(udp_payload::next(source, destination, cursor.options))
}

/// Notes a transport header that is too short for its ports.
// COMPAT: Skydive shows such a layer in the path and identifies the flow by empty ports.
pub(super) fn short_transport(
    cursor: &mut Cursor<'_, '_>,
    protocol: TransportProtocol,
    layer: Layer,
    wanted: usize,
) -> DecodeError {
    let error = cursor.truncated(layer, wanted);
    let len = cursor.rest().len();
    let payload_offset = (cursor.offset() + len) as u32;
    if let Err(error) = cursor.push(layer, len) {
        return error;
    }
    cursor.found_transport(TransportHeader {
        protocol,
        has_ports: false,
        source: 0,
        destination: 0,
        flags: TcpFlags::default(),
        sequence: 0,
        payload_offset,
        payload_len: 0,
    });
    error
}

/// Bytes of an Ethernet header.
const ETHERNET_LEN: usize = 14;
pub(super) const ETHER_TYPE_IPV4: u16 = 0x0800;
pub(super) const ETHER_TYPE_IPV6: u16 = 0x86dd;
/// Smaller values in the type field of Ethernet are lengths (IEEE 802.3, 3.2.6).
const LEAST_ETHER_TYPE: u16 = 0x600;
