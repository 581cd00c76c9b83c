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
    let [dsap, ssap] = [dsap, ssap & 0xfe];
    let sap = u64::from(u16::from_be_bytes([dsap, ssap]));
    cursor.marks().set_link_tag(0x20000 + sap);
    // The lowest bit distinguishes group from individual addresses, and responses from commands.
    Ok(Next::LlcSap(u16::from_be_bytes([dsap & 0xfe, ssap & 0xfe])))
}

/// Decodes a SNAP header.
pub(super) fn snap(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [o0, o1, o2, p0, p1] = *cursor.fixed_header::<5>(Layer::SNAP)?;
    cursor.push(Layer::SNAP, 5)?;
    let number = u64::from_be_bytes([0, 0, 0, o0, o1, o2, p0, p1]);
    // With OUI 0, the number is an EtherType (RFC 1042).
    let kind = if number < 0x10000 { 0x10000 } else { 1 << 48 };
    cursor.marks().set_link_tag(kind + number);
    Ok(Next::EtherType(u16::from_be_bytes([p0, p1])))
}
