//! VXLAN with the generic protocol extension (draft-ietf-nvo3-vxlan-gpe).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer, ip_in_ip};

/// Decodes a header; the header ends its level.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [flags, _, _, protocol, v0, v1, v2, _] = *cursor.fixed_header::<8>(Layer::VXLAN_GPE)?;
    cursor.push(Layer::VXLAN_GPE, 8)?;
    cursor.set_tunnel_end(u32::from_be_bytes([0, v0, v1, v2]));
    if flags & MANAGEMENT != 0 {
        return Ok(Next::End);
    }
    match (flags & HAS_PROTOCOL, protocol) {
        // Without the flag, the header is a VXLAN header.
        (0, _) | (_, 3) => Ok(Next::Frame),
        (_, 1) => ip_in_ip::inner_v4(cursor),
        (_, 2) => ip_in_ip::inner_v6(cursor),
        (_, 4) => Ok(Next::EtherType(0x894f)),
        _ => cursor.unknown(u16::from(protocol)),
    }
}

/// Bit P: the header states the next protocol.
const HAS_PROTOCOL: u8 = 0x04;
/// Bit O: the payload is an operations and management (OAM) message.
const MANAGEMENT: u8 = 0x01;
