//! Packets of a capture: batches of bytes with the metadata of each packet.
//!
//! Readers of files and rings produce a [`PacketBatch`], which the decoder and the flow table consume. A
//! batch borrows the buffer of its source, so no byte is copied between the kernel and the decoder.

use crate::time::Timestamp;

/// Link type: the protocol of the first header of a packet, by its number in the `LINKTYPE_` registry
/// of libpcap.
///
/// ```
/// use skylib::packet::LinkType;
/// assert_eq!(LinkType::ETHERNET, LinkType(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, host byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet frames.
    pub const ETHERNET: Self = Self(1);
    /// Point-to-point protocol, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// Raw IP with the number that some systems write to files (DLT_RAW).
    pub const RAW_DLT: Self = Self(12);
    /// Raw IP with the number of OpenBSD (DLT_RAW).
    pub const RAW_OPENBSD: Self = Self(14);
    /// Raw IP, version from the first nibble.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback, network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// IPv4 only.
    pub const IPV4: Self = Self(228);
    /// IPv6 only.
    pub const IPV6: Self = Self(229);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// Position of a packet in its batch, and its capture metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// Time of capture.
    pub timestamp: Timestamp,
    /// Offset of the first byte in the buffer of the batch.
    pub offset: u32,
    /// Number of captured bytes.
    pub captured_len: u32,
    /// Length on the wire, in bytes.
    pub wire_len: u32,
}

/// Packets of one link type in one buffer.
///
/// ```
/// use skylib::packet::{LinkType, PacketBatch, PacketHeader};
/// use skylib::time::Timestamp;
/// let headers = [PacketHeader {
///     timestamp: Timestamp::from_ms(1), offset: 0, captured_len: 3, wire_len: 60,
/// }];
/// let batch = PacketBatch { link_type: LinkType::ETHERNET, buffer: &[1, 2, 3], headers: &headers };
/// let packet = batch.iter().next().ok_or("one packet")?;
/// assert_eq!((packet.data, packet.wire_len), (&[1, 2, 3][..], 60));
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PacketBatch<'a> {
    /// Protocol of the first header of every packet.
    pub link_type: LinkType,
    /// Buffer that contains the bytes of all packets.
    pub buffer: &'a [u8],
    /// Headers of the packets, in the order of capture.
    pub headers: &'a [PacketHeader],
}

impl<'a> PacketBatch<'a> {
    /// Iterates over the packets; a header that points outside the buffer results in an empty packet.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PacketRef<'a>> + use<'a> {
        let (buffer, link_type) = (self.buffer, self.link_type);
        self.headers
            .iter()
            .map(move |header| header.packet(buffer, link_type))
    }
}

impl PacketHeader {
    /// Returns the packet; empty if the header points outside the buffer.
    #[must_use]
    pub fn packet<'a>(&self, buffer: &'a [u8], link_type: LinkType) -> PacketRef<'a> {
        let (start, len) = (self.offset as usize, self.captured_len as usize);
        let data = buffer.get(start..start + len).unwrap_or_default();
        PacketRef {
            link_type,
            timestamp: self.timestamp,
            data,
            wire_len: self.wire_len,
        }
    }
}

/// Packet of a batch.
#[derive(Clone, Copy, Debug)]
pub struct PacketRef<'a> {
    /// Protocol of the first header.
    pub link_type: LinkType,
    /// Time of capture.
    pub timestamp: Timestamp,
    /// Captured bytes.
    pub data: &'a [u8],
    /// Length on the wire, in bytes.
    pub wire_len: u32,
}
