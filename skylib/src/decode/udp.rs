//! UDP (RFC 768).

use etherparse::UdpHeaderSlice;

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, TcpFlags, TransportHeader, TransportProtocol};

/// Decodes a UDP header.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let Ok(header) = UdpHeaderSlice::from_slice(cursor.rest()) else {
        return Err(cursor.add_short_transport(TransportProtocol::Udp, Layer::UDP, 8));
    };
    let (source, destination) = (header.source_port(), header.destination_port());
    let payload_offset = cursor.offset() + header.slice().len();
    let malformed = cursor.malformed(Layer::UDP);
    match header.length() {
        // Jumbograms (RFC 2675) and segmentation offload: the payload extends to the end of the
        // captured bytes.
        0 => {}
        len => cursor.limit(usize::from(len).max(header.slice().len())),
    }
    cursor.push(Layer::UDP, header.slice().len())?;
    cursor.add_transport(TransportHeader {
        protocol: TransportProtocol::Udp,
        has_ports: true,
        source,
        destination,
        flags: TcpFlags::default(),
        sequence: 0,
        acknowledgment: 0,
        options_len: 0,
        payload_offset: payload_offset as u32,
        payload_len: cursor.rest().len() as u32,
    });
    if matches!(header.length(), 1..8) {
        return Err(malformed);
    }
    Ok(Next::UdpPort(source, destination))
}
