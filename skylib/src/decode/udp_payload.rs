//! Protocol of a UDP payload, by port.

use super::{DecoderOptions, Layer};

/// Returns the protocol of a UDP payload by the destination port, or else by the source port.
#[inline]
pub(super) fn layer(source: u16, destination: u16, options: &DecoderOptions) -> Option<Layer> {
    by_port(destination, options).or_else(|| by_port(source, options))
}

#[inline]
#[expect(clippy::manual_contains, reason = "`contains` is not inlined")]
fn by_port(port: u16, options: &DecoderOptions) -> Option<Layer> {
    if options.mpls_udp_ports.iter().any(|mpls| *mpls == port) {
        return Some(Layer::MPLS);
    }
    well_known(port, options.recorded)
}

/// Returns the protocol of a well-known UDP port.
#[inline]
const fn well_known(port: u16, recorded: bool) -> Option<Layer> {
    Some(match port {
        53 => Layer::DNS,
        67 | 68 => Layer::DHCPV4,
        123 => Layer::NTP,
        546 | 547 => Layer::DHCPV6,
        2152 => Layer::GTPV1U,
        3784 => Layer::BFD,
        // 8472 is the default port of Linux.
        4789 | 8472 => Layer::VXLAN,
        5060 => Layer::SIP,
        6081 => Layer::GENEVE,
        6343 => Layer::SFLOW,
        1701 if !recorded => Layer::L2TP,
        3544 if !recorded => Layer::TEREDO,
        4790 if !recorded => Layer::VXLAN_GPE,
        6080 if !recorded => Layer::GUE,
        _ => return None,
    })
}
