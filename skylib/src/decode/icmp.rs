//! ICMP of both versions (RFC 792, RFC 4443) with neighbor discovery (RFC 4861) and multicast
//! listener discovery (RFC 2710, RFC 3810).

use super::cursor::{Cursor, Next};
use super::{DecodeError, IcmpHeader, Layer};

/// Decodes an ICMPv4 header.
pub(super) fn v4(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let bytes = *cursor.fixed_header::<8>(Layer::ICMPV4)?;
    cursor.push(Layer::ICMPV4, 8)?;
    let [kind, code, _, _, _, id1, n0, n1] = bytes;
    cursor.set_icmpv4(IcmpHeader::v4(bytes, cursor.options.recorded));
    if is_v4_error(kind) {
        let mtu = match (kind, code) {
            // Code of "Fragmentation needed" (RFC 1191, section 4).
            (3, 4) => u16::from_be_bytes([n0, n1]),
            _ => 0,
        };
        // The length of the quote is in words of 32 bits (RFC 4884, section 4).
        let words = if matches!(kind, 3 | 11 | 12) { id1 } else { 0 };
        cursor.set_embedded(0, usize::from(words) * 4, mtu.into());
    }
    Ok(Next::End)
}

/// Returns whether an ICMPv4 message of this type is an error that refers to a packet.
pub(super) const fn is_v4_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// Decodes an ICMPv6 header. A known message type is added as the last layer, after ICMPv6.
pub(super) fn v6(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [kind, code, _, _] = *cursor.fixed_header::<4>(Layer::ICMPV6)?;
    cursor.push(Layer::ICMPV6, 4)?;
    let message = cursor.rest();
    cursor.set_icmpv6(IcmpHeader::v6(kind, code, message, cursor.options.recorded));
    if let (1..=4, Some(fields)) = (kind, message.first_chunk::<4>()) {
        let mtu = if kind == 2 {
            u32::from_be_bytes(*fields)
        } else {
            0
        };
        // The length of the quote is in words of 64 bits (RFC 4884, section 4).
        let words = if matches!(kind, 1 | 3) { fields[0] } else { 0 };
        cursor.set_embedded(fields.len(), usize::from(words) * 8, mtu);
    }
    Ok(match kind {
        128 | 129 => Next::Terminal(Layer::ICMPV6_ECHO),
        // The two versions share type 130 and differ in length (RFC 3810, section 8.1).
        130 if message.len() > MLDV1_LEN => Next::Terminal(Layer::MLDV2_QUERY),
        130 => Next::Terminal(Layer::MLDV1_QUERY),
        131 => Next::Terminal(Layer::MLDV1_REPORT),
        132 => Next::Terminal(Layer::MLDV1_DONE),
        133 => Next::Terminal(Layer::ICMPV6_ROUTER_SOLICITATION),
        134 => Next::Terminal(Layer::ICMPV6_ROUTER_ADVERTISEMENT),
        135 => Next::Terminal(Layer::ICMPV6_NEIGHBOR_SOLICITATION),
        136 => Next::Terminal(Layer::ICMPV6_NEIGHBOR_ADVERTISEMENT),
        137 => Next::Terminal(Layer::ICMPV6_REDIRECT),
        143 => Next::Terminal(Layer::MLDV2_REPORT),
        _ => Next::End,
    })
}

/// Length of an MLDv1 message without its ICMPv6 header, in bytes (RFC 2710, section 3).
pub(super) const MLDV1_LEN: usize = 20;
