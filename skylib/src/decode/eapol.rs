//! EAP over LAN (IEEE 802.1X).

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// Decodes an EAPOL header.
pub(super) fn decode(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, kind, _, _] = *cursor.fixed_header::<4>(Layer::EAPOL)?;
    cursor.push(Layer::EAPOL, 4)?;
    Ok(match kind {
        0 => Next::Terminal(Layer::EAP),
        _ => Next::End,
    })
}
