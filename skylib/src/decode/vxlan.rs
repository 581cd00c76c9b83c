//! Virtual extensible LAN (RFC 7348).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, headers};

pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, _, _, _, v0, v1, v2, _] = *cursor.chunk::<8>(Layer::VXLAN)?;
    cursor.push(Layer::VXLAN, 8)?;
    cursor.found_virtual_network(u32::from_be_bytes([0, v0, v1, v2]));
    cursor.cut();
    Ok(Next::Header(headers::ethernet))
}
