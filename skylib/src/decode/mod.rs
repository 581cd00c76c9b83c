//! Decoding of packets: from captured bytes to the headers that form flows.
//!
//! A [`Decoder`] decodes a packet from its link type inwards and fills [`Encapsulations`]: one
//! [`Encapsulation`] for the outermost headers, and another one for the content of each tunnel.
//! Truncated and malformed packets are normal: all headers before the damage are available, and the
//! returned [`DecodeError`] states where and why decoding stopped.
//!
//! The module contains two implementations. The fast path handles complete packets of the most
//! common protocols. The general path handles all others: a cursor moves through the packet, the
//! decoder of each protocol (one file) returns the kind of the next header, and dispatch tables
//! select the next decoder. A property test verifies that both implementations return the same
//! result.
//!
//! ```
//! use skylib::decode::{Decoder, DecoderOptions, Encapsulations};
//! use skylib::packet::{LinkType, PacketRef};
//! use skylib::time::Timestamp;
//!
//! // Ethernet and IPv4 headers, and the ports, length, and checksum of UDP.
//! let data = [
//!     2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, //
//!     0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, //
//!     0x30, 0x39, 0, 9, 0, 8, 0, 0,
//! ];
//! let packet = PacketRef {
//!     link_type: LinkType::ETHERNET, timestamp: Timestamp::ZERO, data: &data, wire_len: 60,
//! };
//! let decoder = Decoder::new(DecoderOptions::default());
//! let mut encapsulations = Encapsulations::new();
//! decoder.decode(packet, &mut encapsulations)?;
//! let outer = &encapsulations[0];
//! assert_eq!(outer.layers.to_string(), "Ethernet/IPv4/UDP");
//! assert_eq!(outer.network.map(|ip| ip.source.to_string()).as_deref(), Some("10.0.0.1"));
//! assert_eq!(outer.transport.map(|udp| udp.source), Some(12345));
//! # Ok::<(), skylib::decode::DecodeError>(())
//! ```

mod address;
mod cdp;
mod cursor;
mod defrag;
mod dhcpv4;
mod dispatch;
mod dns;
mod dot11;
mod eapol;
mod encapsulation;
mod error;
mod erspan;
mod ethernet;
mod ethernet_ctp;
mod fast_path;
mod fddi;
mod geneve;
mod gre;
mod gtp;
mod gue;
mod hdlc;
mod icmp;
mod icmp_error;
mod icmp_type;
mod ip_extension;
mod ip_in_ip;
mod ipoib;
mod ipv4;
mod ipv6;
mod l2tp;
mod layer;
mod llc;
mod lldp;
mod loopback;
mod marks;
mod mpls;
mod nflog;
mod nsh;
mod pbb;
mod pflog;
mod ppi;
mod ppp;
mod pseudowire;
mod sctp;
mod sll;
mod tcp;
mod teredo;
mod terminal;
mod udp;
mod udp_payload;
mod vrrp;
mod vxlan;
mod vxlan_gpe;

pub use address::IpAddress;
pub use defrag::{DefragOptions, Defragmenter, Fragment, Reassembled, Reassembly};
pub use dhcpv4::Dhcpv4Message;
pub use dns::{DnsData, DnsMessage, DnsQuery, DnsResource};
pub use encapsulation::{
    Encapsulation, Encapsulations, LinkHeader, NetworkHeader, NetworkProtocol, TcpFlags,
    TransportHeader, TransportProtocol,
};
pub use error::DecodeError;
pub use icmp_error::EmbeddedPacket;
pub use icmp_type::{IcmpEcho, IcmpHeader, IcmpType};
pub use layer::{Layer, LayerParseError, LayersPath};
pub use marks::{ArpHeader, Marks};
pub use vrrp::VrrpMessage;

use cursor::Cursor;
use fast_path::Outcome;

use crate::packet::{LinkType, PacketRef};

