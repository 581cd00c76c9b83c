//! Generic routing encapsulation (RFC 2784, 2890, 2637).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a GRE header. The header ends its level, unless MPLS follows, which then ends the level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = cursor.rest();
    let [flags, version, p0, p1] = *cursor.fixed_header::<4>(Layer::GRE)?;
    let protocol = u16::from_be_bytes([p0, p1]);
    let has = |flag: u8| flags & flag != 0;
    let mut len = 4;
    if has(CHECKSUM) || has(ROUTING) {
        len += 4;
    }
    let key_offset = len;
    if has(KEY) {
        len += 4;
    }
    let has_sequence = has(SEQUENCE);
    if has_sequence {
        len += 4;
    }
    if has(ROUTING) {
        len = end_of_routes(header, len).ok_or_else(|| cursor.truncated(Layer::GRE, len + 4))?;
    }
    if version & ACKNOWLEDGMENT != 0 {
        len += 4;
    }
    if header.len() < len {
        return Err(cursor.truncated(Layer::GRE, len));
    }
    cursor.push(Layer::GRE, len)?;
    let key = header
        .get(key_offset..)
        .and_then(|rest| rest.first_chunk::<4>())
        .filter(|_| has(KEY));
    let key = key.map(|key| u32::from_be_bytes(*key));
    match (version & VERSION, key) {
        (0, Some(key)) => cursor.marks().set_gre_key(key),
        // The upper half is the payload length, the lower half the identifier of the call, which
        // differs by direction (RFC 2637, section 4.1).
        (1, Some(key)) => cursor.marks().set_session(key & 0xffff),
        _ => {}
    }
    // COMPAT: recorded values of Skydive, which shows the field of every version.
    let shows_key = version & VERSION == 0 || cursor.options.recorded;
    cursor.set_tunnel(key.filter(|_| shows_key).unwrap_or(0));
    match protocol {
        PROTOCOL_MPLS | PROTOCOL_MPLS_MULTICAST => {}
        _ => cursor.end_level(),
    }
    Ok(match protocol {
        // ERSPAN type I is recognized by the missing sequence number and has no header.
        PROTOCOL_ERSPAN if !has_sequence => Next::Frame,
        _ => Next::EtherType(protocol),
    })
}

/// Returns the end of the source route entries (RFC 1701) that start at `offset`; the last entry is
/// empty. Returns `None` if the entries are truncated.
fn end_of_routes(header: &[u8], mut offset: usize) -> Option<usize> {
    loop {
        let [f0, f1, _, len] = *header.get(offset..)?.first_chunk::<4>()?;
        offset += 4 + usize::from(len);
        if (f0, f1, len) == (0, 0, 0) {
            return Some(offset);
        }
    }
}

const CHECKSUM: u8 = 0x80;
const ROUTING: u8 = 0x40;
const KEY: u8 = 0x20;
const SEQUENCE: u8 = 0x10;
/// Version in the second byte: 0, or 1 for the tunnels of PPTP.
const VERSION: u8 = 0x07;
/// Flag in the second byte, of version 1 only.
const ACKNOWLEDGMENT: u8 = 0x80;
const PROTOCOL_ERSPAN: u16 = 0x88be;
const PROTOCOL_MPLS: u16 = 0x8847;
const PROTOCOL_MPLS_MULTICAST: u16 = 0x8848;
