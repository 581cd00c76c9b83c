//! IPv4 (RFC 791).

use etherparse::{Ipv4HeaderSlice, err};

use super::cursor::{Cursor, Next};
use super::{DecodeError, IpAddress, Layer, NetworkHeader, NetworkProtocol};

/// Decodes an IPv4 header with its options.
///
/// Addresses are read before etherparse validates the header, so that they are available even if
/// the options are truncated or malformed.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let rest = cursor.rest();
    let Some(fixed) = rest.first_chunk::<20>() else {
        return Err(cursor.add_short_network(NetworkProtocol::Ipv4, Layer::IPV4, 20));
    };
    let network = fixed_fields(fixed, rest.len(), cursor.offset());
    let total_len = network.length as usize;
    let header = match Ipv4HeaderSlice::from_slice(rest) {
        Ok(header) if header.slice().len() <= total_len => Ok(header),
        Ok(_) | Err(err::ipv4::HeaderSliceError::Content(_)) => Err(cursor.malformed(Layer::IPV4)),
        Err(err::ipv4::HeaderSliceError::Len(len)) => {
            Err(cursor.truncated(Layer::IPV4, len.required_len))
        }
    };
    cursor.set_length(total_len as i64);
    cursor.limit(total_len);
    let offset = cursor.offset();
    let is_first = !std::mem::replace(&mut cursor.has_ipv4, true);
    cursor.push(
        Layer::IPV4,
        header.as_ref().map_or(20, |header| header.slice().len()),
    )?;
    cursor.add_network(network);
    let header = header?;
    if cursor.reassembled_at == Some(offset) {
        cursor.push(Layer::FRAGMENT, 0)?;
    }
    if header.is_fragmenting_payload() {
        cursor.marks().set_ip_protocol(header.protocol().0);
        // A fragment with the "don't fragment" flag contradicts itself and is not reassembled.
        if is_first && !header.dont_fragment() {
            cursor.set_fragment(offset, 0);
        }
        return Ok(Next::Terminal(Layer::FRAGMENT));
    }
    Ok(Next::IpProtocol(header.protocol().0))
}

/// Parses the fixed fields of a header at `offset`. `available` is the number of captured bytes
/// from its start.
fn fixed_fields(fixed: &[u8; 20], available: usize, offset: usize) -> NetworkHeader {
    let [
        _,
        _,
        l0,
        l1,
        _,
        _,
        _,
        _,
        ttl,
        _,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = *fixed;
    // With segmentation offload, the length is 0; all captured bytes then belong to the datagram.
    let total_len = match u16::from_be_bytes([l0, l1]) {
        0 => available as u32,
        len => u32::from(len),
    };
    NetworkHeader {
        protocol: NetworkProtocol::Ipv4,
        hop_limit: ttl,
        source: IpAddress::v4([s0, s1, s2, s3]),
        destination: IpAddress::v4([d0, d1, d2, d3]),
        length: total_len,
        tunnel_id: 0,
        offset: offset as u32,
    }
}
