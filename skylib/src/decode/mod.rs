//! From the bytes of a packet to the headers that make flows.
//!
//! A [`Decoder`] walks a packet from its link type inwards and fills [`Parts`]: one [`Part`] for
//! the packet as it is on the wire and one more for what each tunnel in it carries. Damaged and
//! short packets are normal: what could be read stays, and the answer says what ended the walk.
//!
//! ```
//! use skylib::decode::{Decoder, DecoderOptions, Parts};
//! use skylib::packet::{LinkType, PacketRef};
//! use skylib::time::Timestamp;
//!
//! let mut data = [0; 60];
//! data[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
//! let packet =
//!     PacketRef { link_type: LinkType::ETHERNET, timestamp: Timestamp::ZERO, data: &data, wire_len: 60 };
//! let (decoder, mut parts) = (Decoder::new(DecoderOptions::default()), Parts::new());
//! let stopped = decoder.decode(packet, &mut parts);
//! assert_eq!(parts[0].length, 60);
//! assert!(stopped.is_err(), "an IPv4 header of zeros is damaged");
//! ```

mod error;
mod layer;
mod part;

pub use error::DecodeError;
pub use layer::{Layer, LayersPath};
pub use part::{
    IcmpEcho, IcmpHeader, IcmpType, IpAddress, LinkHeader, NetworkHeader, NetworkProtocol, Part,
    Parts, TcpFlags, TransportHeader, TransportProtocol,
};

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
    pub fn decode(&self, packet: PacketRef<'_>, parts: &mut Parts) -> Result<(), DecodeError> {
        parts.clear();
        if packet.link_type != LinkType::ETHERNET {
            return Err(DecodeError::LinkType(packet.link_type.0));
        }
        let Some(header) = packet.data.first_chunk::<14>() else {
            let had = packet.data.len() as u32;
            return Err(DecodeError::Truncated {
                layer: Layer::ETHERNET,
                offset: 0,
                wanted: 14,
                had,
            });
        };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        parts.parts[0] = Part {
            layers: [Layer::ETHERNET].into_iter().collect(),
            link: Some(LinkHeader {
                source: [s0, s1, s2, s3, s4, s5],
                destination: [d0, d1, d2, d3, d4, d5],
                vlan_id: 0,
            }),
            length: i64::from(packet.wire_len),
            ..Part::default()
        };
        parts.len = 1;
        let protocol = u16::from_be_bytes([t0, t1]);
        Err(DecodeError::UnknownProtocol {
            layer: Layer::ETHERNET,
            protocol,
            offset: 14,
        })
    }
}
