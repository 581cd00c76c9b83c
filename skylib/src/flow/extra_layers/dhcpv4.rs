//! Conversion of DHCPv4 messages to [`Dhcpv4Layer`] records.

use std::net::Ipv4Addr;

use prost::bytes::Bytes;

use super::records::Dhcpv4Layer;
use crate::decode::Dhcpv4Message;
use crate::value::Text;

/// Returns the record of a message; with `recorded`, only the fields that Skydive sets.
pub(super) fn layer(message: Dhcpv4Message<'_>, recorded: bool) -> Box<Dhcpv4Layer> {
    let mut layer = Dhcpv4Layer {
        hardware_len: message.hardware_len.into(),
        hardware_opts: message.hops.into(),
        secs: message.seconds.into(),
        flags: message.flags.into(),
        server_name: Bytes::copy_from_slice(message.server_name),
        file: Bytes::copy_from_slice(message.file),
        ..Dhcpv4Layer::default()
    };
    if !recorded {
        add_contents(&mut layer, &message);
    }
    Box::new(layer)
}

/// Adds the contents of the message that Skydive omits.
fn add_contents(layer: &mut Dhcpv4Layer, message: &Dhcpv4Message<'_>) {
    layer.xid = message.transaction;
    let [client, your, server, relay] = message.addresses.map(address);
    (layer.client_ip, layer.your_ip) = (client, your);
    (layer.server_ip, layer.relay_ip) = (server, relay);
    if message.hardware_len == 6
        && let [a, b, c, d, e, f, ..] = message.hardware
    {
        layer.client_mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}").into();
    }
    let option_address = |code: u8| {
        let value = message.option(code)?.first_chunk()?;
        Some(address(*value))
    };
    layer.requested_ip = option_address(REQUESTED_ADDRESS).unwrap_or_default();
    layer.server_id = option_address(SERVER_ID).unwrap_or_default();
    let lease = message.option(LEASE_TIME);
    let lease = lease.and_then(|value| value.first_chunk());
    layer.lease_time = lease.map_or(0, |value| u32::from_be_bytes(*value));
    let name = message.option(HOST_NAME).unwrap_or_default();
    layer.host_name = String::from_utf8_lossy(name).into_owned().into();
    if let Some([kind, ..]) = message.option(MESSAGE_TYPE) {
        layer.message_type = message_type(*kind);
    }
}

/// Returns an address as a string; empty for 0.0.0.0.
fn address(octets: [u8; 4]) -> Text {
    match octets {
        [0, 0, 0, 0] => Text::default(),
        octets => Ipv4Addr::from(octets).to_string().into(),
    }
}

/// Returns the name of a message type (RFC 2132, section 9.6), or its number if it has no name.
fn message_type(number: u8) -> Text {
    match number {
        1 => "DISCOVER".into(),
        2 => "OFFER".into(),
        3 => "REQUEST".into(),
        4 => "DECLINE".into(),
        5 => "ACK".into(),
        6 => "NAK".into(),
        7 => "RELEASE".into(),
        8 => "INFORM".into(),
        other => other.to_string().into(),
    }
}

// Options (RFC 2132).
const HOST_NAME: u8 = 12;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_shows_its_addresses_and_options() {
        let mut bytes = vec![0; 240];
        bytes[..8].copy_from_slice(&[2, 1, 6, 0, 0, 0, 1, 2]);
        bytes[16..20].copy_from_slice(&[10, 1, 0, 77]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend([
            53, 1, 2, 54, 4, 10, 1, 0, 2, 51, 4, 0, 0, 0x0e, 0x10, 12, 1, b'h', 255,
        ]);
        let message = Dhcpv4Message::new(&bytes).unwrap();
        let full = layer(message, false);
        assert_eq!((&*full.message_type, full.xid), ("OFFER", 0x0102));
        assert_eq!((&*full.your_ip, &*full.client_ip), ("10.1.0.77", ""));
        assert_eq!((&*full.server_id, full.lease_time), ("10.1.0.2", 3600));
        assert_eq!(&*full.client_mac, "02:00:00:00:00:01");
        assert_eq!(&*full.host_name, "h");
        let recorded = layer(message, true);
        assert_eq!((&*recorded.message_type, recorded.xid), ("", 0));
    }
}
