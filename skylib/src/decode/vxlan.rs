//! Virtual extensible LAN (RFC 7348).

use super::cursor::{Next, Walk};
use super::{DecodeError, Layer, headers};

pub(super) fn decode(walk: &mut Walk<'_, '_>) -> Result<Next, DecodeError> {
    let [_, _, _, _, v0, v1, v2, _] = *walk.chunk::<8>(Layer::VXLAN)?;
    walk.push(Layer::VXLAN, 8)?;
    walk.found_virtual_network(u32::from_be_bytes([0, v0, v1, v2]));
    walk.cut();
    Ok(Next::Header(headers::ethernet))
}
