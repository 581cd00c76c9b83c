//! Reasons why decoding stopped before the end of a packet.

use super::{Layer, LinkType};

/// Reason why the decoding of a packet stopped early. The headers before the failure remain valid.
///
/// Offsets are in bytes from the first captured byte.
///
/// ```
/// use skylib::decode::{DecodeError, Decoder, DecoderOptions, Encapsulations, Layer};
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::time::Timestamp;
///
/// let data = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0x00];
/// let packet = PacketRef {
///     link_type: LinkType::ETHERNET, timestamp: Timestamp::ZERO, data: &data, wire_len: 60,
/// };
/// let mut encapsulations = Encapsulations::new();
/// let decoder = Decoder::new(DecoderOptions::default());
/// let error = decoder.decode(packet, &mut encapsulations).unwrap_err();
/// assert!(matches!(error, DecodeError::Truncated { layer: Layer::IPV4, offset: 14, .. }));
/// assert_eq!(error.to_string(), "IPv4 header at byte 14 needs 20 bytes, only 2 available");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The link type is not supported.
    #[error("link type {0} ({name}) is not decoded", name = LinkType(*.0).name())]
    LinkType(u16),
    /// A header is longer than the remaining bytes.
    #[error("{layer} header at byte {offset} needs {needed} bytes, only {available} available")]
    Truncated {
        /// Protocol of the header.
        layer: Layer,
        /// Offset of the header.
        offset: u32,
        /// Length of the header, in bytes; its minimum length if the length is unknown.
        needed: u32,
        /// Number of bytes from the start of the header to the end of the payload or the captured
        /// bytes.
        available: u32,
    },
    /// A header is inconsistent or violates its standard.
    #[error("{layer} header at byte {offset} is malformed")]
    Malformed {
        /// Protocol of the header.
        layer: Layer,
        /// Offset of the header.
        offset: u32,
    },
    /// A header is followed by an unsupported protocol.
    #[error("{layer} is followed by unknown protocol {protocol:#x} at byte {offset}")]
    UnknownProtocol {
        /// Protocol of the header before the unsupported one.
        layer: Layer,
        /// Number of the next protocol.
        protocol: u16,
        /// Offset of the next header.
        offset: u32,
    },
    /// The packet has more layers or encapsulation levels than the decoder supports.
    #[error("{layer} header at byte {offset} is nested too deeply")]
    TooDeep {
        /// Protocol of the first header that is not decoded.
        layer: Layer,
        /// Byte offset of this header in the packet.
        offset: u32,
    },
}
