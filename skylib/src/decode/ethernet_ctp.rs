//! Ethernet Configuration Testing Protocol (Ethernet II specification, section 8).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes the skip count and the functions after it, up to the first reply.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    cursor.fixed_header::<2>(Layer::ETHERNET_CTP)?;
    cursor.push(Layer::ETHERNET_CTP, 2)?;
    loop {
        match cursor.rest().first_chunk::<2>() {
            Some([1, 0]) => return Ok(Next::Terminal(Layer::ETHERNET_CTP_REPLY)),
            Some([2, 0]) => forward_data(cursor)?,
            Some(function) => {
                let function = u16::from_le_bytes(*function);
                return cursor.unknown_after(Layer::ETHERNET_CTP, function);
            }
            None => return Ok(Next::End),
        }
    }
}

/// Decodes a function number and the address to which the rest is forwarded.
fn forward_data(cursor: &mut Cursor<'_, '_>) -> Result<(), DecodeError> {
    let layer = Layer::ETHERNET_CTP_FORWARD_DATA;
    cursor.fixed_header::<8>(layer)?;
    cursor.push(layer, 8)
}
