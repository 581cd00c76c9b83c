//! Packets logged by Linux netfilter (`LINKTYPE_NFLOG`).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, loopback};

/// Decodes the header and its attributes up to the packet, which is the last attribute.
///
/// An attribute consists of its length (including these four bytes of length and type), its type,
/// and a value padded to four bytes. The numbers are in the byte order of the capturing host, which
/// is not recorded.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::NFLOG;
    let data = cursor.rest();
    let [family, ..] = *cursor.fixed_header::<4>(layer)?;
    let mut at = 4;
    loop {
        let attribute = data.get(at..).and_then(|rest| rest.first_chunk::<4>());
        let Some([l0, l1, k0, k1]) = attribute else {
            return Err(cursor.truncated(layer, at + 4));
        };
        let is_little = *k1 == 0;
        let number = |bytes| match is_little {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        };
        let (len, kind) = (usize::from(number([*l0, *l1])), number([*k0, *k1]));
        if len < 4 {
            return Err(cursor.malformed(layer));
        }
        if kind == PAYLOAD {
            cursor.limit(at + len);
            cursor.set_length(i64::from(cursor.wire_len) - at as i64 - 4);
            cursor.push(layer, at + 4)?;
            return loopback::ip_of_family(cursor, family);
        }
        at += len.next_multiple_of(4);
    }
}

/// Type of the attribute with the packet.
const PAYLOAD: u16 = 9;
