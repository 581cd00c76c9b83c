//! Point-to-point protocol (RFC 1661), alone and over Ethernet (RFC 2516).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, headers, mpls};

pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::PPP;
    if cursor.rest().starts_with(&FRAMING) {
        cursor.skip(FRAMING.len());
    }
    let (protocol, len) = match cursor.rest() {
        [first, ..] if first & 1 == 1 => (u16::from(*first), 1),
        [first, second, ..] if second & 1 == 1 => (u16::from_be_bytes([*first, *second]), 2),
        [_, _, ..] => return Err(cursor.malformed(layer)),
        _ => return Err(cursor.truncated(layer, 2)),
    };
    cursor.push(layer, len)?;
    Ok(match protocol {
        0x21 => Next::Header(headers::ipv4),
        0x57 => Next::Header(headers::ipv6),
        0x281 | 0x283 => Next::Header(mpls::decode),
        _ => return cursor.unknown(layer, protocol),
    })
}

/// PPP as the outermost layer.
pub(super) fn link(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let framing = if cursor.rest().starts_with(&FRAMING) {
        2
    } else {
        0
    };
    let protocol = match cursor.rest().get(framing) {
        Some(first) if first & 1 == 1 => 1,
        _ => 2,
    };
    cursor.set_length(i64::from(cursor.wire_len) - framing as i64 - protocol);
    decode(cursor)
}

pub(super) fn pppoe(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, code, _, _, l0, l1] = *cursor.chunk::<6>(Layer::PPPOE)?;
    cursor.limit(6 + usize::from(u16::from_be_bytes([l0, l1])));
    cursor.push(Layer::PPPOE, 6)?;
    Ok(match code {
        SESSION => Next::Header(decode),
        _ => Next::End,
    })
}

/// The code of session data; others are discovery.
const SESSION: u8 = 0;
/// Address and control field, which HDLC framing leaves in front (RFC 1662).
const FRAMING: [u8; 2] = [0xff, 0x03];
