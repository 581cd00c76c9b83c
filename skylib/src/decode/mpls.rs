//! MPLS label stacks (RFC 3032).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, headers};

/// The whole stack, each label a layer; it ends its part.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    loop {
        let [_, _, bottom, _] = *cursor.chunk::<4>(Layer::MPLS)?;
        cursor.push(Layer::MPLS, 4)?;
        if bottom & 1 == 1 {
            break;
        }
        if cursor.rest().is_empty() {
            return Ok(Next::End);
        }
    }
    cursor.cut();
    Ok(Next::Header(payload))
}

/// A label does not say what it carries: a sound IP header is one, anything else is Ethernet.
fn payload(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    match cursor.rest() {
        [first @ 0x45..=0x4f, _, l0, l1, rest @ ..] => {
            let header_len = usize::from(first & 0xf) * 4;
            let total_len = usize::from(u16::from_be_bytes([*l0, *l1]));
            let is_sound =
                rest.len() + 4 >= header_len && (total_len == 0 || total_len >= header_len);
            if is_sound {
                headers::ipv4(cursor)
            } else {
                headers::ethernet(cursor)
            }
        }
        [0x60..=0x6f, rest @ ..] if rest.len() >= 39 => headers::ipv6(cursor),
        _ => headers::ethernet(cursor),
    }
}
