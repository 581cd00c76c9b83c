//! What UDP carries, by port.

use super::cursor::Next;
use super::{DecoderOptions, Layer, geneve, gtp, mpls, vxlan};

/// What follows a UDP header: by destination port, else by source port.
pub(super) fn next(source: u16, destination: u16, options: &DecoderOptions) -> Next {
    match layer(destination, options).or_else(|| layer(source, options)) {
        None => Next::End,
        Some(Layer::VXLAN) => Next::Header(vxlan::decode),
        Some(Layer::GENEVE) => Next::Header(geneve::decode),
        Some(Layer::GTPV1U) => Next::Header(gtp::decode),
        Some(Layer::MPLS) => Next::Header(mpls::decode),
        Some(layer) => Next::Leaf(layer),
    }
}

/// The layer a UDP port stands for.
#[inline]
pub(super) fn layer(port: u16, options: &DecoderOptions) -> Option<Layer> {
    if options.mpls_udp_ports.contains(&port) {
        return Some(Layer::MPLS);
    }
    well_known(port)
}

/// The layer that everybody takes a UDP port for.
#[inline]
pub(super) const fn well_known(port: u16) -> Option<Layer> {
    Some(match port {
        53 => Layer::DNS,
        67 | 68 => Layer::DHCPV4,
        123 => Layer::NTP,
        546 | 547 => Layer::DHCPV6,
        2152 => Layer::GTPV1U,
        3784 => Layer::BFD,
        4789 | 8472 => Layer::VXLAN,
        5060 => Layer::SIP,
        6081 => Layer::GENEVE,
        6343 => Layer::SFLOW,
        _ => return None,
    })
}