/// Decoder of packets. It has no state: each packet is decoded independently of others.
///
/// ```
/// use skylib::decode::{Decoder, DecoderOptions, Encapsulations};
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::time::Timestamp;
///
/// // MPLS over UDP has no well-known port.
/// let decoder = Decoder::new(DecoderOptions::default().with_mpls_udp_port(51234));
/// let mut encapsulations = Encapsulations::new();
/// // A TCP SYN without a link header.
/// let mut data = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
/// data.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
/// let packet = PacketRef {
///     link_type: LinkType::RAW, timestamp: Timestamp::ZERO, data: &data, wire_len: 40,
/// };
/// decoder.decode(packet, &mut encapsulations)?;
/// assert_eq!(encapsulations[0].layers.to_string(), "IPv4/TCP");
/// assert_eq!(encapsulations[0].length, 40);
/// # Ok::<(), skylib::decode::DecodeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    options: DecoderOptions,
}

/// Options of a [`Decoder`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DecoderOptions {
    /// UDP ports that carry MPLS, in addition to the well-known ports of other protocols. Default:
    /// none.
    pub mpls_udp_ports: Vec<u16>,
    /// Whether to decode packets as Skydive does, for comparison with values recorded from Skydive:
    /// without the link types, tunnels, and pseudowires that Skydive does not support, with one
    /// level for IP in IP and GTP-U, and with every packet that has an IPv6 fragment header treated
    /// as a fragment. Default false.
    pub recorded: bool,
}

impl DecoderOptions {
    /// Adds a UDP port that carries MPLS.
    #[must_use]
    pub fn with_mpls_udp_port(mut self, port: u16) -> Self {
        self.mpls_udp_ports.push(port);
        self
    }

    /// Sets [`recorded`](Self::recorded).
    #[must_use]
    pub const fn with_recorded(mut self, recorded: bool) -> Self {
        self.recorded = recorded;
        self
    }
}

impl Decoder {
    /// Returns a decoder with these options.
    #[must_use]
    pub const fn new(options: DecoderOptions) -> Self {
        Self { options }
    }

    /// Decodes one packet into `encapsulations`, whose previous content is replaced.
    ///
    /// # Errors
    ///
    /// Returns the reason why decoding stopped before the end of the packet. `encapsulations` then
    /// contains everything decoded so far; if it is empty, the packet belongs to no flow.
    pub fn decode(
        &self,
        packet: PacketRef<'_>,
        encapsulations: &mut Encapsulations,
    ) -> Result<(), DecodeError> {
        encapsulations.clear();
        if packet.link_type != LinkType::ETHERNET {
            return self.decode_generally(packet, encapsulations, None);
        }
        match fast_path::decode(&self.options, packet.data, packet.wire_len, encapsulations) {
            Outcome::Done => Ok(()),
            Outcome::InvalidPayload(layer) => {
                fast_path::payload_error(layer, packet.data, encapsulations)
            }
            Outcome::Unsupported => self.decode_generally(packet, encapsulations, None),
        }
    }

    /// Decodes a packet that a [`Defragmenter`] reassembled; `at` is [`Reassembled::at`]. The path
    /// has a [`Fragment`](Layer::FRAGMENT) layer after the header at that offset.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Decoder::decode`].
    pub fn decode_reassembled(
        &self,
        packet: PacketRef<'_>,
        at: u32,
        encapsulations: &mut Encapsulations,
    ) -> Result<(), DecodeError> {
        encapsulations.clear();
        self.decode_generally(packet, encapsulations, Some(at))
    }

    /// Decodes a packet through the general path.
    fn decode_generally(
        &self,
        packet: PacketRef<'_>,
        encapsulations: &mut Encapsulations,
        reassembled_at: Option<u32>,
    ) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(&self.options, packet.data, packet.wire_len, encapsulations);
        cursor.reassembled_at = reassembled_at.map(|at| at as usize);
        dispatch::run(&mut cursor, packet.link_type)
    }
}

#[cfg(test)]
mod tests;
