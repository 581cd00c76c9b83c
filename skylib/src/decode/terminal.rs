//! Layers that nothing is looked for behind: each is in the path if its shape is right.

use etherparse::ArpPacketSlice;

use super::cursor::Cursor;
use super::icmp::MLDV1_LEN;
use super::{DecodeError, Layer};

/// What is wrong with a layer.
#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    /// It is shorter than so many bytes.
    Wants(usize),
    Malformed,
}

pub(super) fn decode(cursor: &mut Cursor<'_, '_>, layer: Layer) -> Result<(), DecodeError> {
    check(layer, cursor.rest(), cursor.offset() as u32)?;
    cursor.found_leaf();
    cursor.push(layer, 0)
}

/// Whether a layer has the right shape.
#[inline]
pub(super) fn is_sound(layer: Layer, data: &[u8]) -> bool {
    shape(layer, data).is_ok()
}

/// What is wrong with the shape of the layer at this offset, if anything is.
pub(super) fn check(layer: Layer, data: &[u8], offset: u32) -> Result<(), DecodeError> {
    shape(layer, data).map_err(|flaw| match flaw {
        Flaw::Wants(wanted) => {
            let (wanted, had) = (wanted as u32, data.len() as u32);
            DecodeError::Truncated {
                layer,
                offset,
                wanted,
                had,
            }
        }
        Flaw::Malformed => DecodeError::Malformed { layer, offset },
    })
}

fn shape(layer: Layer, data: &[u8]) -> Result<(), Flaw> {
    let least = least_len(layer);
    if data.len() < least {
        return Err(Flaw::Wants(least));
    }
    let options_at = |at: usize| check_options(data.get(at..).unwrap_or_default());
    match layer {
        Layer::ARP => match ArpPacketSlice::from_slice(data) {
            Ok(_) => Ok(()),
            Err(error) => Err(Flaw::Wants(error.required_len)),
        },
        Layer::ICMPV6_ROUTER_SOLICITATION => options_at(4),
        Layer::ICMPV6_ROUTER_ADVERTISEMENT => options_at(12),
        Layer::ICMPV6_NEIGHBOR_SOLICITATION | Layer::ICMPV6_NEIGHBOR_ADVERTISEMENT => {
            options_at(20)
        }
        Layer::ICMPV6_REDIRECT => options_at(36),
        Layer::IGMP => check_igmp(data),
        Layer::OSPF => check_ospf(data),
        Layer::VRRP => check_vrrp(data),
        Layer::BFD if data.get(3).copied().map(usize::from) != Some(data.len()) => {
            Err(Flaw::Malformed)
        }
        Layer::DHCPV4 if data.get(236..240) != Some(&DHCP_COOKIE) => Err(Flaw::Malformed),
        Layer::SIP if !is_sip(data) => Err(Flaw::Malformed),
        _ => Ok(()),
    }
}

/// The least bytes a layer has.
const fn least_len(layer: Layer) -> usize {
    match layer {
        Layer::STP
        | Layer::EAP
        | Layer::DHCPV6
        | Layer::ICMPV6_ECHO
        | Layer::ICMPV6_ROUTER_SOLICITATION
        | Layer::MLDV2_REPORT => 4,
        Layer::CISCO_DISCOVERY_INFO | Layer::ETHERNET_CTP_REPLY => 4,
        Layer::ARP | Layer::IGMP | Layer::IPSEC_ESP | Layer::UDP_LITE | Layer::VRRP => 8,
        Layer::RUDP => 9,
        Layer::DNS | Layer::ICMPV6_ROUTER_ADVERTISEMENT => 12,
        Layer::OSPF => 16,
        Layer::MLDV1_QUERY | Layer::MLDV1_REPORT | Layer::MLDV1_DONE => MLDV1_LEN,
        Layer::ICMPV6_NEIGHBOR_SOLICITATION | Layer::ICMPV6_NEIGHBOR_ADVERTISEMENT => 20,
        Layer::BFD | Layer::MLDV2_QUERY => 24,
        Layer::SFLOW => 28,
        Layer::ICMPV6_REDIRECT => 36,
        Layer::NTP => 48,
        Layer::DHCPV4 => 240,
        _ => 0,
    }
}

/// Options of neighbour discovery: type, length in units of eight bytes, value (RFC 4861, 4.6).
fn check_options(mut options: &[u8]) -> Result<(), Flaw> {
    while let [_, units, ..] = options {
        options = match options.get(usize::from(*units) * 8..) {
            Some(next) if *units > 0 => next,
            _ => return Err(Flaw::Malformed),
        };
    }
    if options.is_empty() {
        Ok(())
    } else {
        Err(Flaw::Malformed)
    }
}

/// IGMP of versions 1 to 3 (RFC 1112, 2236, 3376).
fn check_igmp(data: &[u8]) -> Result<(), Flaw> {
    match (data.first(), data.len()) {
        (Some(0x11), 8 | 12..) | (Some(0x12 | 0x16 | 0x17 | 0x22), _) => Ok(()),
        _ => Err(Flaw::Malformed),
    }
}

/// OSPF of versions 2 and 3 (RFC 2328, 5340).
fn check_ospf(data: &[u8]) -> Result<(), Flaw> {
    match (data.first(), data.len()) {
        (Some(2), ..24) => Err(Flaw::Wants(24)),
        (Some(2 | 3), _) => Ok(()),
        _ => Err(Flaw::Malformed),
    }
}

/// VRRP as version 2 has it: an advertisement with as many addresses as it says (RFC 3768).
fn check_vrrp(data: &[u8]) -> Result<(), Flaw> {
    match data {
        [kind, _, _, count, ..] if kind & 0xf == 1 && *count > 0 => {
            match 8 + usize::from(*count) * 4 {
                len if data.len() < len => Err(Flaw::Wants(len)),
                _ => Ok(()),
            }
        }
        _ => Err(Flaw::Malformed),
    }
}

/// Whether a request or status line of SIP stands first (RFC 3261, 7).
fn is_sip(data: &[u8]) -> bool {
    if data.starts_with(b"SIP/") {
        return true;
    }
    // Binary data ends here, before anything is searched in it.
    let method_len = data
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    if method_len == 0 || data.get(method_len) != Some(&b' ') {
        return false;
    }
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.windows(5).any(|window| window == b" SIP/")
}

/// What marks DHCP among BOOTP messages (RFC 2131, 3).
const DHCP_COOKIE: [u8; 4] = [99, 130, 83, 99];
