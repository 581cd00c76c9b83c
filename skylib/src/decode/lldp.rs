//! Protocols that neighbours on a link speak: LLDP, 802.1X, Cisco discovery, configuration test.

use super::cursor::{Cursor, Next};
use super::{DecodeError, Layer};

/// LLDP (IEEE 802.1AB): whole with its three mandatory fields and its end, or not at all.
pub(super) fn lldp(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::LINK_LAYER_DISCOVERY;
    let mut rest = cursor.rest();
    let (mut has_chassis, mut has_port, mut has_ttl) = (false, false, false);
    loop {
        let Some(([t0, t1], values)) = rest.split_first_chunk::<2>() else {
            return Err(cursor.truncated(layer, cursor.rest().len() + 2));
        };
        let len = usize::from(u16::from_be_bytes([t0 & 1, *t1]));
        let Some((value, next)) = values.split_at_checked(len) else {
            return Err(cursor.truncated(layer, cursor.rest().len() + len - values.len()));
        };
        // Identifiers start with their kind, which is never 0.
        let has_identifier = matches!(value, [kind, _, ..] if *kind != 0);
        match t0 >> 1 {
            0 => break,
            1 => has_chassis = has_identifier,
            2 => has_port = has_identifier,
            3 => has_ttl = len >= 2,
            _ => {}
        }
        rest = next;
    }
    if !(has_chassis && has_port && has_ttl) {
        return Err(cursor.malformed(layer));
    }
    // COMPAT: Skydive has a second layer for the optional fields, present or not.
    cursor.push(layer, 0)?;
    cursor.push(Layer::LINK_LAYER_DISCOVERY_INFO, 0)?;
    Ok(Next::End)
}

pub(super) fn eapol(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let [_, kind, _, _] = *cursor.chunk::<4>(Layer::EAPOL)?;
    cursor.push(Layer::EAPOL, 4)?;
    Ok(match kind {
        0 => Next::Leaf(Layer::EAP),
        _ => Next::End,
    })
}

/// Cisco discovery: version, lifetime and checksum, then fields of type and length.
pub(super) fn cisco_discovery(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::CISCO_DISCOVERY;
    let [version, _, _, _] = *cursor.chunk::<4>(layer)?;
    if !matches!(version, 1 | 2) {
        return Err(cursor.malformed(layer));
    }
    let mut fields = cursor.rest().get(4..).unwrap_or_default();
    while !fields.is_empty() {
        let len = match fields.first_chunk::<4>() {
            Some([_, _, l0, l1]) => usize::from(u16::from_be_bytes([*l0, *l1])),
            None => return Err(cursor.malformed(layer)),
        };
        fields = match fields.get(len..) {
            Some(next) if len >= 4 => next,
            _ => return Err(cursor.malformed(layer)),
        };
    }
    cursor.push(layer, 4)?;
    Ok(Next::Leaf(Layer::CISCO_DISCOVERY_INFO))
}

/// Configuration test (Ethernet II specification, 8.4): functions to skip, then the current one.
pub(super) fn ethernet_ctp(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::ETHERNET_CTP;
    cursor.chunk::<2>(layer)?;
    cursor.push(layer, 2)?;
    ctp_function(cursor)
}

fn ctp_function(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    match cursor.rest().first_chunk::<2>() {
        Some([1, 0]) => Ok(Next::Leaf(Layer::ETHERNET_CTP_REPLY)),
        Some([2, 0]) => Ok(Next::Header(ctp_forward)),
        Some(function) => cursor.unknown(Layer::ETHERNET_CTP, u16::from_le_bytes(*function)),
        None => Ok(Next::End),
    }
}

fn ctp_forward(cursor: &mut Cursor<'_, '_>) -> Result<Next, DecodeError> {
    let layer = Layer::ETHERNET_CTP_FORWARD_DATA;
    cursor.chunk::<8>(layer)?;
    cursor.push(layer, 8)?;
    ctp_function(cursor)
}
