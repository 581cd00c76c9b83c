//! Network service header (RFC 8300).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, ip_in_ip};

/// Decodes a header with its context; the header ends its level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::NSH;
    let [_, length, _, protocol, p0, p1, p2, _] = *cursor.fixed_header::<8>(layer)?;
    let len = usize::from(length & 0x3f) * 4;
    if len < 8 {
        return Err(cursor.malformed(layer));
    }
    if cursor.rest().len() < len {
        return Err(cursor.truncated(layer, len));
    }
    cursor.push(layer, len)?;
    let path = u32::from_be_bytes([0, p0, p1, p2]);
    cursor.marks().set_service_path(path);
    cursor.end_level();
    match protocol {
        1 => ip_in_ip::inner_v4(cursor),
        2 => ip_in_ip::inner_v6(cursor),
        3 => Ok(Next::Frame),
        4 => Ok(Next::EtherType(0x894f)),
        5 => Ok(Next::EtherType(0x8847)),
        _ => cursor.unknown(u16::from(protocol)),
    }
}
