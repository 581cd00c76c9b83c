//! Service tag of a provider backbone bridge (IEEE 802.1ah, 9.7).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a service tag, which is followed by the frame of the customer; the tag ends its level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, i0, i1, i2] = *cursor.fixed_header::<4>(Layer::PBB)?;
    cursor.push(Layer::PBB, 4)?;
    let instance = u32::from_be_bytes([0, i0, i1, i2]);
    cursor.marks().set_service_instance(instance);
    cursor.end_level();
    Ok(Next::Frame)
}
