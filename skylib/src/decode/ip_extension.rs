//! Extension headers of IPv6 (RFC 8200) and the IPsec authentication header (RFC 4302).

use etherparse::{IpAuthHeaderSlice, Ipv6FragmentHeaderSlice, Ipv6RawExtHeaderSlice, err};

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a header for hop-by-hop options, destination options, or routing, which have the same
/// format.
pub(super) fn options(cursor: &mut Cursor<'_, '_>, layer: Layer) -> Result<Next, DecodeError> {
    let header = Ipv6RawExtHeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(layer, error.required_len))?;
    cursor.push(layer, header.slice().len())?;
    Ok(Next::Ipv6NextHeader(header.next_header().0))
}

/// Decodes a fragment header.
pub(super) fn fragment(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = Ipv6FragmentHeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(Layer::IPV6_FRAGMENT, error.required_len))?;
    let offset = cursor.offset();
    cursor.push(Layer::IPV6_FRAGMENT, header.slice().len())?;
    cursor.marks().set_ip_protocol(header.next_header().0);
    // COMPAT: Skydive does not reassemble IPv6 fragments and treats even a complete datagram with
    // this header as a fragment.
    if cursor.options.recorded {
        return Ok(Next::Terminal(Layer::FRAGMENT));
    }
    if header.is_fragmenting_payload() {
        if let Some(ipv6) = cursor.ipv6_offset {
            cursor.set_fragment(ipv6, offset);
        }
        return Ok(Next::Terminal(Layer::FRAGMENT));
    }
    if cursor.reassembled_at == Some(offset) {
        cursor.push(Layer::FRAGMENT, 0)?;
    }
    // A complete datagram (RFC 6946).
    Ok(Next::Ipv6NextHeader(header.next_header().0))
}

/// Decodes an authentication header.
pub(super) fn authentication(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::IPSEC_AH;
    let header = IpAuthHeaderSlice::from_slice(cursor.rest()).map_err(|error| match error {
        err::ip_auth::HeaderSliceError::Len(len) => cursor.truncated(layer, len.required_len),
        err::ip_auth::HeaderSliceError::Content(_) => cursor.malformed(layer),
    })?;
    cursor.note_spi(4);
    cursor.push(layer, header.slice().len())?;
    Ok(Next::Ipv6NextHeader(header.next_header().0))
}
