//! Point-to-point protocol (RFC 1661), alone and over Ethernet (PPPoE, RFC 2516).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a PPP header with or without HDLC framing, and with a protocol number of one or two
/// bytes.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::PPP;
    if cursor.rest().starts_with(&FRAMING) {
        cursor.skip(FRAMING.len());
    }
    // The lowest bit of the last byte of the number is set (RFC 1661, section 2).
    let (protocol, len) = match cursor.rest() {
        [first, ..] if first & 1 == 1 => (u16::from(*first), 1),
        [first, second, ..] if second & 1 == 1 => (u16::from_be_bytes([*first, *second]), 2),
        [_, _, ..] => return Err(cursor.malformed(layer)),
        _ => return Err(cursor.truncated(layer, 2)),
    };
    cursor.push(layer, len)?;
    Ok(Next::PppProtocol(protocol))
}

/// Decodes a PPP header that is the outermost one.
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

/// Decodes a PPPoE header, followed by the PPP header in the session stage.
pub(super) fn pppoe(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, code, s0, s1, l0, l1] = *cursor.fixed_header::<6>(Layer::PPPOE)?;
    cursor.limit(6 + usize::from(u16::from_be_bytes([l0, l1])));
    cursor.push(Layer::PPPOE, 6)?;
    if code == SESSION {
        cursor.marks().set_pppoe(u16::from_be_bytes([s0, s1]));
    }
    if code != SESSION || cursor.rest().is_empty() {
        return Ok(Next::End);
    }
    decode(cursor)
}

/// Decodes a PPPoE header that is the outermost one.
pub(super) fn pppoe_link(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    cursor.set_length(i64::from(cursor.wire_len));
    pppoe(cursor)
}

/// PPPoE code of session data; other codes are used by discovery.
const SESSION: u8 = 0;
/// Address and control fields of HDLC framing (RFC 1662).
const FRAMING: [u8; 2] = [0xff, 0x03];
