//! Extra layers: the application layers whose messages are added to flow records.
//!
//! A flow stores the bytes of one message; they are parsed only when a record is exported, so a
//! packet costs one copy.

mod dhcpv4;
pub(super) mod dns;
pub(super) mod records;

use std::str::FromStr;

use self::records::Vrrpv2Layer;
use super::record::Flow;
use crate::decode::{Dhcpv4Message, Layer, VrrpMessage};
use crate::flow::field::UnknownNameError;
use crate::time::Timestamp;

/// Set of application layers whose messages are added to flow records.
///
/// ```
/// use skylib::flow::ExtraLayers;
/// let layers = "dns".parse::<ExtraLayers>()?.with(ExtraLayers::VRRP);
/// assert_eq!(layers, ExtraLayers::from_bits(3));
/// assert_eq!(ExtraLayers::parse("DHCPv6"), None);
/// # Ok::<(), skylib::flow::UnknownNameError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraLayers(u32);

impl ExtraLayers {
    /// No layer.
    pub const NONE: Self = Self(0);
    /// VRRP: fixed fields of the first advertisement.
    pub const VRRP: Self = Self(1);
    /// DNS: the latest message.
    pub const DNS: Self = Self(2);
    /// DHCPv4: the latest message.
    pub const DHCPV4: Self = Self(4);
    /// All layers.
    pub const ALL: Self = Self(255);

    /// Returns the set with the bits of the capture API; bits without a layer have no effect.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the bits of the capture API.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Parses `VRRP`, `DNS`, `DHCPv4`, or `all`, in upper or lower case; `None` for any other
    /// string.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let names = [
            ("VRRP", Self::VRRP),
            ("DNS", Self::DNS),
            ("DHCPv4", Self::DHCPV4),
            ("all", Self::ALL),
        ];
        let named = |(known, _): &&(&str, Self)| known.eq_ignore_ascii_case(name);
        names.iter().find(named).map(|(_, layers)| *layers)
    }

    /// Returns the union of both sets.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns whether the set has no layer.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 & (Self::VRRP.0 | Self::DNS.0 | Self::DHCPV4.0) == 0
    }

    /// Returns whether a layer is in the set.
    pub(super) fn contains(self, layer: Layer) -> bool {
        let bit = match layer {
            Layer::VRRP => Self::VRRP,
            Layer::DNS => Self::DNS,
            Layer::DHCPV4 => Self::DHCPV4,
            _ => Self::NONE,
        };
        self.0 & bit.0 != 0
    }
}

impl FromStr for ExtraLayers {
    type Err = UnknownNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name).ok_or_else(|| {
            UnknownNameError::new("extra layer", name, "expected DNS, DHCPv4, VRRP or all")
        })
    }
}

/// Message of an extra layer, stored with a flow.
#[derive(Clone, Debug)]
pub(super) struct ExtraMessage {
    layer: Layer,
    timestamp: Timestamp,
    /// Prefix of the message, as returned by [`stored_part`].
    message: Vec<u8>,
}

impl ExtraMessage {
    /// Returns a copy of the part of a message that is parsed later.
    pub(super) fn new(layer: Layer, timestamp: Timestamp, message: &[u8]) -> Self {
        Self {
            layer,
            timestamp,
            message: stored_part(layer, message).to_vec(),
        }
    }

    /// Returns the total size of a stored message, in bytes.
    pub(super) fn stored_bytes(layer: Layer, message: &[u8]) -> usize {
        stored_part(layer, message).len() + size_of::<Self>()
    }

    /// Returns the allocated size, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.message.capacity() + size_of::<Self>()
    }

    /// Returns whether a later message of a layer replaces this message.
    pub(super) fn is_replaced_by(&self, layer: Layer) -> bool {
        self.layer == layer && matches!(layer, Layer::DNS | Layer::DHCPV4)
    }

    /// Replaces the message, reusing the buffer.
    pub(super) fn replace(&mut self, timestamp: Timestamp, message: &[u8]) {
        self.timestamp = timestamp;
        self.message.clear();
        self.message
            .extend_from_slice(stored_part(self.layer, message));
    }

    /// Parses the message and sets the field of its layer in a record; with `recorded`, as Skydive
    /// sets it.
    pub(super) fn fill(&self, flow: &mut Flow, recorded: bool) {
        match self.layer {
            Layer::DNS => {
                flow.dns = dns::layer(&self.message, self.timestamp, recorded).map(Box::new);
            }
            Layer::DHCPV4 => {
                flow.dhcpv4 = Dhcpv4Message::new(&self.message)
                    .map(|message| dhcpv4::layer(message, recorded));
            }
            Layer::VRRP => flow.vrrpv2 = VrrpMessage::new(&self.message).map(vrrp),
            _ => {}
        }
    }
}

/// Returns the record of a VRRP advertisement.
// COMPAT: like Skydive, without the number of addresses and the checksum.
fn vrrp(message: VrrpMessage) -> Box<Vrrpv2Layer> {
    Box::new(Vrrpv2Layer {
        version: message.version.into(),
        virtual_rtr_id: message.router.into(),
        priority: message.priority.into(),
        adver_int: message.interval.into(),
        ..Vrrpv2Layer::default()
    })
}

/// Returns the part of a message that is parsed later.
fn stored_part(layer: Layer, message: &[u8]) -> &[u8] {
    let limit = match layer {
        Layer::VRRP => VrrpMessage::LEN,
        Layer::DHCPV4 => MAX_DHCP,
        _ => MAX_DNS,
    };
    message.get(..limit).unwrap_or(message)
}

/// Maximum size of the stored part of a DHCPv4 message, in bytes: the UDP payload of a 1500-byte IP
/// packet.
const MAX_DHCP: usize = 1472;
/// Maximum size of the stored part of a DNS message, in bytes: the recommended maximum over UDP
/// (RFC 6891, 6.2.5).
const MAX_DNS: usize = 4096;
