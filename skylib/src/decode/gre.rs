//! Generic routing encapsulation (RFC 2784, 2890, 2637) and the ERSPAN it may carry.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, headers};

/// The header; it ends its part, unless MPLS follows, which then does.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = cursor.rest();
    let [flags, version, p0, p1] = *cursor.chunk::<4>(Layer::GRE)?;
    let protocol = u16::from_be_bytes([p0, p1]);
    let has = |flag: u8| flags & flag != 0;
    let mut len = 4;
    if has(CHECKSUM) || has(ROUTING) {
        len += 4;
    }
    let key_at = len;
    if has(KEY) {
        len += 4;
    }
    let has_sequence = has(SEQUENCE);
    if has_sequence {
        len += 4;
    }
    if has(ROUTING) {
        len = skip_routes(header, len).ok_or_else(|| cursor.truncated(Layer::GRE, len + 4))?;
    }
    if version & ACKNOWLEDGEMENT != 0 {
        len += 4;
    }
    if header.len() < len {
        return Err(cursor.truncated(Layer::GRE, len));
    }
    cursor.push(Layer::GRE, len)?;
    let key = header
        .get(key_at..)
        .and_then(|rest| rest.first_chunk::<4>())
        .filter(|_| has(KEY));
    cursor.found_tunnel(key.map_or(0, |key| u32::from_be_bytes(*key)));
    match protocol {
        0x8847 | 0x8848 => {}
        _ => cursor.cut(),
    }
    match protocol {
        // Type I (no sequence number) has no header of its own.
        PROTOCOL_ERSPAN if !has_sequence => Ok(Next::Header(headers::ethernet)),
        _ => headers::ether_type(cursor, Layer::GRE, protocol),
    }
}

/// ERSPAN type II: eight bytes that make no layer, then the mirrored frame.
// COMPAT: Skydive counts these eight bytes for the mirrored flow.
pub(super) fn erspan(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    if cursor.rest().len() < 8 {
        return Err(cursor.truncated(Layer::ETHERNET, 8));
    }
    cursor.skip(8);
    Ok(Next::Header(headers::ethernet))
}

/// Where the source route entries end (RFC 1701); the last one is empty.
fn skip_routes(header: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let [f0, f1, _, len] = *header.get(at..)?.first_chunk::<4>()?;
        at += 4 + usize::from(len);
        if (f0, f1, len) == (0, 0, 0) {
            return Some(at);
        }
    }
}

const CHECKSUM: u8 = 0x80;
const ROUTING: u8 = 0x40;
const KEY: u8 = 0x20;
const SEQUENCE: u8 = 0x10;
/// In the second byte, of version 1 only.
const ACKNOWLEDGEMENT: u8 = 0x80;
const PROTOCOL_ERSPAN: u16 = 0x88be;
