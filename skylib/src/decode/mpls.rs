//! MPLS label stacks (RFC 3032).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, pseudowire};

/// Decodes a complete label stack, one layer for each label; the stack ends its level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    loop {
        let [l0, l1, bottom, _] = *cursor.fixed_header::<4>(Layer::MPLS)?;
        cursor.push(Layer::MPLS, 4)?;
        let label = u32::from_be_bytes([0, l0, l1, bottom]) >> 4;
        cursor.marks().add_label(label);
        if bottom & 1 == 1 {
            break;
        }
        if cursor.rest().is_empty() {
            return Ok(Next::End);
        }
    }
    cursor.end_level();
    if cursor.options.recorded {
        return Ok(payload(cursor.rest()));
    }
    Ok(pseudowire::payload(cursor))
}

/// Returns the next header after the labels. The labels do not state its type; bytes that are not a
/// plausible IP header are decoded as Ethernet.
// COMPAT: recorded values of Skydive, which does not support control words.
fn payload(data: &[u8]) -> Next {
    match data {
        [first @ 0x45..=0x4f, _, l0, l1, rest @ ..] => {
            let header_len = usize::from(first & 0xf) * 4;
            let total_len = usize::from(u16::from_be_bytes([*l0, *l1]));
            let is_plausible =
                rest.len() + 4 >= header_len && (total_len == 0 || total_len >= header_len);
            if is_plausible {
                Next::Ipv4
            } else {
                Next::Frame
            }
        }
        [0x60..=0x6f, rest @ ..] if rest.len() >= 39 => Next::Ipv6,
        _ => Next::Frame,
    }
}
