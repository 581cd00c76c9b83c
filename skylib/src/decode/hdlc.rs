//! Cisco's framing for serial lines (Cisco HDLC), alone or as an alternative to PPP.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, ppp};

/// Decodes a Cisco header: address, control, and an EtherType.
pub(super) fn cisco(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, _, p0, p1] = *cursor.fixed_header::<4>(Layer::CISCO_HDLC)?;
    cursor.set_length(i64::from(cursor.wire_len) - 4);
    cursor.push(Layer::CISCO_HDLC, 4)?;
    Ok(Next::EtherType(u16::from_be_bytes([p0, p1])))
}

/// Decodes PPP in HDLC framing, or a Cisco header, which is distinguished by its address.
pub(super) fn either(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    match cursor.rest() {
        // Unicast and multicast.
        [0x0f | 0x8f, ..] => cisco(cursor),
        _ => ppp::link(cursor),
    }
}
