//! Dispatch tables of the general path, which map the number of a header to its decoder.
//!
//! A new protocol needs a file with a decoder and a row here.

use super::cursor::{Cursor, Next};
use super::{
    DecodeError, Layer, LinkType, cdp, dot11, eapol, erspan, ethernet, ethernet_ctp, fddi, geneve,
    gre, gtp, gue, hdlc, icmp, ip_extension, ip_in_ip, ipoib, ipv4, ipv6, l2tp, llc, lldp,
    loopback, mpls, nflog, nsh, pbb, pflog, ppi, ppp, sctp, sll, tcp, teredo, terminal, udp,
    udp_payload, vxlan, vxlan_gpe,
};

/// Decodes a packet from its first header to its end or to the first failure. In both cases, the
/// result contains the headers found.
pub(super) fn run(cursor: &mut Cursor<'_, '_>, link_type: LinkType) -> Result<(), DecodeError> {
    let mut next = Next::LinkType(link_type);
    let result = loop {
        next = match decode(cursor, next) {
            Err(error) => break Err(error),
            Ok(Next::End) => break Ok(()),
            // No header can follow, even if the last header announces one.
            Ok(next) if cursor.rest().is_empty() => {
                note_missing(cursor, next);
                break Ok(());
            }
            Ok(next) => next,
        };
    };
    cursor.finish();
    result
}

/// Stores the number of a header that was announced, but is not in the packet.
fn note_missing(cursor: &mut Cursor<'_, '_>, next: Next) {
    match next {
        Next::EtherType(value) if value >= ethernet::MIN_TYPE => cursor.note_ether_type(value),
        Next::IpProtocol(value) | Next::Ipv6NextHeader(value) => cursor.note_ip_protocol(value),
        _ => {}
    }
}

/// Decodes the next header.
fn decode(cursor: &mut Cursor<'_, '_>, next: Next) -> Result<Next, DecodeError> {
    match next {
        Next::End => Ok(Next::End),
        Next::LinkType(value) => link_type(cursor, value),
        Next::Frame => ethernet::frame(cursor),
        Next::Llc => llc::decode(cursor),
        Next::Ipv4 => ipv4::decode(cursor),
        Next::Ipv6 => ipv6::decode(cursor),
        Next::EtherType(value) => ether_type(cursor, value),
        Next::IpProtocol(value) => ip_protocol(cursor, value),
        Next::Ipv6NextHeader(value) => ipv6_next_header(cursor, value),
        Next::UdpPort(source, destination) => udp_port(cursor, source, destination),
        Next::PppProtocol(value) => ppp_protocol(cursor, value),
        Next::LlcSap(value) => llc_sap(cursor, value),
        Next::Terminal(layer) => terminal::decode(cursor, layer),
    }
}

/// Decodes the first header of a packet.
fn link_type(cursor: &mut Cursor<'_, '_>, value: LinkType) -> Result<Next, DecodeError> {
    match value {
        LinkType::ETHERNET => ethernet::frame(cursor),
        LinkType::RAW
        | LinkType::RAW_DLT
        | LinkType::RAW_OPENBSD
        | LinkType::IPV4
        | LinkType::IPV6 => raw_ip(cursor),
        LinkType::LINUX_SLL => sll::version_1(cursor),
        LinkType::LINUX_SLL2 => sll::version_2(cursor),
        LinkType::NULL | LinkType::LOOP => loopback::decode(cursor),
        LinkType::PPP => ppp::link(cursor),
        LinkType(other) if cursor.options.recorded => Err(DecodeError::LinkType(other)),
        _ => other_link_type(cursor, value),
    }
}

/// Decodes the first header of a packet of a link type that Skydive does not support.
fn other_link_type(cursor: &mut Cursor<'_, '_>, value: LinkType) -> Result<Next, DecodeError> {
    match value {
        LinkType::FDDI => fddi::decode(cursor),
        LinkType::PPP_HDLC => hdlc::either(cursor),
        LinkType::PPP_ETHER => ppp::pppoe_link(cursor),
        LinkType::C_HDLC => hdlc::cisco(cursor),
        LinkType::IEEE802_11 => dot11::link(cursor),
        LinkType::IEEE802_11_PRISM => dot11::prism(cursor),
        LinkType::IEEE802_11_RADIOTAP => dot11::radio_tap(cursor),
        LinkType::ENC => loopback::enc(cursor),
        LinkType::PFLOG => pflog::decode(cursor),
        LinkType::PPI => ppi::decode(cursor),
        LinkType::NFLOG => nflog::decode(cursor),
        LinkType::IPOIB => ipoib::decode(cursor),
        LinkType(other) => Err(DecodeError::LinkType(other)),
    }
}

/// Decodes IP of the version stated in the first nibble.
fn raw_ip(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    match cursor.rest().first().map(|byte| byte >> 4) {
        Some(6) => ipv6::decode(cursor),
        Some(4) | None => ipv4::decode(cursor),
        Some(_) => Err(cursor.malformed(Layer::IPV4)),
    }
}

