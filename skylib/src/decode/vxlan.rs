//! VXLAN (RFC 7348).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a VXLAN header; the header ends its level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, _, _, _, v0, v1, v2, _] = *cursor.fixed_header::<8>(Layer::VXLAN)?;
    cursor.push(Layer::VXLAN, 8)?;
    cursor.set_virtual_network(u32::from_be_bytes([0, v0, v1, v2]));
    Ok(Next::Frame)
}
