//! IEEE 802.11 frames, alone or after a radiotap, Prism, or AVS header.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a radiotap header.
pub(super) fn radio_tap(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::RADIO_TAP;
    let data = cursor.rest();
    let [_, _, l0, l1, ..] = *cursor.fixed_header::<8>(layer)?;
    let len = usize::from(u16::from_le_bytes([l0, l1]));
    if len < 8 {
        return Err(cursor.malformed(layer));
    }
    let Some(header) = data.get(..len) else {
        return Err(cursor.truncated(layer, len));
    };
    let flags = radio_tap_flags(header);
    cursor.set_length(i64::from(cursor.wire_len) - len as i64);
    cursor.push(layer, len)?;
    frame(cursor, flags & PADDED != 0)
}

/// Returns the flags of a radiotap header; 0 if it has none.
fn radio_tap_flags(header: &[u8]) -> u8 {
    let mut words = header.get(4..).unwrap_or_default().chunks_exact(4);
    let Some([present, _, _, extended]) = words.next() else {
        return 0;
    };
    let mut at = 8;
    let mut has_more = extended & 0x80 != 0;
    while has_more && let Some([_, _, _, extended]) = words.next() {
        at += 4;
        has_more = extended & 0x80 != 0;
    }
    // The fields follow in the order of their bits, each aligned to its size: an eight-byte time,
    // then the flags.
    if present & 0x01 != 0 {
        at = usize::next_multiple_of(at, 8) + 8;
    }
    match header.get(at) {
        Some(flags) if present & 0x02 != 0 => *flags,
        _ => 0,
    }
}

/// Decodes a Prism or AVS header; both have their length in the second word.
pub(super) fn prism(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::PRISM;
    let [m0, m1, _, _, l0, l1, l2, l3] = *cursor.fixed_header::<8>(layer)?;
    // AVS is big-endian and begins with a magic number.
    let len = match [m0, m1] {
        [0x80, 0x21] => u32::from_be_bytes([l0, l1, l2, l3]),
        _ => u32::from_le_bytes([l0, l1, l2, l3]),
    } as usize;
    if len < 8 {
        return Err(cursor.malformed(layer));
    }
    if cursor.rest().len() < len {
        return Err(cursor.truncated(layer, len));
    }
    cursor.set_length(i64::from(cursor.wire_len) - len as i64);
    cursor.push(layer, len)?;
    frame(cursor, false)
}

/// Decodes a frame that is the outermost header.
pub(super) fn link(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    cursor.set_length(i64::from(cursor.wire_len));
    frame(cursor, false)
}

/// Decodes a frame. Only unencrypted data frames form a flow. `is_padded` means that the header is
/// padded to four bytes.
fn frame(cursor: &mut Cursor<'_, '_>, is_padded: bool) -> Result<Next, DecodeError> {
    let layer = Layer::DOT11;
    let data = cursor.rest();
    let [control, flags] = *cursor.fixed_header::<2>(layer)?;
    let subtype = control >> 4;
    if control >> 2 & 3 != DATA || subtype & NO_DATA != 0 || flags & PROTECTED != 0 {
        cursor.push(layer, data.len().min(24))?;
        return Ok(Next::End);
    }
    let fixed = cursor.fixed_header::<24>(layer)?;
    let address = |at: usize| data.get(at..).and_then(|rest| rest.first_chunk::<6>());
    let both = TO_SYSTEM | FROM_SYSTEM;
    let mut len = if flags & both == both { 30 } else { 24 };
    let (destination, source) = match flags & both {
        0 => (address(4), address(10)),
        TO_SYSTEM => (address(16), address(10)),
        FROM_SYSTEM => (address(4), address(16)),
        _ => (address(16), address(24)),
    };
    let mut is_aggregate = false;
    if subtype & QOS != 0 {
        is_aggregate = data.get(len).is_some_and(|qos| qos & AGGREGATE != 0);
        // In QoS frames, this flag indicates four more bytes.
        len += if flags & ORDER != 0 { 6 } else { 2 };
    }
    if is_padded {
        len = len.next_multiple_of(4);
    }
    let (Some(source), Some(destination), true) = (source, destination, data.len() >= len) else {
        return Err(cursor.truncated(layer, len));
    };
    let (source, destination) = (*source, *destination);
    let fragment = fixed[22] & 0xf;
    cursor.push(layer, 2)?;
    cursor.push(Layer::DOT11_DATA, len - 2)?;
    if !is_aggregate {
        cursor.add_link(source, destination);
        // Only the first fragment contains the inner headers.
        return Ok(if fragment == 0 { Next::Llc } else { Next::End });
    }
    // In an aggregate, the first frame: destination, source, length.
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, l0, l1] =
        *cursor.fixed_header::<14>(layer)?;
    cursor.add_link([s0, s1, s2, s3, s4, s5], [d0, d1, d2, d3, d4, d5]);
    cursor.skip_header(14);
    cursor.limit(usize::from(u16::from_be_bytes([l0, l1])));
    Ok(Next::Llc)
}

/// Radiotap flag: the header of the frame is padded to four bytes.
const PADDED: u8 = 0x20;
/// Type of data frames.
const DATA: u8 = 2;
/// Bit of the subtype: the frame has no data.
const NO_DATA: u8 = 0x4;
/// Bit of the subtype: the header has a field for the quality of service.
const QOS: u8 = 0x8;
/// Bit of the quality of service: the payload is an aggregate of frames.
const AGGREGATE: u8 = 0x80;
const TO_SYSTEM: u8 = 0x01;
const FROM_SYSTEM: u8 = 0x02;
const PROTECTED: u8 = 0x40;
const ORDER: u8 = 0x80;
