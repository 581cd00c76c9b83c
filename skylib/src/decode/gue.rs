//! Generic UDP encapsulation (draft-ietf-intarea-gue), variants 0 and 1.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, ip_in_ip};

/// Decodes a header; the header of a packet ends its level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::GUE;
    let first = cursor.rest().first().copied().unwrap_or_default();
    // Variant 1 is an IP header without a GUE header: its first two bits are those of the IP
    // version.
    match first >> 4 {
        4 | 6 => {
            cursor.push(layer, 0)?;
            cursor.set_tunnel_end(0);
            return match first >> 4 {
                4 => ip_in_ip::inner_v4(cursor),
                _ => ip_in_ip::inner_v6(cursor),
            };
        }
        0..4 => {}
        _ => return Err(cursor.malformed(layer)),
    }
    let [_, protocol, _, _] = *cursor.fixed_header::<4>(layer)?;
    let len = 4 + usize::from(first & 0x1f) * 4;
    if cursor.rest().len() < len {
        return Err(cursor.truncated(layer, len));
    }
    cursor.push(layer, len)?;
    if first & CONTROL != 0 {
        return Ok(Next::End);
    }
    cursor.set_tunnel_end(0);
    match protocol {
        4 | 41 | 47 | 94 | 97 | 137 => Ok(Next::IpProtocol(protocol)),
        // "No next header".
        59 => Ok(Next::End),
        _ => cursor.unknown(u16::from(protocol)),
    }
}

/// Bit C: a control message.
const CONTROL: u8 = 0x20;
