//! Teredo: IPv6 over UDP (RFC 4380).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes the authentication and origin headers before an IPv6 packet, and ends the level.
///
/// A payload without an IPv6 packet is not Teredo.
// A client is identified by its port; the level has no tunnel identifier.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::TEREDO;
    let data = cursor.rest();
    let mut len = 0;
    if let Some([0, 1, client_len, value_len]) = data.first_chunk::<4>() {
        // Identifier and authentication value, an eight-byte nonce, and a confirmation byte.
        len += 4 + usize::from(*client_len) + usize::from(*value_len) + 9;
    }
    if let Some([0, 0, ..]) = data.get(len..) {
        len += 8;
    }
    match data.get(len..) {
        Some(packet) if packet.len() >= 40 && packet.first().map(|byte| byte >> 4) == Some(6) => {}
        Some(_) => return Err(cursor.malformed(layer)),
        None => return Err(cursor.truncated(layer, len)),
    }
    cursor.push(layer, len)?;
    cursor.end_level();
    Ok(Next::Ipv6)
}
