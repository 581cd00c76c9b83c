//! Linux "cooked" capture headers (SLL), which capture libraries insert before packets of devices
//! without a usable link header.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a header of version 1 (`LINKTYPE_LINUX_SLL`).
pub(super) fn version_1(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [.., p0, p1] = *cursor.fixed_header::<16>(Layer::LINUX_SLL)?;
    header(cursor, 16, u16::from_be_bytes([p0, p1]))
}

/// Decodes a header of version 2 (`LINKTYPE_LINUX_SLL2`).
pub(super) fn version_2(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [p0, p1, _, _, i0, i1, i2, i3, ..] = *cursor.fixed_header::<20>(Layer::LINUX_SLL)?;
    cursor
        .marks()
        .set_if_index(u32::from_be_bytes([i0, i1, i2, i3]));
    header(cursor, 20, u16::from_be_bytes([p0, p1]))
}

fn header(cursor: &mut Cursor<'_, '_>, len: usize, protocol: u16) -> Result<Next, DecodeError> {
    cursor.set_length(i64::from(cursor.wire_len) - len as i64);
    cursor.push(Layer::LINUX_SLL, len)?;
    // Linux's own number 4 for IEEE 802.2 frames is below the EtherTypes and selects LLC too.
    Ok(Next::EtherType(protocol))
}
