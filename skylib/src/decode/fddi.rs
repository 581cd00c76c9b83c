//! FDDI frames (ISO 9314-2).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a frame header: frame control, destination, and source.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = cursor.fixed_header::<13>(Layer::FDDI)?;
    let [control, d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *header;
    cursor.set_length(i64::from(cursor.wire_len));
    cursor.push(Layer::FDDI, header.len())?;
    cursor.add_link([s0, s1, s2, s3, s4, s5], [d0, d1, d2, d3, d4, d5]);
    // The lower bits are the priority of an asynchronous frame.
    Ok(match control & 0xf0 {
        ASYNCHRONOUS_LLC => Next::Llc,
        _ => Next::End,
    })
}

/// Frame control of an asynchronous frame with LLC.
const ASYNCHRONOUS_LLC: u8 = 0x50;
