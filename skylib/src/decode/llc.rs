//! Logical link control and SNAP (IEEE 802.2).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes an LLC header.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [dsap, ssap, control] = *cursor.fixed_header::<3>(Layer::LLC)?;
    // Unnumbered frames have one control byte, all others two.
    let len = if control & 0x3 == 0x3 { 3 } else { 4 };
    if cursor.rest().len() < len {
        return Err(cursor.truncated(Layer::LLC, len));
    }
    cursor.push(Layer::LLC, len)?;
    // The lowest bit distinguishes group from individual addresses, and responses from commands.
    Ok(Next::LlcSap(u16::from_be_bytes([dsap & 0xfe, ssap & 0xfe])))
}

/// Decodes a SNAP header.
pub(super) fn snap(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, _, _, p0, p1] = *cursor.fixed_header::<5>(Layer::SNAP)?;
    cursor.push(Layer::SNAP, 5)?;
    Ok(Next::EtherType(u16::from_be_bytes([p0, p1])))
}
