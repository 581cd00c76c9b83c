//! GPRS tunneling protocol, user plane, version 1 (3GPP TS 29.281).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a GTP-U header with its extension headers; the header of a tunneled packet ends its
/// level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::GTPV1U;
    let data = cursor.rest();
    let [flags, kind, l0, l1, t0, t1, t2, t3] = *cursor.fixed_header::<8>(layer)?;
    let message_len = 8 + usize::from(u16::from_be_bytes([l0, l1]));
    let mut len = 8;
    if flags & ANY_OPTION != 0 {
        len += 4;
        let mut next = match data.get(len - 1) {
            Some(next) if flags & EXTENSION != 0 => *next,
            Some(_) => 0,
            None => return Err(cursor.truncated(layer, len)),
        };
        // Extension headers form a list: each begins with its length in units of four bytes, and
        // ends with the type of the next one.
        while next != 0 {
            let words = match data.get(len) {
                Some(0) => return Err(cursor.malformed(layer)),
                Some(words) => usize::from(*words),
                None => return Err(cursor.truncated(layer, len + 4)),
            };
            len += words * 4;
            next = *data
                .get(len - 1)
                .ok_or_else(|| cursor.truncated(layer, len))?;
        }
    }
    if message_len < len {
        return Err(cursor.malformed(layer));
    }
    cursor.limit(message_len);
    cursor.push(layer, len)?;
    // COMPAT: recorded values of Skydive, whose flow has the outer addresses and the inner ports.
    if kind == USER_DATA && !cursor.options.recorded {
        let teid = u32::from_be_bytes([t0, t1, t2, t3]);
        cursor.marks().set_teid(teid);
        cursor.set_tunnel_end(teid);
    }
    Ok(match (kind, cursor.rest().first().map(|byte| byte >> 4)) {
        (USER_DATA, Some(4)) => Next::Ipv4,
        (USER_DATA, Some(6)) => Next::Ipv6,
        _ => Next::End,
    })
}

/// Flags of sequence number, N-PDU number, and extension header: any of them adds four bytes.
const ANY_OPTION: u8 = 0x07;
/// Flag of extension headers.
const EXTENSION: u8 = 0x04;
/// Message type of a tunneled packet.
const USER_DATA: u8 = 255;
