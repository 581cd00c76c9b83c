//! Per-packet information (PPI) before a packet of another link type.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, LinkType};

/// Decodes the header, in which all numbers are little-endian.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::PPI;
    let [_, _, l0, l1, t0, t1, t2, t3] = *cursor.fixed_header::<8>(layer)?;
    let len = usize::from(u16::from_le_bytes([l0, l1]));
    if len < 8 {
        return Err(cursor.malformed(layer));
    }
    if cursor.rest().len() < len {
        return Err(cursor.truncated(layer, len));
    }
    let Ok(link_type) = u16::try_from(u32::from_le_bytes([t0, t1, t2, t3])) else {
        return Err(cursor.malformed(layer));
    };
    cursor.set_length(i64::from(cursor.wire_len) - len as i64);
    cursor.push(layer, len)?;
    Ok(Next::LinkType(LinkType(link_type)))
}
