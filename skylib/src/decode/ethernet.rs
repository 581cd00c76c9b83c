//! Ethernet II and IEEE 802.3 frames, IEEE 802.1Q and 802.1ad tags, and EtherIP (RFC 3378).

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes an Ethernet header.
pub(super) fn frame(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = Ethernet2HeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(Layer::ETHERNET, error.required_len))?;
    let ether_type = header.ether_type().0;
    let payload_len = cursor.rest().len() - HEADER_LEN;
    cursor.set_length(match cursor.wire_len {
        0 if ether_type < MIN_TYPE => (HEADER_LEN as i64) + i64::from(ether_type),
        0 => (HEADER_LEN + payload_len) as i64,
        wire_len => i64::from(wire_len),
    });
    cursor.push(Layer::ETHERNET, HEADER_LEN)?;
    cursor.add_link(header.source(), header.destination());
    Ok(type_or_length(cursor, ether_type))
}

/// Decodes a VLAN tag.
pub(super) fn tag(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let header = SingleVlanHeaderSlice::from_slice(cursor.rest())
        .map_err(|error| cursor.truncated(Layer::DOT1Q, error.required_len))?;
    cursor.push(Layer::DOT1Q, header.slice().len())?;
    cursor.add_vlan(header.vlan_identifier().value());
    Ok(type_or_length(cursor, header.ether_type().0))
}

/// Decodes the two bytes of EtherIP before an Ethernet frame.
pub(super) fn ether_ip(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    cursor.fixed_header::<2>(Layer::ETHER_IP)?;
    cursor.push(Layer::ETHER_IP, 2)?;
    // COMPAT: recorded values of Skydive, which has one level for both.
    if !cursor.options.recorded {
        cursor.end_level();
    }
    Ok(Next::Frame)
}

/// Returns the next header after a field that contains an EtherType or the length of the payload
/// (IEEE 802.3, 3.2.6). A length excludes padding from the payload.
fn type_or_length(cursor: &mut Cursor<'_, '_>, value: u16) -> Next {
    if value < MIN_TYPE {
        cursor.limit(usize::from(value));
    }
    Next::EtherType(value)
}

/// Length of an Ethernet header, in bytes.
const HEADER_LEN: usize = 14;
/// EtherType of IPv4.
pub(super) const TYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub(super) const TYPE_IPV6: u16 = 0x86dd;
/// Minimum EtherType; smaller values are lengths (IEEE 802.3, 3.2.6).
pub(super) const MIN_TYPE: u16 = 0x600;
