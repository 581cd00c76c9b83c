//! ERSPAN type II: a mirrored Ethernet frame behind a header of eight bytes, carried by GRE.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Skips the header, which has no layer in the path.
// COMPAT: Skydive counts these eight bytes for the mirrored flow.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    cursor.fixed_header::<8>(Layer::ETHERNET)?;
    cursor.skip(8);
    Ok(Next::Frame)
}
