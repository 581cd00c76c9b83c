//! Packets of a capture: batches of bytes with the metadata of each packet.
//!
//! Readers of files and rings produce a [`PacketBatch`], which the decoder and the flow table
//! consume. A batch borrows the buffer of its source, so that no byte is copied between the kernel
//! and the decoder.

mod capture_point;

use std::str::FromStr;

pub use capture_point::{CapturePoint, CapturePointName, CapturePointStats, CapturePoints};

use crate::time::Timestamp;

/// Link type: the protocol of the first header of a packet, identified by its number in the
/// `LINKTYPE_` registry of libpcap.
///
/// ```
/// use skylib::packet::LinkType;
/// assert_eq!(LinkType::ETHERNET, LinkType(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback; address family in host byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet frames.
    pub const ETHERNET: Self = Self(1);
    /// Point-to-point protocol, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// Fiber distributed data interface.
    pub const FDDI: Self = Self(10);
    /// Raw IP with the number that some systems write to files (DLT_RAW).
    pub const RAW_DLT: Self = Self(12);
    /// Raw IP with the number of OpenBSD (DLT_RAW).
    pub const RAW_OPENBSD: Self = Self(14);
    /// PPP in HDLC framing, or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// PPP over Ethernet, without the Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IP; the first nibble states the version.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback; address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Encapsulating interface of BSD (IPsec).
    pub const ENC: Self = Self(109);
    /// Linux "cooked" capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// Packets logged by the BSD packet filter.
    pub const PFLOG: Self = Self(117);
    /// IEEE 802.11 after a Prism or AVS header.
    pub const IEEE802_11_PRISM: Self = Self(119);
    /// IEEE 802.11 after a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// Per-packet information before a packet of another link type.
    pub const PPI: Self = Self(192);
    /// IPv4 only.
    pub const IPV4: Self = Self(228);
    /// IPv6 only.
    pub const IPV6: Self = Self(229);
    /// Packets logged by Linux netfilter.
    pub const NFLOG: Self = Self(239);
    /// IP over InfiniBand.
    pub const IPOIB: Self = Self(242);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// Returns the name without the prefix `LINKTYPE_`; `unknown` if the number is not in the list
    /// of names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "NULL",
            1 => "ETHERNET",
            3 => "AX25",
            6 => "IEEE802_5",
            7 => "ARCNET_BSD",
            8 => "SLIP",
            9 => "PPP",
            10 => "FDDI",
            50 => "PPP_HDLC",
            51 => "PPP_ETHER",
            100 => "ATM_RFC1483",
            12 | 14 | 101 => "RAW",
            104 => "C_HDLC",
            105 => "IEEE802_11",
            107 => "FRELAY",
            108 => "LOOP",
            109 => "ENC",
            113 => "LINUX_SLL",
            114 => "LTALK",
            117 => "PFLOG",
            119 => "IEEE802_11_PRISM",
            122 => "IP_OVER_FC",
            123 => "SUNATM",
            127 => "IEEE802_11_RADIOTAP",
            129 => "ARCNET_LINUX",
            143 => "DOCSIS",
            163 => "IEEE802_11_AVS",
            165 => "BACNET_MS_TP",
            166 => "PPP_PPPD",
            187 => "BLUETOOTH_HCI_H4",
            189 => "USB_LINUX",
            192 => "PPI",
            195 => "IEEE802_15_4_WITHFCS",
            197 => "ERF",
            201 => "BLUETOOTH_HCI_H4_WITH_PHDR",
            203 => "LAPD",
            215 => "IEEE802_15_4_NONASK_PHY",
            219 => "DECT",
            220 => "USB_LINUX_MMAPPED",
            224 => "FC_2",
            227 => "CAN_SOCKETCAN",
            228 => "IPV4",
            229 => "IPV6",
            230 => "IEEE802_15_4_NOFCS",
            231 => "DBUS",
            239 => "NFLOG",
            242 => "IPOIB",
            245 => "NETANALYZER",
            247 => "INFINIBAND",
            248 => "SCTP",
            249 => "USBPCAP",
            251 => "BLUETOOTH_LE_LL",
            253 => "NETLINK",
            254 => "BLUETOOTH_LINUX_MONITOR",
            256 => "BLUETOOTH_LE_LL_WITH_PHDR",
            266 => "USB_DARWIN",
            272 => "NORDIC_BLE",
            276 => "LINUX_SLL2",
            _ => "unknown",
        }
    }
}

/// Error returned if a string is neither the number nor the name of a link type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown link type {0:?}; expected a number, or a name such as ETHERNET or RAW")]
pub struct UnknownLinkTypeError(String);

impl FromStr for LinkType {
    type Err = UnknownLinkTypeError;

    /// Parses a number, or a name in upper or lower case, with or without the prefix `LINKTYPE_`.
    ///
    /// ```
    /// use skylib::packet::LinkType;
    /// assert_eq!("276".parse(), Ok(LinkType::LINUX_SLL2));
    /// assert_eq!("linktype_ethernet".parse(), Ok(LinkType::ETHERNET));
    /// assert_eq!("raw".parse(), Ok(LinkType::RAW));
    /// assert!("token ring".parse::<LinkType>().is_err());
    /// # Ok::<(), skylib::packet::UnknownLinkTypeError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("LINKTYPE_").unwrap_or(&upper);
        // Raw IP has three numbers with the same name; files contain this one.
        if name == Self::RAW.name() {
            return Ok(Self::RAW);
        }
        (0..NAMED_LINK_TYPES)
            .map(Self)
            .find(|link_type| link_type.name() == name)
            .ok_or_else(|| UnknownLinkTypeError(text.to_owned()))
    }
}

/// Upper bound, exclusive, of the link types that have a name.
const NAMED_LINK_TYPES: u16 = 300;

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
    /// Capture point of the packet.
    pub point: CapturePoint,
}

/// Packets of one link type in one buffer.
///
/// ```
/// use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
/// use skylib::time::Timestamp;
/// let headers = [PacketHeader {
///     timestamp: Timestamp::from_ms(1), offset: 0, captured_len: 3, wire_len: 60,
///     point: CapturePoint::ONLY,
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
    /// Iterates over the packets; a header that points outside the buffer results in an empty
    /// packet.
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
