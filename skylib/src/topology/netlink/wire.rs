//! Decoding of route netlink messages. Attributes are decoded one by one, so that a malformed
//! attribute does not affect the others.

use std::net::IpAddr;

use netlink_packet_core::{NlaBuffer, NlasIterator, parse_ip};

use super::address::AddressMessage;
use super::link::LinkMessage;
use super::neighbor::NeighborMessage;
use crate::value::{Text, Value};

/// A change in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NetlinkEvent {
    /// A link was added or changed; the message has all attributes.
    Link(Box<LinkMessage>),
    /// A link was deleted.
    LinkDeleted(u32),
    /// A link has changed, but the message lacks its attributes, so it has to be requested.
    LinkStale(u32),
    /// An address was added or confirmed.
    Address(AddressMessage),
    /// An address was deleted.
    AddressDeleted(AddressMessage),
    /// A neighbor or forwarding entry was added or changed.
    Neighbor(NeighborMessage),
    /// A neighbor or forwarding entry was deleted.
    NeighborDeleted(NeighborMessage),
    /// A route, a routing rule, or a nexthop object was added, changed, or deleted.
    Routes,
    /// The routing tables of a link as metadata; results from a complete list of routes, never from
    /// one message.
    RoutesOf(u32, Option<Value>),
}

impl NetlinkEvent {
    /// Parses a message; returns `None` for other types and for malformed messages.
    pub(crate) fn parse(kind: u16, payload: &[u8]) -> Option<Self> {
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => Self::parse_link(kind, payload),
            libc::RTM_NEWADDR => AddressMessage::parse(payload).map(Self::Address),
            libc::RTM_DELADDR => AddressMessage::parse(payload).map(Self::AddressDeleted),
            libc::RTM_NEWNEIGH => NeighborMessage::parse(payload).map(Self::Neighbor),
            libc::RTM_DELNEIGH => NeighborMessage::parse(payload).map(Self::NeighborDeleted),
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE => {
                Some(Self::Routes)
            }
            // The kernel removes the routes of a deleted nexthop object without a message.
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => Some(Self::Routes),
            _ => None,
        }
    }

    fn parse_link(kind: u16, payload: &[u8]) -> Option<Self> {
        let family = *payload.first()?;
        let index = u32_at(payload, 4)?;
        if i32::from(family) != libc::AF_UNSPEC {
            // A message of the bridge about its port: the deletion means that the master has changed.
            return (kind == libc::RTM_DELLINK).then_some(Self::LinkStale(index));
        }
        if kind == libc::RTM_DELLINK {
            return Some(Self::LinkDeleted(index));
        }
        match LinkMessage::parse(payload) {
            // Wireless events are link messages without the usual attributes.
            Some(link) if link.is_complete => Some(Self::Link(Box::new(link))),
            _ => Some(Self::LinkStale(index)),
        }
    }
}

/// Returns the attributes after a header of `skip` bytes, up to the first malformed one.
pub(super) fn attributes(payload: &[u8], skip: usize) -> impl Iterator<Item = Attribute<'_>> {
    let bytes = payload.get(skip..).unwrap_or_default();
    NlasIterator::new(bytes)
        .map_while(Result::ok)
        .map(Attribute)
}

/// A netlink attribute.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a>(NlaBuffer<&'a [u8]>);

impl<'a> Attribute<'a> {
    pub(super) fn kind(&self) -> u16 {
        self.0.kind()
    }

    /// Returns the attribute in the form that parsers of the packet crate require.
    pub(super) const fn nla(&self) -> &NlaBuffer<&'a [u8]> {
        &self.0
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        let inner = self.0.into_inner();
        inner
            .get(4..usize::from(self.0.length()))
            .unwrap_or_default()
    }

    pub(super) fn u8(&self) -> Option<u8> {
        self.bytes().first().copied()
    }

    pub(super) fn u16(&self) -> Option<u16> {
        u16_at(self.bytes(), 0)
    }

    pub(super) fn u32(&self) -> Option<u32> {
        u32_at(self.bytes(), 0)
    }

    pub(super) fn i32(&self) -> Option<i32> {
        self.u32().map(u32::cast_signed)
    }

    /// Returns the text before the first NUL. Names may have any other bytes; U+FFFD replaces those
    /// that are not UTF-8.
    pub(super) fn text(&self) -> Text {
        let bytes = self.bytes().split(|byte| *byte == 0).next();
        Text::from(&*String::from_utf8_lossy(bytes.unwrap_or_default()))
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        parse_ip(self.bytes()).ok()
    }

    pub(super) fn nested(&self) -> impl Iterator<Item = Self> {
        attributes(self.bytes(), 0)
    }
}

