//! `CaptureOptions`: what to capture on an interface, and how.

use std::path::PathBuf;
use std::time::Duration;

use super::BpfFilter;
use crate::packet::LinkType;

/// What to capture on an interface, and how.
///
/// ```
/// use skylib::capture::CaptureOptions;
/// let options = CaptureOptions::new("eth0").with_header_size(96);
/// assert_eq!(options.ring_bytes(), 8 << 20);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureOptions {
    /// Name of the interface.
    pub interface: String,
    /// File of the network namespace the interface is in; none is the present one.
    pub netns: Option<PathBuf>,
    /// What frames begin with; none is decided by the interface's hardware type.
    pub link_type: Option<LinkType>,
    /// Bytes kept of each packet (the snap length); 0 keeps all.
    pub header_size: u32,
    /// Which packets are kept; none keeps all.
    pub filter: Option<BpfFilter>,
    /// Whether frames for other stations are received too, where the interface can. Nobody sees a
    /// difference in the interface's flags.
    pub promiscuous: bool,
    /// Whether the frames this host sends are captured. On the loopback interface they never are,
    /// since each comes in again and would count twice.
    pub outgoing: bool,
    /// Number of a group of sources that share the interface's packets, flow by flow; 0 founds a
    /// new one, whose number the source tells.
    pub fanout: Option<u16>,
    /// Whether nothing is received until the source is told to, so that several begin together.
    pub paused: bool,
    /// Bytes of one block of the ring, a power of two from 4096.
    pub block_size: u32,
    /// Blocks of the ring. All its memory is taken when the capture starts.
    pub block_count: u32,
    /// How long packets may wait in a block that is not full.
    pub retire: Duration,
}

impl CaptureOptions {
    /// Both directions of an interface of this namespace, 256 bytes of each packet.
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
            retire: Duration::from_millis(10),
        }
    }

    /// In the network namespace of a file, for example `/run/netns/blue` or `/proc/1/ns/net`.
    #[must_use]
    pub fn with_netns(mut self, path: impl Into<PathBuf>) -> Self {
        self.netns = Some(path.into());
        self
    }

    /// With another first header than the hardware type tells.
    #[must_use]
    pub const fn with_link_type(mut self, link_type: LinkType) -> Self {
        self.link_type = Some(link_type);
        self
    }

    /// With so many bytes of each packet; 0 for all.
    #[must_use]
    pub const fn with_header_size(mut self, bytes: u32) -> Self {
        self.header_size = bytes;
        self
    }

    /// Only the packets that pass a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<BpfFilter>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// With or without frames for other stations.
    #[must_use]
    pub const fn with_promiscuous(mut self, promiscuous: bool) -> Self {
        self.promiscuous = promiscuous;
        self
    }

    /// With or without the frames this host sends.
    #[must_use]
    pub const fn with_outgoing(mut self, outgoing: bool) -> Self {
        self.outgoing = outgoing;
        self
    }

    /// As one of several sources that share the packets. The first founds a group, 0, and tells its
    /// number to the others; any other number is this process's own choice, unique in the network
    /// namespace.
    #[must_use]
    pub const fn with_fanout(mut self, group: u16) -> Self {
        self.fanout = Some(group);
        self
    }

    /// Opened without receiving, until the source is resumed.
    #[must_use]
    pub const fn with_paused(mut self, paused: bool) -> Self {
        self.paused = paused;
        self
    }

    /// With a ring of another size, in bytes of a block and blocks.
    #[must_use]
    pub const fn with_ring(mut self, block_size: u32, block_count: u32) -> Self {
        self.block_size = block_size;
        self.block_count = block_count;
        self
    }

    /// Memory of the ring in bytes.
    #[must_use]
    pub const fn ring_bytes(&self) -> u64 {
        self.block_size as u64 * self.block_count as u64
    }
}

/// Bytes kept of each packet when nothing else is asked for.
pub const DEFAULT_HEADER_SIZE: u32 = 256;

/// What the frames of a node begin with, by the `EncapType` of its metadata; none when unknown.
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
