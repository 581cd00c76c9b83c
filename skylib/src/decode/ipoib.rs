//! IP over InfiniBand (RFC 4391, section 6).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a global route header and the four bytes after it, which contain the EtherType.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = cursor.fixed_header::<44>(Layer::IPOIB)?;
    let [.., p0, p1, _, _] = *header;
    cursor.set_length(i64::from(cursor.wire_len) - header.len() as i64);
    cursor.push(Layer::IPOIB, header.len())?;
    Ok(Next::EtherType(u16::from_be_bytes([p0, p1])))
}