/// Returns the number at an offset; route netlink uses host byte order.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_ne_bytes)
}

/// Returns the number at an offset; route netlink uses host byte order.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_ne_bytes)
}

/// Returns a hardware address of any length as lowercase hexadecimal with colons.
pub(super) fn colon_hex(bytes: &[u8]) -> Text {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 3);
    for (i, byte) in bytes.iter().enumerate() {
        let colon = if i == 0 { "" } else { ":" };
        // Writing to a string cannot fail.
        let _ok = write!(text, "{colon}{byte:02x}");
    }
    Text::from(text)
}

/// `RTM_NEWNEXTHOP` of `linux/rtnetlink.h`.
const RTM_NEWNEXTHOP: u16 = 104;
/// `RTM_DELNEXTHOP` of `linux/rtnetlink.h`.
const RTM_DELNEXTHOP: u16 = 105;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hardware_addresses_of_any_length_have_the_same_form() {
        assert_eq!(
            colon_hex(&[0x02, 0, 0, 0, 0x0a, 0xff]).as_str(),
            "02:00:00:00:0a:ff"
        );
        assert_eq!(colon_hex(&[10, 0, 0, 1]).as_str(), "0a:00:00:01");
        assert_eq!(colon_hex(&[]).as_str(), "");
    }

    #[test]
    fn the_end_of_a_bridge_port_makes_the_link_stale() {
        let mut payload = [0_u8; 16];
        payload[0] = 7; // AF_BRIDGE
        payload[4] = 9;
        assert_eq!(
            NetlinkEvent::parse(libc::RTM_DELLINK, &payload),
            Some(NetlinkEvent::LinkStale(9))
        );
        assert_eq!(NetlinkEvent::parse(libc::RTM_NEWLINK, &payload), None);
        payload[0] = 0;
        assert_eq!(
            NetlinkEvent::parse(libc::RTM_DELLINK, &payload),
            Some(NetlinkEvent::LinkDeleted(9))
        );
    }

    #[test]
    fn a_link_message_without_its_attributes_makes_the_link_stale() {
        let mut payload = [0_u8; 16];
        payload[4] = 9;
        assert_eq!(
            NetlinkEvent::parse(libc::RTM_NEWLINK, &payload),
            Some(NetlinkEvent::LinkStale(9))
        );
    }

    #[test]
    fn a_change_of_a_nexthop_object_may_change_routes() {
        for kind in [RTM_NEWNEXTHOP, RTM_DELNEXTHOP] {
            assert_eq!(
                NetlinkEvent::parse(kind, &[2, 0, 0, 0]),
                Some(NetlinkEvent::Routes)
            );
        }
    }

    #[test]
    fn a_text_ends_at_its_nul_and_may_have_any_bytes() {
        let texts = |payload: &[u8]| -> Vec<String> {
            attributes(payload, 0)
                .map(|a| a.text().to_string())
                .collect()
        };
        let payload = [
            &[8, 0, 3, 0, b'a', b'b', 0xff, 0][..],
            &[8, 0, 3, 0, b'e', b't', b'h', b'0'],
            &[4, 0, 3, 0],
        ];
        assert_eq!(texts(&payload.concat()), ["ab\u{fffd}", "eth0", ""]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(
            kind in 16_u16..110,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _event = NetlinkEvent::parse(kind, &payload);
            let _route = super::super::route::Route::parse(&payload);
            let _stats = super::super::stats::parse(&payload);
        }
    }
}
