//! Layer 2 tunneling protocol: version 2 over UDP (RFC 2661), version 3 over IP and UDP (RFC 3931).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, pseudowire};

/// Decodes a header over UDP; a data message ends its level.
pub(super) fn over_udp(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::L2TP;
    let [flags, version] = *cursor.fixed_header::<2>(layer)?;
    match version & 0xf {
        2 => {}
        3 if flags & CONTROL != 0 => {
            cursor.push(layer, 12.min(cursor.rest().len()))?;
            return Ok(Next::End);
        }
        3 => return version_3(cursor, 4),
        _ => return Err(cursor.malformed(layer)),
    }
    let has = |flag: u8| flags & flag != 0;
    let ids = if has(LENGTH) { 4 } else { 2 };
    let mut len = ids + 4;
    if has(SEQUENCE) {
        len += 4;
    }
    let data = cursor.rest();
    if has(OFFSET) {
        let offset = data.get(len..).and_then(|rest| rest.first_chunk::<2>());
        let offset = offset.ok_or_else(|| cursor.truncated(layer, len + 2))?;
        len += 2 + usize::from(u16::from_be_bytes(*offset));
    }
    let id = data.get(ids..).and_then(|rest| rest.first_chunk::<4>());
    let (Some(id), true) = (id, data.len() >= len) else {
        return Err(cursor.truncated(layer, len));
    };
    cursor.push(layer, len)?;
    if has(CONTROL) {
        return Ok(Next::End);
    }
    cursor.marks().set_session(u32::from_be_bytes(*id));
    cursor.set_tunnel_end(u32::from_be_bytes(*id));
    // EtherType of PPP.
    Ok(Next::EtherType(0x880b))
}

/// Decodes a header over IP; a data message ends its level.
pub(super) fn over_ip(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    // Session 0 is the control channel (RFC 3931, 4.1.1.2).
    if cursor.fixed_header::<4>(Layer::L2TP)? == &[0; 4] {
        cursor.push(Layer::L2TP, 4)?;
        return Ok(Next::End);
    }
    version_3(cursor, 0)
}

/// Decodes a data message of version 3 whose session identifier starts at `at`.
///
/// The lengths of its cookie (0, 4, or 8 bytes) and of a sublayer (0 or 4 bytes) are negotiated out
/// of band. The first length after which an Ethernet frame is plausible is used.
fn version_3(cursor: &mut Cursor<'_, '_>, at: usize) -> Result<Next, DecodeError> {
    let (data, wire_len) = (cursor.rest(), cursor.wire_rest());
    let id = data.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let id = id.ok_or_else(|| cursor.truncated(Layer::L2TP, at + 4))?;
    let starts = [4, 8, 12, 16].map(|len| at + len);
    let frame = starts.into_iter().find(|start| {
        let frame = data.get(*start..).unwrap_or_default();
        pseudowire::is_frame(frame, wire_len.saturating_sub(*start))
    });
    cursor.push(Layer::L2TP, frame.unwrap_or(at + 4))?;
    if frame.is_none() {
        return Ok(Next::End);
    }
    cursor.marks().set_session(u32::from_be_bytes(*id));
    cursor.set_tunnel_end(u32::from_be_bytes(*id));
    Ok(Next::Frame)
}

/// Bit T: a control message.
const CONTROL: u8 = 0x80;
/// Bit L: the header contains a length.
const LENGTH: u8 = 0x40;
/// Bit S: the header contains sequence numbers.
const SEQUENCE: u8 = 0x08;
/// Bit O: the header contains the length of padding.
const OFFSET: u8 = 0x02;
