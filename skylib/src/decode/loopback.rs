//! BSD loopback headers: an address family in the byte order of the host or of the network.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes a loopback header in either byte order.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::LOOPBACK;
    let ([0, 0, 0, family] | [family, 0, 0, 0]) = *cursor.fixed_header::<4>(layer)? else {
        return Err(cursor.malformed(layer));
    };
    cursor.set_length(i64::from(cursor.wire_len) - 4);
    cursor.push(layer, 4)?;
    ip_of_family(cursor, family)
}

/// Skips the header of a packet of the BSD `enc` interface: address family in host byte order,
/// security parameter index, and flags. It has no layer in the path.
pub(super) fn enc(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::LOOPBACK;
    let ([0, 0, 0, family, ..] | [family, 0, 0, 0, ..]) = *cursor.fixed_header::<12>(layer)? else {
        return Err(cursor.malformed(layer));
    };
    cursor.skip(12);
    ip_of_family(cursor, family)
}

/// Returns the IP header indicated by an address family.
pub(super) fn ip_of_family(cursor: &Cursor<'_, '_>, family: u8) -> Result<Next, DecodeError> {
    match family {
        2 => Ok(Next::Ipv4),
        // AF_INET6 of Linux; of NetBSD and OpenBSD; of FreeBSD; of Darwin.
        10 | 24 | 28 | 30 => Ok(Next::Ipv6),
        _ => cursor.unknown(u16::from(family)),
    }
}
