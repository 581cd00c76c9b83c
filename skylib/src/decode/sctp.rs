//! SCTP (RFC 9260): the common header, and a layer for each chunk.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, TcpFlags, TransportHeader, TransportProtocol};

/// Decodes the common header and the chunks after it.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let Some(&[s0, s1, d0, d1, ..]) = cursor.rest().first_chunk::<12>() else {
        return Err(cursor.add_short_transport(TransportProtocol::Sctp, Layer::SCTP, 12));
    };
    let payload_offset = cursor.offset() + 12;
    cursor.push(Layer::SCTP, 12)?;
    cursor.add_transport(TransportHeader {
        protocol: TransportProtocol::Sctp,
        has_ports: true,
        source: u16::from_be_bytes([s0, s1]),
        destination: u16::from_be_bytes([d0, d1]),
        flags: TcpFlags::default(),
        sequence: 0,
        acknowledgment: 0,
        options_len: 0,
        payload_offset: payload_offset as u32,
        payload_len: cursor.rest().len() as u32,
    });
    // A packet may have many more chunks than a path can hold; the path shows the first ones.
    while !cursor.rest().is_empty() && !cursor.path_is_full() {
        chunk(cursor)?;
    }
    Ok(Next::End)
}

/// Decodes a chunk.
fn chunk(cursor: &mut Cursor<'_, '_>) -> Result<(), DecodeError> {
    let (layer, min_len) = match cursor.rest().first() {
        Some(0) => (Layer::SCTP_DATA, 16),
        Some(1) => (Layer::SCTP_INIT, 20),
        Some(2) => (Layer::SCTP_INIT_ACK, 20),
        Some(3) => (Layer::SCTP_SACK, 16),
        Some(4) => (Layer::SCTP_HEARTBEAT, 4),
        Some(5) => (Layer::SCTP_HEARTBEAT_ACK, 4),
        Some(6) => (Layer::SCTP_ABORT, 4),
        Some(7) => (Layer::SCTP_SHUTDOWN, 8),
        Some(8) => (Layer::SCTP_SHUTDOWN_ACK, 4),
        Some(9) => (Layer::SCTP_ERROR, 4),
        Some(10) => (Layer::SCTP_COOKIE_ECHO, 4),
        Some(11) => (Layer::SCTP_COOKIE_ACK, 4),
        Some(14) => (Layer::SCTP_SHUTDOWN_COMPLETE, 4),
        _ => (Layer::SCTP_UNKNOWN, 4),
    };
    if cursor.rest().len() < min_len {
        return Err(cursor.truncated(layer, min_len));
    }
    let [_, _, l0, l1] = *cursor.fixed_header::<4>(layer)?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if len < 4 {
        return Err(cursor.malformed(layer));
    }
    // The length does not include the padding to a multiple of four.
    cursor.push(layer, len.next_multiple_of(4))
}
