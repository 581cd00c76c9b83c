//! IP in IP (RFC 2003, 2473, 4213): the outer header ends its level.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, ipv4, ipv6};

/// Decodes an IPv4 header after another IP header.
pub(super) fn v4(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    begin(cursor, Layer::IPV4, 4, 20)?;
    ipv4::decode(cursor)
}

/// Decodes an IPv6 header after another IP header.
pub(super) fn v6(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    begin(cursor, Layer::IPV6, 6, 40)?;
    ipv6::decode(cursor)
}

/// Returns the next header after a tunnel header that announces IPv4.
pub(super) fn inner_v4(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    begin(cursor, Layer::IPV4, 4, 20)?;
    Ok(Next::Ipv4)
}

/// Returns the next header after a tunnel header that announces IPv6.
pub(super) fn inner_v6(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    begin(cursor, Layer::IPV6, 6, 40)?;
    Ok(Next::Ipv6)
}

/// Ends the level if an IP header of this version and at least `header_len` bytes follows.
/// Otherwise, returns an error, and the packet forms only the outer flow.
fn begin(
    cursor: &mut Cursor<'_, '_>,
    layer: Layer,
    version: u8,
    header_len: usize,
) -> Result<(), DecodeError> {
    // COMPAT: recorded values of Skydive, whose flow has the outer addresses and the inner ports.
    if cursor.options.recorded {
        return Ok(());
    }
    match cursor.rest() {
        [first, ..] if first >> 4 != version => Err(cursor.malformed(layer)),
        rest if rest.len() < header_len => Err(cursor.truncated(layer, header_len)),
        _ => {
            cursor.end_level();
            Ok(())
        }
    }
}
