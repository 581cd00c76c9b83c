//! Logical link control and what it carries (IEEE 802.2, 802.1D).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, headers};

pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [dsap, ssap, control] = *cursor.chunk::<3>(Layer::LLC)?;
    // Unnumbered frames have one control byte, all others two.
    let len = if control & 0x3 == 0x3 { 3 } else { 4 };
    if cursor.rest().len() < len {
        return Err(cursor.truncated(Layer::LLC, len));
    }
    cursor.push(Layer::LLC, len)?;
    // The lowest bit tells groups from stations, and commands from responses.
    let (dsap, ssap) = (dsap & 0xfe, ssap & 0xfe);
    match (dsap, ssap) {
        (0xaa, 0xaa) => Ok(Next::Header(snap)),
        (0x42, 0x42) => Ok(Next::Leaf(Layer::STP)),
        _ => cursor.unknown(Layer::LLC, u16::from_be_bytes([dsap, ssap])),
    }
}

fn snap(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, _, _, p0, p1] = *cursor.chunk::<5>(Layer::SNAP)?;
    cursor.push(Layer::SNAP, 5)?;
    headers::ether_type(cursor, Layer::SNAP, u16::from_be_bytes([p0, p1]))
}
