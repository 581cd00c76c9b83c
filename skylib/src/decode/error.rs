//! Why decoding stopped before the end of a packet.

use super::Layer;

/// What ended the decoding of a packet early; everything before that place stays valid.
///
/// Offsets count from the first captured byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing here decodes packets of this link type.
    #[error("link type {0} is not decoded")]
    LinkType(u16),
    /// A header is longer than what is left.
    #[error("{layer} header at byte {offset} wants {wanted} bytes, {had} are there")]
    Truncated {
        /// The header.
        layer: Layer,
        /// Where it starts.
        offset: u32,
        /// The bytes it wants; when its length is not known yet, the least it can have.
        wanted: u32,
        /// The bytes left.
        had: u32,
    },
    /// A header contradicts itself or its standard.
    #[error("{layer} header at byte {offset} is malformed")]
    Malformed {
        /// The header.
        layer: Layer,
        /// Where it starts.
        offset: u32,
    },
    /// Nothing here decodes what a header announces next.
    #[error("{layer} is followed by unknown protocol {protocol:#x} at byte {offset}")]
    UnknownProtocol {
        /// The header that announces it.
        layer: Layer,
        /// The number it gives.
        protocol: u16,
        /// Where the unknown header starts.
        offset: u32,
    },
    /// More layers or parts than the decoder keeps.
    #[error("{layer} header at byte {offset} is nested too deeply")]
    TooDeep {
        /// The first header left out.
        layer: Layer,
        /// Where it starts.
        offset: u32,
    },
}
