//! ERSPAN types II and III: a mirrored frame with a separate header, carried by GRE
//! (draft-foschiano-erspan).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Skips the header of type II, which has no layer in the path.
pub(super) fn type_2(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    cursor.fixed_header::<8>(Layer::ETHERNET)?;
    if cursor.options.recorded {
        // COMPAT: Skydive counts these eight bytes for the mirrored flow.
        cursor.skip(8);
    } else {
        cursor.skip_header(8);
    }
    Ok(Next::Frame)
}

/// Skips the header of type III and its optional subheader of eight bytes.
pub(super) fn type_3(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [.., kind, flags] = *cursor.fixed_header::<12>(Layer::ETHERNET)?;
    let len = if flags & HAS_SUBHEADER != 0 { 20 } else { 12 };
    if cursor.rest().len() < len {
        return Err(cursor.truncated(Layer::ETHERNET, len));
    }
    cursor.skip_header(len);
    Ok(match kind >> 2 & FRAME_TYPE {
        FRAME_IP => match cursor.rest().first().map(|byte| byte >> 4) {
            Some(6) => Next::Ipv6,
            _ => Next::Ipv4,
        },
        _ => Next::Frame,
    })
}

/// Bit O of the last byte.
const HAS_SUBHEADER: u8 = 0x01;
/// Mask of the frame type.
const FRAME_TYPE: u8 = 0x1f;
/// Frame type of an IP packet without a link header.
const FRAME_IP: u8 = 2;
