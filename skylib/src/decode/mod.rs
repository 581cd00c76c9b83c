//! From the bytes of a packet to the headers that make flows.
//!
//! A [`Decoder`] walks a packet from its link type inwards and fills [`Encapsulations`]: one [`Encapsulation`] for
//! the packet as it is on the wire and one more for what each tunnel in it carries. Damaged and
//! short packets are normal: what could be read stays, and the answer says what ended the walk.
//!
//! ```
//! use skylib::decode::{Decoder, DecoderOptions, Encapsulations};
//! use skylib::packet::{LinkType, PacketRef};
//! use skylib::time::Timestamp;
//!
//! let mut data = [0; 60];
//! data[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
//! let packet =
//!     PacketRef { link_type: LinkType::ETHERNET, timestamp: Timestamp::ZERO, data: &data, wire_len: 60 };
//! let (decoder, mut encapsulations) = (Decoder::new(DecoderOptions::default()), Encapsulations::new());
//! let stopped = decoder.decode(packet, &mut encapsulations);
//! assert_eq!(encapsulations[0].length, 60);
//! assert!(stopped.is_err(), "an IPv4 header of zeros is damaged");
//! ```

mod cursor;
mod defrag;
mod dhcpv4;
mod dns;
mod encapsulation;
mod error;
mod fast_path;
mod geneve;
mod gre;
mod gtp;
mod headers;
mod icmp;
mod layer;
mod llc;
mod lldp;
mod mpls;
mod ppp;
mod sctp;
mod sll;
mod terminal;
mod udp_payload;
mod vrrp;
mod vxlan;

pub use defrag::{DefragOptions, Defragmenter, Fragment, Reassembled, Reassembly};
pub use dhcpv4::Dhcpv4Message;
pub use dns::{DnsData, DnsMessage, DnsQuery, DnsResource};
pub use encapsulation::{
    Encapsulation, Encapsulations, IcmpEcho, IcmpHeader, IcmpType, IpAddress, LinkHeader,
    NetworkHeader, NetworkProtocol, TcpFlags, TransportHeader, TransportProtocol,
};
pub use error::DecodeError;
pub use layer::{Layer, LayersPath};
pub use vrrp::VrrpMessage;

use cursor::{Cursor, Step};
use fast_path::Outcome;

use crate::packet::{LinkType, PacketRef};

/// Decodes packets; keeps nothing from one packet to the next.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    options: DecoderOptions,
}

/// What a [`Decoder`] knows beside the standards.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DecoderOptions {
    /// UDP ports that carry MPLS.
    pub mpls_udp_ports: Vec<u16>,
}

impl DecoderOptions {
    /// Adds a UDP port that carries MPLS.
    #[must_use]
    pub fn with_mpls_udp_port(mut self, port: u16) -> Self {
        self.mpls_udp_ports.push(port);
        self
    }
}

impl Decoder {
    /// A decoder with these options.
    #[must_use]
    pub const fn new(options: DecoderOptions) -> Self {
        Self { options }
    }

    /// Decodes one packet into `parts`, whose former content is replaced.
    ///
    /// # Errors
    ///
    /// What ended the walk before the end of the packet. Then too `parts` holds all that was
    /// decoded before that place; with no part at all there is nothing to make a flow from.
    pub fn decode(
        &self,
        packet: PacketRef<'_>,
        encapsulations: &mut Encapsulations,
    ) -> Result<(), DecodeError> {
        encapsulations.clear();
        if packet.link_type != LinkType::ETHERNET {
            return self.decode_generally(packet, encapsulations, false);
        }
        match fast_path::decode(&self.options, packet.data, packet.wire_len, encapsulations) {
            Outcome::Done => Ok(()),
            Outcome::Missing(layer) => fast_path::missing(layer, packet.data, encapsulations),
            Outcome::NotMine => self.decode_generally(packet, encapsulations, false),
        }
    }

    /// Decodes a packet that a [`Defragmenter`] joined: `Fragment` stands in the path behind its
    /// first IPv4 header.
    ///
    /// # Errors
    ///
    /// As of [`Decoder::decode`].
    pub fn decode_reassembled(
        &self,
        packet: PacketRef<'_>,
        encapsulations: &mut Encapsulations,
    ) -> Result<(), DecodeError> {
        encapsulations.clear();
        self.decode_generally(packet, encapsulations, true)
    }

    fn decode_generally(
        &self,
        packet: PacketRef<'_>,
        encapsulations: &mut Encapsulations,
        is_joined: bool,
    ) -> Result<(), DecodeError> {
        let first: Step = match packet.link_type {
            LinkType::ETHERNET => headers::ethernet,
            LinkType::RAW
            | LinkType::RAW_DLT
            | LinkType::RAW_OPENBSD
            | LinkType::IPV4
            | LinkType::IPV6 => headers::ip,
            LinkType::LINUX_SLL => sll::linux_sll,
            LinkType::LINUX_SLL2 => sll::linux_sll2,
            LinkType::NULL | LinkType::LOOP => sll::loopback,
            LinkType::PPP => ppp::link,
            LinkType(other) => return Err(DecodeError::LinkType(other)),
        };
        let mut walk = Cursor::new(&self.options, packet.data, packet.wire_len, encapsulations);
        cursor.is_joined = is_joined;
        cursor.run(first)
    }
}

#[cfg(test)]
mod tests;
