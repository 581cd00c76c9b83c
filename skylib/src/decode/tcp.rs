//! TCP (RFC 9293).

use etherparse::{TcpHeaderSlice, err};

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, TcpFlags, TransportHeader, TransportProtocol};

/// Decodes a TCP header with its options.
///
/// The fixed fields are stored even if the options are truncated or malformed.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let rest = cursor.rest();
    let Some(fixed) = rest.first_chunk::<20>() else {
        return Err(cursor.add_short_transport(TransportProtocol::Tcp, Layer::TCP, 20));
    };
    let [
        s0,
        s1,
        d0,
        d1,
        q0,
        q1,
        q2,
        q3,
        a0,
        a1,
        a2,
        a3,
        data_offset,
        flags,
        _,
        _,
        _,
        _,
        _,
        _,
    ] = *fixed;
    let header = TcpHeaderSlice::from_slice(rest).map_err(|error| match error {
        err::tcp::HeaderSliceError::Len(len) => cursor.truncated(Layer::TCP, len.required_len),
        err::tcp::HeaderSliceError::Content(_) => cursor.malformed(Layer::TCP),
    });
    let header_len = header
        .as_ref()
        .map_or(rest.len(), |header| header.slice().len());
    let options_len = header
        .as_ref()
        .map_or(0, |header| header.slice().len() - 20);
    // The payload follows the whole header, even if only a part of the header was captured.
    let payload_offset = match &header {
        Err(DecodeError::Truncated { .. }) => cursor.offset() + usize::from(data_offset >> 4) * 4,
        _ => cursor.offset() + header_len,
    };
    cursor.push(Layer::TCP, header_len)?;
    cursor.add_transport(TransportHeader {
        protocol: TransportProtocol::Tcp,
        has_ports: true,
        source: u16::from_be_bytes([s0, s1]),
        destination: u16::from_be_bytes([d0, d1]),
        flags: TcpFlags(flags),
        sequence: u32::from_be_bytes([q0, q1, q2, q3]),
        acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
        options_len: options_len as u8,
        payload_offset: payload_offset as u32,
        payload_len: cursor.rest().len() as u32,
    });
    header?;
    Ok(Next::End)
}
