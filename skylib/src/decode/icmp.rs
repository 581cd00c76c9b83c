//! ICMP of both versions (RFC 792, RFC 4443, RFC 4861, RFC 3810).

use super::cursor::{Cursor, Next};
use super::encapsulation::{IcmpEcho, IcmpHeader, IcmpType};
use super::{DecodeError, Layer};

pub(super) fn v4(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [kind, code, _, _, id0, id1, _, _] = *cursor.chunk::<8>(Layer::ICMPV4)?;
    cursor.push(Layer::ICMPV4, 8)?;
    cursor.found_icmpv4(IcmpHeader {
        kind: IcmpType::from_v4(kind),
        code,
        id: u16::from_be_bytes([id0, id1]),
        echo: match kind {
            8 => Some(IcmpEcho::Request),
            0 => Some(IcmpEcho::Reply),
            _ => None,
        },
    });
    Ok(Next::End)
}

pub(super) fn v6(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [kind, code, _, _] = *cursor.chunk::<4>(Layer::ICMPV6)?;
    cursor.push(Layer::ICMPV6, 4)?;
    let message = cursor.rest();
    let mut header = IcmpHeader {
        kind: IcmpType::from_v6(kind),
        code,
        id: 0,
        echo: None,
    };
    if let (128 | 129, Some(&[id0, id1, _, _])) = (kind, message.first_chunk::<4>()) {
        header.id = u16::from_be_bytes([id0, id1]);
        header.echo = Some(if kind == 128 {
            IcmpEcho::Request
        } else {
            IcmpEcho::Reply
        });
    }
    cursor.found_icmpv6(header);
    Ok(match kind {
        128 | 129 => Next::Leaf(Layer::ICMPV6_ECHO),
        130 if message.len() > MLDV1_LEN => Next::Leaf(Layer::MLDV2_QUERY),
        130 => Next::Leaf(Layer::MLDV1_QUERY),
        131 => Next::Leaf(Layer::MLDV1_REPORT),
        132 => Next::Leaf(Layer::MLDV1_DONE),
        133 => Next::Leaf(Layer::ICMPV6_ROUTER_SOLICITATION),
        134 => Next::Leaf(Layer::ICMPV6_ROUTER_ADVERTISEMENT),
        135 => Next::Leaf(Layer::ICMPV6_NEIGHBOR_SOLICITATION),
        136 => Next::Leaf(Layer::ICMPV6_NEIGHBOR_ADVERTISEMENT),
        137 => Next::Leaf(Layer::ICMPV6_REDIRECT),
        143 => Next::Leaf(Layer::MLDV2_REPORT),
        _ => Next::End,
    })
}

/// Bytes of an MLDv1 message without its ICMPv6 header (RFC 2710, 3).
pub(super) const MLDV1_LEN: usize = 20;