/// Decodes the header of an EtherType (IANA registry "IEEE 802 Numbers").
fn ether_type(cursor: &mut Cursor<'_, '_>, value: u16) -> Result<Next, DecodeError> {
    note_ether_type(cursor, value);
    match value {
        ethernet::TYPE_IPV4 => ipv4::decode(cursor),
        ethernet::TYPE_IPV6 => ipv6::decode(cursor),
        0x0806 => {
            let packet = cursor.rest();
            let next = terminal::decode(cursor, Layer::ARP)?;
            cursor.marks().set_arp(packet);
            Ok(next)
        }
        0x8100 | 0x88a8 => ethernet::tag(cursor),
        0x8847 | 0x8848 => mpls::decode(cursor),
        0x6558 => ethernet::frame(cursor),
        0x8863 | 0x8864 => ppp::pppoe(cursor),
        0x880b => ppp::decode(cursor),
        0x88cc => lldp::decode(cursor),
        0x888e => eapol::decode(cursor),
        0x2000 => cdp::decode(cursor),
        0x9000 => ethernet_ctp::decode(cursor),
        0x88be => erspan::type_2(cursor),
        0..ethernet::MIN_TYPE => llc::decode(cursor),
        _ if cursor.options.recorded => cursor.unknown(value),
        0x9100 | 0x9200 | 0x9300 => ethernet::tag(cursor),
        0x22eb => erspan::type_3(cursor),
        0x88e7 => pbb::decode(cursor),
        0x894f => nsh::decode(cursor),
        _ => cursor.unknown(value),
    }
}

/// Stores the EtherType of a header that forms no IP or ARP flow, is not a tag, and begins no
/// level. MPLS multicast (0x8848) has labels of its own (RFC 5332, section 3).
fn note_ether_type(cursor: &mut Cursor<'_, '_>, value: u16) {
    match value {
        ethernet::TYPE_IPV4 | ethernet::TYPE_IPV6 | 0x0806 | 0x6558 => {}
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 | 0x8847 => {}
        0..ethernet::MIN_TYPE => {}
        _ => cursor.note_ether_type(value),
    }
}

/// Decodes the header of an IP protocol number (IANA registry).
fn ip_protocol(cursor: &mut Cursor<'_, '_>, value: u8) -> Result<Next, DecodeError> {
    cursor.note_ip_protocol(value);
    match value {
        1 => icmp::v4(cursor),
        2 => terminal::decode(cursor, Layer::IGMP),
        4 | 94 => ip_in_ip::v4(cursor),
        6 => tcp::decode(cursor),
        17 => udp::decode(cursor),
        27 => terminal::decode(cursor, Layer::RUDP),
        41 => ip_in_ip::v6(cursor),
        47 => gre::decode(cursor),
        50 => {
            cursor.note_spi(0);
            terminal::decode(cursor, Layer::IPSEC_ESP)
        }
        51 => ip_extension::authentication(cursor),
        58 => icmp::v6(cursor),
        89 => terminal::decode(cursor, Layer::OSPF),
        97 => ethernet::ether_ip(cursor),
        112 => terminal::decode(cursor, Layer::VRRP),
        115 if !cursor.options.recorded => l2tp::over_ip(cursor),
        132 => sctp::decode(cursor),
        136 => terminal::decode(cursor, Layer::UDP_LITE),
        137 => mpls::decode(cursor),
        _ => cursor.unknown(u16::from(value)),
    }
}

/// Decodes the header of an IPv6 Next Header number: an extension header (RFC 8200), or else an IP
/// protocol.
fn ipv6_next_header(cursor: &mut Cursor<'_, '_>, value: u8) -> Result<Next, DecodeError> {
    match value {
        0 => ip_extension::options(cursor, Layer::IPV6_HOP_BY_HOP),
        43 => ip_extension::options(cursor, Layer::IPV6_ROUTING),
        44 => ip_extension::fragment(cursor),
        60 => ip_extension::options(cursor, Layer::IPV6_DESTINATION),
        // "No Next Header".
        59 => {
            cursor.marks().set_ip_protocol(value);
            Ok(Next::End)
        }
        _ => ip_protocol(cursor, value),
    }
}

/// Decodes a UDP payload.
fn udp_port(
    cursor: &mut Cursor<'_, '_>,
    source: u16,
    destination: u16,
) -> Result<Next, DecodeError> {
    match udp_payload::layer(source, destination, cursor.options) {
        None => Ok(Next::End),
        Some(Layer::VXLAN) => vxlan::decode(cursor),
        Some(Layer::GENEVE) => geneve::decode(cursor),
        Some(Layer::GTPV1U) => gtp::decode(cursor),
        Some(Layer::MPLS) => mpls::decode(cursor),
        Some(Layer::VXLAN_GPE) => vxlan_gpe::decode(cursor),
        Some(Layer::L2TP) => l2tp::over_udp(cursor),
        Some(Layer::GUE) => gue::decode(cursor),
        Some(Layer::TEREDO) => teredo::decode(cursor),
        Some(layer) => terminal::decode(cursor, layer),
    }
}

/// Decodes the header of a PPP protocol number (IANA registry).
fn ppp_protocol(cursor: &mut Cursor<'_, '_>, value: u16) -> Result<Next, DecodeError> {
    match value {
        0x21 => ipv4::decode(cursor),
        0x57 => ipv6::decode(cursor),
        0x281 | 0x283 => mpls::decode(cursor),
        _ => cursor.unknown(value),
    }
}

/// Decodes the header of a pair of service access points of IEEE 802.2, without their lowest bits.
fn llc_sap(cursor: &mut Cursor<'_, '_>, value: u16) -> Result<Next, DecodeError> {
    match value {
        0xaaaa => llc::snap(cursor),
        0x4242 => terminal::decode(cursor, Layer::STP),
        _ => cursor.unknown(value),
    }
}
