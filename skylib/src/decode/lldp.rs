//! LLDP (IEEE 802.1AB).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes an LLDP frame. The three mandatory fields must be present, and all fields must be
/// complete.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::LINK_LAYER_DISCOVERY;
    let mut rest = cursor.rest();
    let (mut has_chassis, mut has_port, mut has_ttl) = (false, false, false);
    loop {
        let Some(([t0, t1], values)) = rest.split_first_chunk::<2>() else {
            return Err(cursor.truncated(layer, cursor.rest().len() + 2));
        };
        // Seven bits of type, nine bits of length.
        let len = usize::from(u16::from_be_bytes([t0 & 1, *t1]));
        let Some((value, next)) = values.split_at_checked(len) else {
            return Err(cursor.truncated(layer, cursor.rest().len() + len - values.len()));
        };
        // Identifiers begin with a subtype; subtype 0 is reserved.
        let has_identifier = matches!(value, [subtype, _, ..] if *subtype != 0);
        match t0 >> 1 {
            0 => break,
            1 => has_chassis = has_identifier,
            2 => has_port = has_identifier,
            3 => has_ttl = len >= 2,
            _ => {}
        }
        rest = next;
    }
    if !(has_chassis && has_port && has_ttl) {
        return Err(cursor.malformed(layer));
    }
    // COMPAT: Skydive shows a second layer for the optional fields, even if there are none.
    cursor.push(layer, 0)?;
    cursor.push(Layer::LINK_LAYER_DISCOVERY_INFO, 0)?;
    Ok(Next::End)
}
