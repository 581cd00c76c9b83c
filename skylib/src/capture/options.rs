//! `CaptureOptions`: the settings of a live capture.

use std::path::PathBuf;
use std::time::Duration;

use super::BpfFilter;
use crate::packet::LinkType;

/// Settings of a capture on an interface, for [`AfPacket::open`](super::AfPacket::open).
///
/// ```
/// use skylib::capture::CaptureOptions;
///
/// let options = CaptureOptions::new("eth0").with_header_size(96).with_ring(64 << 10, 16);
/// assert_eq!(options.ring_bytes(), 1 << 20);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureOptions {
    /// Name of the interface.
    pub interface: String,
    /// Path of the interface's network namespace; `None` for the namespace of the process.
    pub netns: Option<PathBuf>,
    /// Link type of the frames; `None` to derive it from the interface's hardware type.
    pub link_type: Option<LinkType>,
    /// Number of bytes captured of each packet (the snap length); 0 for complete packets.
    pub header_size: u32,
    /// Filter; only packets that pass it are captured. `None` for all packets.
    pub filter: Option<BpfFilter>,
    /// Whether frames for other stations are captured too, if the interface supports promiscuous
    /// mode. The interface's flags are not changed.
    pub promiscuous: bool,
    /// Whether frames sent by this host are captured. They are never captured on the loopback
    /// interface, where each is also received and would be counted twice.
    pub outgoing: bool,
    /// Group of sources that share the interface's packets by flow; `None` for no group.
    pub fanout: Option<Fanout>,
    /// Whether the source receives nothing until [`AfPacket::resume`](super::AfPacket::resume), so
    /// that several sources can begin at the same time.
    pub paused: bool,
    /// Size of a block of the ring, in bytes: a power of two, at least 4096.
    pub block_size: u32,
    /// Number of blocks of the ring. The memory of the ring is allocated when the source is opened.
    pub block_count: u32,
    /// Maximum time for which packets wait in a block that is not full.
    pub block_timeout: Duration,
}

impl CaptureOptions {
    /// Creates settings that capture both directions of an interface of the process's network
    /// namespace, [`DEFAULT_HEADER_SIZE`] bytes of each packet.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            netns: None,
            link_type: None,
            header_size: DEFAULT_HEADER_SIZE,
            filter: None,
            promiscuous: true,
            outgoing: true,
            fanout: None,
            paused: false,
            block_size: 128 << 10,
            block_count: 64,
            block_timeout: Duration::from_millis(10),
        }
    }

    /// Sets the network namespace by its path, for example `/run/netns/blue` or `/proc/1/ns/net`.
    #[must_use]
    pub fn with_netns(mut self, path: impl Into<PathBuf>) -> Self {
        self.netns = Some(path.into());
        self
    }

    /// Sets the link type, which overrides the link type of the interface's hardware type.
    #[must_use]
    pub const fn with_link_type(mut self, link_type: LinkType) -> Self {
        self.link_type = Some(link_type);
        self
    }

    /// Sets the number of bytes captured of each packet; 0 for complete packets.
    #[must_use]
    pub const fn with_header_size(mut self, bytes: u32) -> Self {
        self.header_size = bytes;
        self
    }

    /// Sets the filter; only packets that pass it are captured.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<BpfFilter>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Sets whether frames for other stations are captured.
    #[must_use]
    pub const fn with_promiscuous(mut self, promiscuous: bool) -> Self {
        self.promiscuous = promiscuous;
        self
    }

    /// Sets whether frames sent by this host are captured.
    #[must_use]
    pub const fn with_outgoing(mut self, outgoing: bool) -> Self {
        self.outgoing = outgoing;
        self
    }

    /// Makes the source a member of a group of sources that share the packets.
    #[must_use]
    pub const fn with_fanout(mut self, group: Fanout) -> Self {
        self.fanout = Some(group);
        self
    }

    /// Sets whether the source is opened without receiving packets until it is resumed.
    #[must_use]
    pub const fn with_paused(mut self, paused: bool) -> Self {
        self.paused = paused;
        self
    }

    /// Sets the size of the ring: the size of a block, in bytes, and the number of blocks.
    #[must_use]
    pub const fn with_ring(mut self, block_size: u32, block_count: u32) -> Self {
        self.block_size = block_size;
        self.block_count = block_count;
        self
    }

    /// Sets the maximum time for which packets wait in a block that is not full.
    #[must_use]
    pub const fn with_block_timeout(mut self, timeout: Duration) -> Self {
        self.block_timeout = timeout;
        self
    }

    /// Returns the size of the ring, in bytes.
    #[must_use]
    pub const fn ring_bytes(&self) -> u64 {
        self.block_size as u64 * self.block_count as u64
    }
}

/// Group of sources that share the packets of one interface (`PACKET_FANOUT`). All packets of a
/// flow, in both directions, go to the same source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fanout {
    /// New group, whose number is chosen by the kernel and returned by
    /// [`AfPacket::fanout_group`](super::AfPacket::fanout_group).
    New,
    /// Group with this number, which is created if it does not exist in the network namespace.
    Group(u16),
}

/// Default number of bytes captured of each packet.
pub const DEFAULT_HEADER_SIZE: u32 = 256;

/// Returns the link type of a node's frames for the `EncapType` of its metadata; `None` if unknown.
///
/// ```
/// use skylib::capture::link_type_of_encap;
/// use skylib::packet::LinkType;
/// assert_eq!(link_type_of_encap("ether"), Some(LinkType::ETHERNET));
/// assert_eq!(link_type_of_encap("gre6"), Some(LinkType::IPV6));
/// ```
#[must_use]
pub fn link_type_of_encap(encap_type: &str) -> Option<LinkType> {
    match encap_type {
        "ether" | "loopback" => Some(LinkType::ETHERNET),
        "none" | "gre" => Some(LinkType::RAW),
        "sit" | "ipip" => Some(LinkType::IPV4),
        "tunnel6" | "gre6" => Some(LinkType::IPV6),
        _ => None,
    }
}
