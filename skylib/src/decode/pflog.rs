//! Packets logged by the BSD packet filter (`pflog`).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, loopback};

/// Decodes the header, whose first bytes are its length and the address family.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [len, family, ..] = *cursor.fixed_header::<4>(Layer::PFLOG)?;
    // The length does not include the padding to four bytes.
    let len = usize::from(len).next_multiple_of(4);
    if len < 4 {
        return Err(cursor.malformed(Layer::PFLOG));
    }
    if cursor.rest().len() < len {
        return Err(cursor.truncated(Layer::PFLOG, len));
    }
    cursor.set_length(i64::from(cursor.wire_len) - len as i64);
    cursor.push(Layer::PFLOG, len)?;
    loopback::ip_of_family(cursor, family)
}
