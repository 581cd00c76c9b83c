//! Packets as a source hands them out: batches of bytes with what the capture knows of each.
//!
//! Readers of files and rings make [`PacketBatch`]es; the decoder and the flow table take them.
//! A batch borrows the source's buffer, so no byte is copied between the kernel and the decoder.

use crate::time::Timestamp;

/// What the first bytes of a packet are; numbers of the `LINKTYPE_` registry of libpcap.
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
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Point-to-point protocol, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// Raw IP, as some systems number it in files (DLT_RAW).
    pub const RAW_DLT: Self = Self(12);
    /// Raw IP of OpenBSD (DLT_RAW).
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

/// One packet's place in its batch and what the capture told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// When it was captured.
    pub timestamp: Timestamp,
    /// Where its bytes start in the batch's buffer.
    pub offset: u32,
    /// Bytes captured.
    pub captured_len: u32,
    /// Bytes it had on the wire.
    pub wire_len: u32,
}

/// Packets of one link type that lie in one buffer.
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
    /// Type of the first header of every packet.
    pub link_type: LinkType,
    /// The bytes all headers point into.
    pub buffer: &'a [u8],
    /// The packets, in capture order.
    pub headers: &'a [PacketHeader],
}

impl<'a> PacketBatch<'a> {
    /// The packets one by one; a header that points outside the buffer gives an empty packet.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PacketRef<'a>> + use<'a> {
        let (buffer, link_type) = (self.buffer, self.link_type);
        self.headers
            .iter()
            .map(move |header| header.packet(buffer, link_type))
    }
}

impl PacketHeader {
    /// The packet itself; empty if this header points outside the buffer.
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

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketRef<'a> {
    /// Type of the first header.
    pub link_type: LinkType,
    /// When it was captured.
    pub timestamp: Timestamp,
    /// The captured bytes.
    pub data: &'a [u8],
    /// Bytes it had on the wire.
    pub wire_len: u32,
}
