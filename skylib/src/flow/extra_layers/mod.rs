//! Extra layers: which ones are asked for, and what a flow keeps of them.
//!
//! A flow keeps the bytes of one message; they are read when the record is made. So a packet of a
//! known flow costs a copy and nothing else.

mod dns;
pub(super) mod records;

use prost::bytes::Bytes;

use self::records::{Dhcpv4Layer, Vrrpv2Layer};
use super::record::Flow;
use crate::decode::{Dhcpv4Message, Layer, VrrpMessage};
use crate::time::Timestamp;

/// The layers whose contents become part of the flow.
///
/// ```
/// use skylib::flow::ExtraLayers;
/// let layers = ExtraLayers::parse("dns").ok_or("unknown")?.with(ExtraLayers::VRRP);
/// assert_eq!(layers, ExtraLayers::from_bits(3));
/// assert_eq!(ExtraLayers::parse("DHCPv6"), None);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraLayers(u32);

impl ExtraLayers {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// The fixed fields of VRRP advertisements.
    pub const VRRP: Self = Self(1);
    /// The latest DNS message.
    pub const DNS: Self = Self(2);
    /// The fixed fields of the first DHCPv4 message.
    pub const DHCPV4: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(255);

    /// By the numbers of the API; those of no layer change nothing.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// By a name, `VRRP`, `DNS`, `DHCPv4` or `all`, in any case of letters.
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

    /// These and others.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 & (Self::VRRP.0 | Self::DNS.0 | Self::DHCPV4.0) == 0
    }

    /// Whether a layer is one of them.
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

/// The message that a flow keeps.
#[derive(Clone, Debug)]
pub(super) struct ExtraContents {
    layer: Layer,
    timestamp: Timestamp,
    bytes: Vec<u8>,
}

impl ExtraContents {
    /// Keeps a message as far as it is read later.
    pub(super) fn new(layer: Layer, timestamp: Timestamp, message: &[u8]) -> Self {
        Self {
            layer,
            timestamp,
            bytes: kept(layer, message).to_vec(),
        }
    }

    /// How many bytes keeping a message takes, all told.
    pub(super) fn needs(layer: Layer, message: &[u8]) -> usize {
        kept(layer, message).len() + size_of::<Self>()
    }

    /// Bytes held.
    pub(super) const fn held(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }

    /// Whether a later message of this layer takes the place of the one kept.
    pub(super) fn is_replaced_by(&self, layer: Layer) -> bool {
        self.layer == Layer::DNS && layer == Layer::DNS
    }

    /// Keeps another message instead.
    pub(super) fn replace(&mut self, timestamp: Timestamp, message: &[u8]) {
        self.timestamp = timestamp;
        self.bytes.clear();
        self.bytes.extend_from_slice(kept(self.layer, message));
    }

    /// Puts the contents into a record.
    pub(super) fn fill(&self, flow: &mut Flow) {
        match self.layer {
            Layer::DNS => flow.dns = dns::layer(&self.bytes, self.timestamp).map(Box::new),
            Layer::DHCPV4 => flow.dhcpv4 = Dhcpv4Message::new(&self.bytes).map(dhcpv4),
            Layer::VRRP => flow.vrrpv2 = VrrpMessage::new(&self.bytes).map(vrrp),
            _ => {}
        }
    }
}

fn dhcpv4(message: Dhcpv4Message<'_>) -> Box<Dhcpv4Layer> {
    Box::new(Dhcpv4Layer {
        hardware_len: message.hardware_len.into(),
        hardware_opts: message.hops.into(),
        secs: message.seconds.into(),
        flags: message.flags.into(),
        server_name: Bytes::copy_from_slice(message.server_name),
        file: Bytes::copy_from_slice(message.file),
        ..Dhcpv4Layer::default()
    })
}

// COMPAT: like the original, neither the number of addresses nor the checksum.
fn vrrp(message: VrrpMessage) -> Box<Vrrpv2Layer> {
    Box::new(Vrrpv2Layer {
        version: message.version.into(),
        virtual_rtr_id: message.router.into(),
        priority: message.priority.into(),
        adver_int: message.interval.into(),
        ..Vrrpv2Layer::default()
    })
}

/// The part of a message that is read later.
fn kept(layer: Layer, message: &[u8]) -> &[u8] {
    let most = match layer {
        Layer::VRRP => VrrpMessage::LEN,
        Layer::DHCPV4 => Dhcpv4Message::LEN,
        _ => MAX_DNS,
    };
    message.get(..most).unwrap_or(message)
}

/// The most bytes kept of a DNS message: what servers agree to send over UDP (RFC 6891, 6.2.5).
const MAX_DNS: usize = 4096;
