//! Geneve (RFC 8926).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a Geneve header with its options; the header ends its level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [options, _, p0, p1, v0, v1, v2, _] = *cursor.fixed_header::<8>(Layer::GENEVE)?;
    let len = 8 + usize::from(options & 0x3f) * 4;
    if cursor.rest().len() < len {
        return Err(cursor.truncated(Layer::GENEVE, len));
    }
    cursor.push(Layer::GENEVE, len)?;
    cursor.set_virtual_network(u32::from_be_bytes([0, v0, v1, v2]));
    Ok(Next::EtherType(u16::from_be_bytes([p0, p1])))
}
