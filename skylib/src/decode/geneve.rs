//! Generic network virtualisation encapsulation (RFC 8926).

use super::cursor::{Next, Walk};
use super::{DecodeError, Layer, headers};

pub(super) fn decode(walk: &mut Walk<'_, '_>) -> Result<Next, DecodeError> {
    let [options, _, p0, p1, v0, v1, v2, _] = *walk.chunk::<8>(Layer::GENEVE)?;
    let len = 8 + usize::from(options & 0x3f) * 4;
    if walk.rest().len() < len {
        return Err(walk.truncated(Layer::GENEVE, len));
    }
    walk.push(Layer::GENEVE, len)?;
    walk.found_virtual_network(u32::from_be_bytes([0, v0, v1, v2]));
    walk.cut();
    headers::ether_type(walk, Layer::GENEVE, u16::from_be_bytes([p0, p1]))
}
