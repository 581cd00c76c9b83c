//! Fragments of IPv4 and IPv6: the position of one in a packet, and the fields of its headers.

use crate::decode::IpAddress;
use crate::packet::CapturePoint;

/// Position of the header of a fragment in a packet; see
/// [`Encapsulations::fragment`](crate::decode::Encapsulations::fragment). Offsets are in bytes from the
/// first captured byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Addresses of the first IP header of the packet, which may be an IPv6 header that encloses
    /// the fragment.
    pub(in crate::decode) outermost: (IpAddress, IpAddress),
    /// Start of the IP header.
    pub(in crate::decode) header: u32,
    /// Start of the fragment header of IPv6; 0 for IPv4.
    pub(in crate::decode) extension: u32,
    /// Start of the payload of the fragment.
    pub(in crate::decode) payload: u32,
    /// End of the payload.
    pub(in crate::decode) end: u32,
    /// Capture point of the packet.
    pub(crate) point: CapturePoint,
    /// Hash of the other headers around the fragment that distinguish flows; 0 if there are none.
    pub(crate) around: u64,
}

/// Fields shared by all fragments of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    /// Addresses of the outermost IP header: fragments of different tunnels are unrelated.
    pub(super) outermost: (IpAddress, IpAddress),
    /// Index of the capture point: copies captured at several points are separate datagrams.
    pub(super) point: u32,
    /// Hash of the other headers around the fragment.
    pub(super) around: u64,
    /// Source and destination address; an IPv4 address is followed by zeros.
    pub(super) addresses: [u8; 32],
    /// Identification field; for IPv4, followed by zeros.
    pub(super) id: [u8; 4],
    /// Protocol of IPv4; `None` for IPv6, where it does not identify a datagram.
    pub(super) protocol: Option<u8>,
}

/// Payload range of a fragment in its datagram.
pub(super) struct FragmentRange {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) header_len: u32,
    pub(super) is_last: bool,
}

impl Fragment {
    /// Parses the headers of the fragment in a packet; returns `None` if it is from another packet.
    pub(super) fn parse(self, data: &[u8]) -> Option<(FragmentKey, FragmentRange)> {
        if self.extension == 0 {
            parse_ipv4(data, self)
        } else {
            parse_ipv6(data, self)
        }
    }
}

/// Parses the IPv6 header and the fragment header of a fragment.
fn parse_ipv6(data: &[u8], fragment: Fragment) -> Option<(FragmentKey, FragmentRange)> {
    let header = data.get(fragment.header as usize..)?.first_chunk::<40>()?;
    let [_, _, _, _, l0, l1, _, _, addresses @ ..] = *header;
    let [_, _, o0, o1, id @ ..] = *data
        .get(fragment.extension as usize..)?
        .first_chunk::<8>()?;
    let header_len = fragment.payload.checked_sub(fragment.header)?;
    let length = match u16::from_be_bytes([l0, l1]) {
        0 => fragment.end.checked_sub(fragment.payload)?,
        payload_len => (u32::from(payload_len) + 40).checked_sub(header_len)?,
    };
    let field = u16::from_be_bytes([o0, o1]);
    // The offset is in units of eight bytes, in the upper bits.
    let start = u32::from(field & OFFSET_IPV6);
    let key = FragmentKey {
        outermost: fragment.outermost,
        point: fragment.point.index(),
        around: fragment.around,
        addresses,
        id,
        protocol: None,
    };
    let range = FragmentRange {
        start,
        end: start + length,
        header_len,
        is_last: field & MORE_FRAGMENTS_IPV6 == 0,
    };
    Some((key, range))
}

/// Parses the IPv4 header of a fragment.
fn parse_ipv4(data: &[u8], fragment: Fragment) -> Option<(FragmentKey, FragmentRange)> {
    let header = data.get(fragment.header as usize..)?.first_chunk::<20>()?;
    let [_, _, l0, l1, i0, i1, f0, f1, _, protocol, _, _, ends @ ..] = *header;
    let ends: [u8; 8] = ends;
    let mut addresses = [0; 32];
    addresses[..8].copy_from_slice(&ends);
    let header_len = fragment.payload.checked_sub(fragment.header)?;
    // With segmentation offload, the length is 0; all captured bytes then belong to the fragment.
    let length = match u16::from_be_bytes([l0, l1]) {
        0 => fragment.end.checked_sub(fragment.payload)?,
        total_len => u32::from(total_len).checked_sub(header_len)?,
    };
    let flags = u16::from_be_bytes([f0, f1]);
    let start = u32::from(flags & OFFSET) * UNIT;
    let key = FragmentKey {
        outermost: fragment.outermost,
        point: fragment.point.index(),
        around: fragment.around,
        addresses,
        id: [i0, i1, 0, 0],
        protocol: Some(protocol),
    };
    let range = FragmentRange {
        start,
        end: start + length,
        header_len,
        is_last: flags & MORE_FRAGMENTS == 0,
    };
    Some((key, range))
}

/// Unit of fragment offsets, in bytes (RFC 791, section 3.1).
pub(super) const UNIT: u32 = 8;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const MORE_FRAGMENTS_IPV6: u16 = 0x0001;
const OFFSET_IPV6: u16 = 0xfff8;
