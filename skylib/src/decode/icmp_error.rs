//! Packet inside an ICMP error: the beginning of the packet that the error refers to (RFC 792,
//! 4443).

use super::{
    IcmpHeader, IcmpType, IpAddress, NetworkHeader, NetworkProtocol, TcpFlags, TransportHeader,
    TransportProtocol,
};

/// Headers of the packet that an ICMP error refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedPacket {
    /// IP header.
    pub network: NetworkHeader,
    /// Protocol after the IP header and its extension headers.
    pub ip_protocol: u8,
    /// Ports; `None` for other protocols, and for fragments other than the first.
    pub transport: Option<TransportHeader>,
    /// ICMP part of the identity of the flow; see
    /// [`Encapsulation::icmp_key`](super::Encapsulation::icmp_key).
    pub icmp_key: Option<u32>,
    /// Next-hop MTU that the error states, in bytes; 0 if it states none.
    pub mtu: u32,
    /// Start of the quoted bytes in the captured bytes of the error.
    pub start: u32,
    /// Offset of the first byte after the quoted bytes, in bytes from the start of the captured
    /// packet.
    pub end: u32,
}

impl EmbeddedPacket {
    /// Parses the quoted bytes of a packet; `None` if it is not IP, or if they end before its
    /// addresses, ports, or ICMP identifier.
    pub(super) fn new(quote: &[u8]) -> Option<Self> {
        let (network, ip_protocol, payload) = match quote.first()? >> 4 {
            4 => ipv4(quote)?,
            6 => ipv6(quote)?,
            _ => return None,
        };
        let protocol = match ip_protocol {
            6 => Some(TransportProtocol::Tcp),
            17 => Some(TransportProtocol::Udp),
            132 => Some(TransportProtocol::Sctp),
            _ => None,
        };
        // Only the first fragment has ports.
        let (transport, icmp_key) = match (protocol, payload) {
            (_, None) => (None, None),
            (Some(protocol), Some(payload)) => (Some(ports(protocol, payload)?), None),
            (None, Some(payload)) if matches!(ip_protocol, 1 | 58) => {
                (None, Some(icmp_key(ip_protocol, *payload.first_chunk()?)))
            }
            (None, Some(_)) => (None, None),
        };
        Some(Self {
            network,
            ip_protocol,
            transport,
            icmp_key,
            mtu: 0,
            start: 0,
            end: 0,
        })
    }
}

/// Returns the ports of a transport header; `None` if they are truncated.
fn ports(protocol: TransportProtocol, payload: &[u8]) -> Option<TransportHeader> {
    let [s0, s1, d0, d1] = *payload.first_chunk::<4>()?;
    Some(TransportHeader {
        protocol,
        has_ports: true,
        source: u16::from_be_bytes([s0, s1]),
        destination: u16::from_be_bytes([d0, d1]),
        flags: TcpFlags::default(),
        sequence: 0,
        acknowledgment: 0,
        options_len: 0,
        payload_offset: 0,
        payload_len: 0,
    })
}

/// Returns the IPv4 header, the protocol, and the payload; for fragments other than the first, the
/// payload is `None`.
fn ipv4(quote: &[u8]) -> Option<(NetworkHeader, u8, Option<&[u8]>)> {
    let header = quote.first_chunk::<20>()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let address = |at: usize| header.get(at..)?.first_chunk::<4>();
    let network = NetworkHeader {
        protocol: NetworkProtocol::Ipv4,
        hop_limit: header[8],
        source: IpAddress::v4(*address(12)?),
        destination: IpAddress::v4(*address(16)?),
        length: u32::from(u16::from_be_bytes([header[2], header[3]])),
        tunnel_id: 0,
        offset: 0,
    };
    let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    if header_len < 20 {
        return None;
    }
    // Bytes after the end of the packet are padding of the quote (RFC 4884, section 5.1).
    let end = match usize::from(u16::from_be_bytes([header[2], header[3]])) {
        0 => quote.len(),
        total_len => quote.len().min(total_len.max(header_len)),
    };
    let payload = quote.get(header_len..end).unwrap_or_default();
    Some((network, header[9], is_first.then_some(payload)))
}

