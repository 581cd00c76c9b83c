//! Payload of an MPLS label stack (RFC 4928): IP, or an Ethernet pseudowire with or without a
//! control word (RFC 4385, 4448, 8469).
//!
//! The labels do not state the type of the payload. The first four bits exclude most types; the
//! EtherType distinguishes the remaining ones.

use super::cursor::{Cursor, Next};
use super::ethernet::{MIN_TYPE, TYPE_IPV4, TYPE_IPV6};

/// Returns the next header after a label stack, and skips a control word.
pub(super) fn payload(cursor: &mut Cursor<'_, '_>) -> Next {
    let (data, wire_len) = (cursor.rest(), cursor.wire_rest());
    let nibble = data.first().map(|byte| byte >> 4);
    match nibble {
        Some(4) if is_ipv4(data, wire_len) => return Next::Ipv4,
        Some(6) if is_ipv6(data, wire_len) => return Next::Ipv6,
        // An associated channel (RFC 5586) carries no packet of a flow.
        Some(1) => return Next::End,
        _ => {}
    }
    let behind = data.get(CONTROL_WORD..).unwrap_or_default();
    if nibble == Some(0) && is_frame(behind, wire_len.saturating_sub(CONTROL_WORD)) {
        cursor.skip_header(CONTROL_WORD);
    }
    Next::Frame
}

/// Returns whether data is plausible as an Ethernet frame of `wire_len` bytes: its EtherType is
/// supported by the decoder or is a valid length, and the IP version matches.
pub(super) fn is_frame(data: &[u8], wire_len: usize) -> bool {
    let Some((header, payload)) = data.split_first_chunk::<14>() else {
        return false;
    };
    let version = payload.first().map(|byte| byte >> 4);
    match u16::from_be_bytes([header[12], header[13]]) {
        TYPE_IPV4 => matches!(version, Some(4) | None),
        TYPE_IPV6 => matches!(version, Some(6) | None),
        0x0806 | 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 | 0x8847 | 0x8848 | 0x8863 | 0x8864
        | 0x88cc | 0x888e | 0x9000 | 0x88e7 | 0x894f => true,
        len if len < MIN_TYPE => len > 2 && usize::from(len) + 14 <= wire_len,
        _ => false,
    }
}

/// Returns whether data is plausible as an IPv4 packet of at most `wire_len` bytes.
fn is_ipv4(data: &[u8], wire_len: usize) -> bool {
    let Some([first, _, l0, l1, _, _, _, _, _, protocol, ..]) = data.first_chunk::<20>() else {
        return false;
    };
    let header_len = usize::from(first & 0xf) * 4;
    // With segmentation offload, the length is 0.
    let is_length_valid = match usize::from(u16::from_be_bytes([*l0, *l1])) {
        0 => true,
        len => (header_len..=wire_len).contains(&len),
    };
    let is_known = || {
        matches!(
            protocol,
            1 | 2 | 4 | 6 | 17 | 41 | 47 | 50 | 51 | 89 | 112 | 132
        )
    };
    match data.get(..header_len) {
        Some(header) if header_len >= 20 && is_length_valid => {
            is_known() || is_checksum_valid(header)
        }
        _ => false,
    }
}

/// Returns whether data is plausible as an IPv6 packet of at most `wire_len` bytes.
fn is_ipv6(data: &[u8], wire_len: usize) -> bool {
    match data.first_chunk::<40>() {
        Some([_, _, _, _, l0, l1, ..]) => {
            40 + usize::from(u16::from_be_bytes([*l0, *l1])) <= wire_len
        }
        None => false,
    }
}

/// Returns whether the checksum of an IPv4 header is valid (RFC 1071).
fn is_checksum_valid(header: &[u8]) -> bool {
    let words = header
        .chunks_exact(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// Length of a control word, in bytes.
const CONTROL_WORD: usize = 4;
