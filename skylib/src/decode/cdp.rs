//! Cisco Discovery Protocol.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes version, lifetime, and checksum, and checks the type-length-value fields that follow.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::CISCO_DISCOVERY;
    let [version, _, _, _] = *cursor.fixed_header::<4>(layer)?;
    if !matches!(version, 1 | 2) {
        return Err(cursor.malformed(layer));
    }
    let mut fields = cursor.rest().get(4..).unwrap_or_default();
    while !fields.is_empty() {
        let len = match fields.first_chunk::<4>() {
            Some([_, _, l0, l1]) => usize::from(u16::from_be_bytes([*l0, *l1])),
            None => return Err(cursor.malformed(layer)),
        };
        // The length includes type and length, so that a length below 4 would never advance.
        fields = match fields.get(len..) {
            Some(next) if len >= 4 => next,
            _ => return Err(cursor.malformed(layer)),
        };
    }
    cursor.push(layer, 4)?;
    Ok(Next::Terminal(Layer::CISCO_DISCOVERY_INFO))
}
