//! `PacketSummary`: ends and protocol of a sampled packet, of which only the beginning is known.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// Ends and protocol of a packet that an exporter sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketSummary {
    /// Source MAC address.
    pub src_mac: Option<[u8; 6]>,
    /// Destination MAC address.
    pub dst_mac: Option<[u8; 6]>,
    /// Outermost VLAN.
    pub vlan: Option<u16>,
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// IP protocol number, after extension headers.
    pub protocol: Option<u8>,
    /// Type of service, or traffic class.
    pub tos: Option<u8>,
    /// Source port of TCP, UDP, or SCTP.
    pub src_port: Option<u16>,
    /// Destination port of TCP, UDP, or SCTP.
    pub dst_port: Option<u16>,
    /// TCP flags.
    pub tcp_flags: Option<u8>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
}

/// First header of a sampled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionStart {
    Ethernet,
    Ip,
}

impl PacketSummary {
    /// Reads the beginning of an Ethernet frame.
    #[must_use]
    pub fn of_frame(bytes: &[u8]) -> Self {
        Self::read(bytes, SectionStart::Ethernet)
    }

    /// Reads the beginning of an IP packet.
    #[must_use]
    pub fn of_ip(bytes: &[u8]) -> Self {
        Self::read(bytes, SectionStart::Ip)
    }

    pub(super) fn read(bytes: &[u8], start: SectionStart) -> Self {
        let sliced = match start {
            SectionStart::Ethernet => LaxSlicedPacket::from_ethernet(bytes).ok(),
            SectionStart::Ip => LaxSlicedPacket::from_ip(bytes).ok(),
        };
        let mut summary = Self::default();
        let Some(packet) = sliced else {
            return summary;
        };
        if start == SectionStart::Ethernet && bytes.len() >= 12 {
            summary.dst_mac = bytes[..6].try_into().ok();
            summary.src_mac = bytes[6..12].try_into().ok();
        }
        summary.vlan = packet.vlan_ids().first().map(|id| id.value());
        match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                summary.src = Some(IpAddr::V4(header.source_addr()));
                summary.dst = Some(IpAddr::V4(header.destination_addr()));
                summary.tos = header.slice().get(1).copied();
                summary.protocol = Some(ip.payload().ip_number.0);
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                summary.src = Some(IpAddr::V6(header.source_addr()));
                summary.dst = Some(IpAddr::V6(header.destination_addr()));
                summary.tos = Some(header.traffic_class());
                summary.protocol = Some(ip.payload().ip_number.0);
            }
            _ => return summary,
        }
        summary.add_transport(&packet);
        summary
    }

    fn add_transport(&mut self, packet: &LaxSlicedPacket<'_>) {
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                self.src_port = Some(tcp.source_port());
                self.dst_port = Some(tcp.destination_port());
                self.tcp_flags = tcp.slice().get(13).copied();
            }
            Some(TransportSlice::Udp(udp)) => {
                self.src_port = Some(udp.source_port());
                self.dst_port = Some(udp.destination_port());
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                self.icmp_type = Some(icmp.type_u8());
                self.icmp_code = Some(icmp.code_u8());
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                self.icmp_type = Some(icmp.type_u8());
                self.icmp_code = Some(icmp.code_u8());
            }
            // A header that is cut, or a protocol that the slicer does not know.
            _ => self.add_cut_transport(packet),
        }
    }

    /// Reads the available fields of a truncated transport header, or of SCTP.
    fn add_cut_transport(&mut self, packet: &LaxSlicedPacket<'_>) {
        const TCP: u8 = 6;
        const UDP: u8 = 17;
        const ICMP: u8 = 1;
        const ICMPV6: u8 = 58;
        const SCTP: u8 = 132;
        let Some(payload) = packet.net.as_ref().and_then(LaxNetSlice::ip_payload_ref) else {
            return;
        };
        let (bytes, is_fragment) = (payload.payload, payload.fragmented);
        let port = |at: usize| {
            let bytes = bytes.get(at..at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        match self.protocol {
            _ if is_fragment => {}
            Some(TCP | UDP | SCTP) => {
                (self.src_port, self.dst_port) = (port(0), port(2));
            }
            Some(ICMP | ICMPV6) => {
                (self.icmp_type, self.icmp_code) = (bytes.first().copied(), bytes.get(1).copied());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn frame() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6])
            .single_vlan(etherparse::VlanId::try_new(7).unwrap())
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1_000, 80, 1, 1)
            .syn();
        let mut frame = Vec::new();
        builder.write(&mut frame, &[0; 100]).unwrap();
        frame
    }

    #[test]
    fn a_cut_frame_shows_its_ends() {
        let frame = frame();
        for length in [frame.len(), 60, 14 + 4 + 20 + 20] {
            let summary = PacketSummary::of_frame(&frame[..length]);
            assert_eq!(summary.src, Some("10.0.0.1".parse().unwrap()), "{length}");
            assert_eq!(
                (summary.src_port, summary.dst_port),
                (Some(1_000), Some(80))
            );
            assert_eq!((summary.vlan, summary.tcp_flags), (Some(7), Some(2)));
            assert_eq!((summary.src_mac, summary.protocol), (Some([1; 6]), Some(6)));
        }
        let ports = PacketSummary::of_frame(&frame[..14 + 4 + 20 + 4]);
        assert_eq!((ports.src_port, ports.dst_port), (Some(1_000), Some(80)));
        let none = PacketSummary::of_frame(&frame[..14 + 4 + 20 + 3]);
        assert_eq!(none.dst_port, None);
        assert_eq!(PacketSummary::of_ip(&frame[18..]).protocol, Some(6));
        for length in 0..frame.len() {
            std::hint::black_box(PacketSummary::of_frame(&frame[..length]));
            std::hint::black_box(PacketSummary::of_ip(&frame[..length]));
        }
    }
}
