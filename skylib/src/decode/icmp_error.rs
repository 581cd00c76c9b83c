//! Packet within an ICMP error: the beginning of the packet that the error is about (RFC 792, 4443).

use super::{
    IcmpHeader, IcmpType, IpAddress, NetworkHeader, NetworkProtocol, TcpFlags, TransportHeader,
    TransportProtocol,
};

/// Headers of the packet that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedPacket {
    /// IP header.
    pub network: NetworkHeader,
    /// Protocol behind the IP header and its extension headers.
    pub ip_protocol: u8,
    /// Ports; `None` for other protocols, and for all but the first fragment.
    pub transport: Option<TransportHeader>,
    /// What ICMP adds to the identity of the flow, see
    /// [`Encapsulation::icmp_key`](super::Encapsulation::icmp_key).
    pub icmp_key: Option<u32>,
    /// Next-hop MTU that the error announces, in bytes; 0 if there is none.
    pub mtu: u32,
}

impl EmbeddedPacket {
    /// Parses the packet behind an ICMP header; `None` if it is not IP or truncated before its
    /// addresses.
    pub(super) fn new(data: &[u8], mtu: u32) -> Option<Self> {
        let (network, ip_protocol, payload) = match data.first()? >> 4 {
            4 => ipv4(data)?,
            6 => ipv6(data)?,
            _ => return None,
        };
        let protocol = match ip_protocol {
            6 => Some(TransportProtocol::Tcp),
            17 => Some(TransportProtocol::Udp),
            132 => Some(TransportProtocol::Sctp),
            _ => None,
        };
        let ports = payload.and_then(|payload| payload.first_chunk::<4>());
        let transport = protocol
            .zip(ports)
            .map(|(protocol, [s0, s1, d0, d1])| TransportHeader {
                protocol,
                has_ports: true,
                source: u16::from_be_bytes([*s0, *s1]),
                destination: u16::from_be_bytes([*d0, *d1]),
                flags: TcpFlags::default(),
                sequence: 0,
                acknowledgment: 0,
                options_len: 0,
                payload_offset: 0,
                payload_len: 0,
            });
        let icmp = payload.and_then(|payload| payload.first_chunk::<6>());
        let icmp_key = icmp.and_then(|header| icmp_key(ip_protocol, *header));
        Some(Self {
            network,
            ip_protocol,
            transport,
            icmp_key,
            mtu,
        })
    }
}

/// Returns the IPv4 header, the protocol, and the payload unless it is a later fragment.
fn ipv4(data: &[u8]) -> Option<(NetworkHeader, u8, Option<&[u8]>)> {
    let header = data.first_chunk::<20>()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let address = |at: usize| header.get(at..)?.first_chunk::<4>();
    let network = NetworkHeader {
        protocol: NetworkProtocol::Ipv4,
        hop_limit: header[8],
        source: IpAddress::v4(*address(12)?),
        destination: IpAddress::v4(*address(16)?),
        length: u32::from(u16::from_be_bytes([header[2], header[3]])),
        tunnel_id: 0,
    };
    let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    let payload = data
        .get(header_len..)
        .filter(|_| is_first && header_len >= 20);
    Some((network, header[9], payload))
}

/// Returns the IPv6 header, the protocol, and the payload unless it is a later fragment.
fn ipv6(data: &[u8]) -> Option<(NetworkHeader, u8, Option<&[u8]>)> {
    let header = data.first_chunk::<40>()?;
    let address = |at: usize| header.get(at..)?.first_chunk::<16>();
    let network = NetworkHeader {
        protocol: NetworkProtocol::Ipv6,
        hop_limit: header[7],
        source: IpAddress::v6(*address(8)?),
        destination: IpAddress::v6(*address(24)?),
        length: 40 + u32::from(u16::from_be_bytes([header[4], header[5]])),
        tunnel_id: 0,
    };
    let mut next = header[6];
    let mut payload = data.get(40..);
    let mut is_first = true;
    while matches!(next, 0 | 43 | 44 | 60) {
        let Some(extension) = payload.and_then(|payload| payload.first_chunk::<8>()) else {
            return Some((network, next, None));
        };
        let len = if next == 44 {
            is_first = u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 == 0;
            8
        } else {
            8 + usize::from(extension[1]) * 8
        };
        next = extension[0];
        payload = payload.and_then(|payload| payload.get(len..));
    }
    Some((network, next, payload.filter(|_| is_first)))
}

/// Returns what the header of an ICMP message adds to the identity of its flow.
fn icmp_key(ip_protocol: u8, [kind, code, _, _, id0, id1]: [u8; 6]) -> Option<u32> {
    let id = u16::from_be_bytes([id0, id1]);
    let (protocol, kind, is_echo) = match ip_protocol {
        1 => (
            NetworkProtocol::Ipv4,
            IcmpType::from_v4(kind),
            matches!(kind, 0 | 8),
        ),
        58 => (
            NetworkProtocol::Ipv6,
            IcmpType::from_v6(kind),
            matches!(kind, 128 | 129),
        ),
        _ => return None,
    };
    let is_v4 = protocol == NetworkProtocol::Ipv4;
    let header = IcmpHeader {
        kind,
        code,
        id: if is_v4 || is_echo { id } else { 0 },
        number: 0,
        echo: is_echo.then_some(super::IcmpEcho::Request),
    };
    Some(header.key(protocol))
}
