//! Terminal protocols: no header is decoded after them. Their layer is added to the path if the
//! length and the fixed fields are valid.

use etherparse::ArpPacketSlice;

use super::cursor::{Cursor, Next};
use super::icmp::MLDV1_LEN;
use super::{DecodeError, Layer};

/// Reason why a message is invalid.
#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    /// The message is shorter than this number of bytes.
    TooShort(usize),
    Malformed,
}

/// Adds the layer if its message is valid.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>, layer: Layer) -> Result<Next, DecodeError> {
    check(layer, cursor.rest(), cursor.offset() as u32)?;
    cursor.set_terminal();
    cursor.push(layer, 0)?;
    Ok(Next::End)
}

/// Returns whether a message of the protocol `layer` is valid.
#[inline]
pub(super) fn is_valid(layer: Layer, data: &[u8]) -> bool {
    validate(layer, data).is_ok()
}

/// Checks a message of the protocol `layer` that starts at `offset` in the captured bytes.
pub(super) fn check(layer: Layer, data: &[u8], offset: u32) -> Result<(), DecodeError> {
    validate(layer, data).map_err(|flaw| match flaw {
        Flaw::TooShort(needed) => DecodeError::Truncated {
            layer,
            offset,
            needed: needed as u32,
            available: data.len() as u32,
        },
        Flaw::Malformed => DecodeError::Malformed { layer, offset },
    })
}

fn validate(layer: Layer, data: &[u8]) -> Result<(), Flaw> {
    let min_len = min_len(layer);
    if data.len() < min_len {
        return Err(Flaw::TooShort(min_len));
    }
    let options_at = |at: usize| check_options(data.get(at..).unwrap_or_default());
    match layer {
        Layer::ARP => match ArpPacketSlice::from_slice(data) {
            Ok(_) => Ok(()),
            Err(error) => Err(Flaw::TooShort(error.required_len)),
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

/// Returns the minimum length of a message, in bytes.
const fn min_len(layer: Layer) -> usize {
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

/// Checks options of neighbor discovery: type, length in units of eight bytes, value (RFC 4861,
/// section 4.6).
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

/// Checks IGMP of versions 1 to 3 (RFC 1112, 2236, 3376).
fn check_igmp(data: &[u8]) -> Result<(), Flaw> {
    match (data.first(), data.len()) {
        (Some(0x11), 8 | 12..) | (Some(0x12 | 0x16 | 0x17 | 0x22), _) => Ok(()),
        _ => Err(Flaw::Malformed),
    }
}

/// Checks OSPF of versions 2 and 3 (RFC 2328, 5340).
fn check_ospf(data: &[u8]) -> Result<(), Flaw> {
    match (data.first(), data.len()) {
        (Some(2), ..24) => Err(Flaw::TooShort(24)),
        (Some(2 | 3), _) => Ok(()),
        _ => Err(Flaw::Malformed),
    }
}

/// Checks VRRP of version 2: an advertisement with as many addresses as it states (RFC 3768).
fn check_vrrp(data: &[u8]) -> Result<(), Flaw> {
    match data {
        [kind, _, _, count, ..] if kind & 0xf == 1 && *count > 0 => {
            match 8 + usize::from(*count) * 4 {
                len if data.len() < len => Err(Flaw::TooShort(len)),
                _ => Ok(()),
            }
        }
        _ => Err(Flaw::Malformed),
    }
}

/// Returns whether the data begins with a request or status line of SIP (RFC 3261, section 7).
fn is_sip(data: &[u8]) -> bool {
    if data.starts_with(b"SIP/") {
        return true;
    }
    // Rejects binary data before searching for a line.
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

/// Magic cookie that distinguishes DHCP from other BOOTP messages (RFC 2131, section 3).
const DHCP_COOKIE: [u8; 4] = [99, 130, 83, 99];
