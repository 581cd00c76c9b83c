//! ICMP of both versions (RFC 792, RFC 4443) with neighbor discovery (RFC 4861) and multicast
//! listener discovery (RFC 2710, RFC 3810).

use super::cursor::{Cursor, Next};
use super::{DecodeError, IcmpHeader, Layer};

/// Decodes an ICMPv4 header.
pub(super) fn v4(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let bytes = *cursor.fixed_header::<8>(Layer::ICMPV4)?;
    cursor.push(Layer::ICMPV4, 8)?;
    cursor.set_icmpv4(IcmpHeader::v4(bytes, cursor.options.recorded));
    Ok(Next::End)
}

/// Decodes an ICMPv6 header; known messages are terminal protocols behind it.
pub(super) fn v6(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [kind, code, _, _] = *cursor.fixed_header::<4>(Layer::ICMPV6)?;
    cursor.push(Layer::ICMPV6, 4)?;
    let message = cursor.rest();
    cursor.set_icmpv6(IcmpHeader::v6(kind, code, message, cursor.options.recorded));
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
