//! IPv6 (RFC 8200), without its extension headers.

use etherparse::Ipv6HeaderSlice;

use super::cursor::{Cursor, Next};
use super::{DecodeError, IpAddress, Layer, NetworkHeader, NetworkProtocol};

/// Decodes an IPv6 header.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let rest = cursor.rest();
    let Some((fixed, payload)) = rest.split_first_chunk::<40>() else {
        return Err(cursor.add_short_network(NetworkProtocol::Ipv6, Layer::IPV6, 40));
    };
    let header = Ipv6HeaderSlice::from_slice(rest).map_err(|_| cursor.malformed(Layer::IPV6));
    // With jumbograms and segmentation offload, the length is 0; all captured bytes then belong to
    // the payload.
    let payload_len = match u16::from_be_bytes([fixed[4], fixed[5]]) {
        0 => payload.len(),
        len => usize::from(len),
    };
    let (mut source, mut destination) = ([0; 16], [0; 16]);
    source.copy_from_slice(&fixed[8..24]);
    destination.copy_from_slice(&fixed[24..]);
    // COMPAT: Skydive counts raw IPv6 packets without their 40-byte header.
    let counted_header = if cursor.options.recorded {
        0
    } else {
        fixed.len()
    };
    let length = counted_header + payload_len;
    cursor.set_length(length as i64);
    cursor.limit(fixed.len() + payload_len);
    let offset = cursor.offset();
    cursor.ipv6_offset = Some(offset);
    cursor.push(Layer::IPV6, fixed.len())?;
    cursor.add_network(NetworkHeader {
        protocol: NetworkProtocol::Ipv6,
        hop_limit: fixed[7],
        source: IpAddress::v6(source),
        destination: IpAddress::v6(destination),
        length: length as u32,
        tunnel_id: 0,
        offset: offset as u32,
    });
    Ok(Next::Ipv6NextHeader(header?.next_header().0))
}
