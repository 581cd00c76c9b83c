//! Headers that capture libraries put in front where a device has none of its own.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, headers, llc};

/// Linux "cooked" capture, version 1.
pub(super) fn linux_sll(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [.., p0, p1] = *cursor.chunk::<16>(Layer::LINUX_SLL)?;
    linux(cursor, 16, u16::from_be_bytes([p0, p1]))
}

/// Linux "cooked" capture, version 2.
pub(super) fn linux_sll2(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [p0, p1, ..] = *cursor.chunk::<20>(Layer::LINUX_SLL)?;
    linux(cursor, 20, u16::from_be_bytes([p0, p1]))
}

fn linux(cursor: &mut Cursor<'_, '_>, len: usize, protocol: u16) -> Result<Next, DecodeError> {
    cursor.set_length(i64::from(cursor.wire_len) - len as i64);
    cursor.push(Layer::LINUX_SLL, len)?;
    match protocol {
        LINUX_802_2 => Ok(Next::Header(llc::decode)),
        _ => headers::ether_type(cursor, Layer::LINUX_SLL, protocol),
    }
}

/// BSD loopback: an address family in the byte order of the host or of the network.
pub(super) fn loopback(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::LOOPBACK;
    let ([0, 0, 0, family] | [family, 0, 0, 0]) = *cursor.chunk::<4>(layer)? else {
        return Err(cursor.malformed(layer));
    };
    cursor.set_length(i64::from(cursor.wire_len) - 4);
    cursor.push(layer, 4)?;
    match family {
        2 => Ok(Next::Header(headers::ipv4)),
        // Linux; NetBSD and OpenBSD; FreeBSD; Darwin.
        10 | 24 | 28 | 30 => Ok(Next::Header(headers::ipv6)),
        _ => cursor.unknown(layer, u16::from(family)),
    }
}

/// Linux's own protocol number for frames that begin with LLC.
const LINUX_802_2: u16 = 4;