/// Returns the IPv6 header, the protocol, and the payload; for fragments other than the first, the
/// payload is `None`.
fn ipv6(quote: &[u8]) -> Option<(NetworkHeader, u8, Option<&[u8]>)> {
    let header = quote.first_chunk::<40>()?;
    let address = |at: usize| header.get(at..)?.first_chunk::<16>();
    let network = NetworkHeader {
        protocol: NetworkProtocol::Ipv6,
        hop_limit: header[7],
        source: IpAddress::v6(*address(8)?),
        destination: IpAddress::v6(*address(24)?),
        length: 40 + u32::from(u16::from_be_bytes([header[4], header[5]])),
        tunnel_id: 0,
        offset: 0,
    };
    let mut next = header[6];
    let mut payload = quote.get(40..)?;
    let mut is_first = true;
    while matches!(next, 0 | 43 | 44 | 60) {
        let extension = payload.first_chunk::<8>()?;
        let len = if next == 44 {
            is_first = u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 == 0;
            8
        } else {
            8 + usize::from(extension[1]) * 8
        };
        next = extension[0];
        payload = payload.get(len..)?;
    }
    Some((network, next, is_first.then_some(payload)))
}

/// Returns the ICMP part of the identity of a flow.
fn icmp_key(ip_protocol: u8, [kind, code, _, _, id0, id1]: [u8; 6]) -> u32 {
    let id = u16::from_be_bytes([id0, id1]);
    let is_v4 = ip_protocol == 1;
    let (protocol, kind, is_echo) = if is_v4 {
        let is_echo = matches!(kind, 0 | 8);
        (NetworkProtocol::Ipv4, IcmpType::from_v4(kind), is_echo)
    } else {
        let is_echo = matches!(kind, 128 | 129);
        (NetworkProtocol::Ipv6, IcmpType::from_v6(kind), is_echo)
    };
    let header = IcmpHeader {
        kind,
        code,
        id: if is_v4 || is_echo { id } else { 0 },
        number: 0,
        echo: is_echo.then_some(super::IcmpEcho::Request),
        query: None,
    };
    header.key(protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an IPv4 packet from 10.0.0.1 to 10.0.0.2.
    fn packet4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    /// Returns an IPv6 packet whose extension headers begin with `next`.
    fn packet6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        packet.extend([0xfd; 16]);
        packet.extend([0xfe; 16]);
        packet.extend(payload);
        packet
    }

    fn ports(embedded: &EmbeddedPacket) -> Option<(u16, u16)> {
        let transport = embedded.transport?;
        Some((transport.source, transport.destination))
    }

    #[test]
    fn eight_bytes_behind_ip_are_enough() {
        let udp = packet4(17, 0, &[0x10, 0, 0, 9, 0, 8, 0, 0]);
        let embedded = EmbeddedPacket::new(&udp).unwrap();
        assert_eq!(ports(&embedded), Some((4096, 9)));
        let echo = packet4(1, 0, &[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let embedded = EmbeddedPacket::new(&echo).unwrap();
        assert_eq!(embedded.icmp_key, Some(2 << 24 | 0x1234));
        let esp = packet4(50, 0, &[]);
        assert_eq!(EmbeddedPacket::new(&esp).unwrap().ip_protocol, 50);
    }

    #[test]
    fn a_quote_without_ports_has_no_subject_but_a_fragment_has() {
        let udp = packet4(17, 0, &[0x10, 0, 0, 9, 0, 8, 0, 0]);
        for len in 0..udp.len() {
            assert_eq!(
                EmbeddedPacket::new(&udp[..len]).is_some(),
                len >= 24,
                "{len}"
            );
        }
        let later = packet4(17, 0x20, &[0; 8]);
        assert_eq!(ports(&EmbeddedPacket::new(&later).unwrap()), None);
        // Padding after the end of the packet is not a header (RFC 4884).
        let mut padded = packet4(17, 0, &[]);
        padded.extend([0; 108]);
        assert_eq!(EmbeddedPacket::new(&padded), None);
    }

    #[test]
    fn extension_headers_of_ipv6_are_skipped() {
        // Hop-by-hop options, then a fragment header with offset 0, then UDP.
        let mut headers = vec![44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 7];
        headers.extend([0x10, 0, 0, 9]);
        let packet = packet6(0, &headers);
        assert_eq!(
            ports(&EmbeddedPacket::new(&packet).unwrap()),
            Some((4096, 9))
        );
        for len in 0..packet.len() {
            assert_eq!(EmbeddedPacket::new(&packet[..len]), None);
        }
    }
}
