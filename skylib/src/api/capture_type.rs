//! `CaptureType`: the methods of capturing packets or flows.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Method of capturing packets or flows that the API accepts.
///
/// ```
/// use skylib::api::{CaptureType, ParseCaptureTypeError};
/// let capture_type: CaptureType = "afpacket".parse()?;
/// assert_eq!(capture_type, CaptureType::AfPacket);
/// assert!(capture_type.abilities().several_per_node);
/// # Ok::<(), ParseCaptureTypeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureType {
    /// sFlow exported by an Open vSwitch bridge.
    OvsSflow,
    /// Capture files received over TCP.
    PcapSocket,
    /// Packets of a mirror port of Open vSwitch.
    OvsMirror,
    /// Packets of a DPDK interface.
    Dpdk,
    /// Packets of an interface, from a packet socket of the kernel.
    AfPacket,
    /// Packets of an interface, through libpcap.
    Pcap,
    /// Flows counted by an eBPF program in the kernel.
    Ebpf,
    /// Packets sampled by a remote sFlow agent.
    Sflow,
    /// NetFlow exported by an Open vSwitch bridge.
    OvsNetflow,
}

/// Features that a [`CaptureType`] supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureAbilities {
    /// Filtering packets by a BPF expression.
    pub bpf: bool,
    /// Storing packets with their flow.
    pub raw_packets: bool,
    /// Measuring TCP connections.
    pub tcp_metric: bool,
    /// Running several captures on one node.
    pub several_per_node: bool,
}

impl CaptureType {
    /// All types in the order of the error message.
    pub const ALL: [Self; 9] = [
        Self::OvsSflow,
        Self::PcapSocket,
        Self::OvsMirror,
        Self::Dpdk,
        Self::AfPacket,
        Self::Pcap,
        Self::Ebpf,
        Self::Sflow,
        Self::OvsNetflow,
    ];

    /// Returns the name of the type in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OvsSflow => "ovssflow",
            Self::PcapSocket => "pcapsocket",
            Self::OvsMirror => "ovsmirror",
            Self::Dpdk => "dpdk",
            Self::AfPacket => "afpacket",
            Self::Pcap => "pcap",
            Self::Ebpf => "ebpf",
            Self::Sflow => "sflow",
            Self::OvsNetflow => "ovsnetflow",
        }
    }

    /// Returns whether this program can run captures of this type.
    #[must_use]
    pub const fn is_built(self) -> bool {
        matches!(
            self,
            Self::AfPacket | Self::Pcap | Self::PcapSocket | Self::Sflow
        )
    }

    /// Returns the features that this type supports.
    #[must_use]
    pub const fn abilities(self) -> CaptureAbilities {
        let sees_packets = !matches!(self, Self::Ebpf);
        CaptureAbilities {
            bpf: sees_packets,
            raw_packets: sees_packets,
            tcp_metric: true,
            several_per_node: matches!(self, Self::AfPacket | Self::Pcap),
        }
    }
}

impl FromStr for CaptureType {
    type Err = ParseCaptureTypeError;

    /// Parses the name of a type in the API.
    ///
    /// # Errors
    /// Returns [`ParseCaptureTypeError`], which lists the valid names, if the name is unknown.
    fn from_str(name: &str) -> Result<Self, ParseCaptureTypeError> {
        let mut all = Self::ALL.into_iter();
        all.find(|known| known.name() == name)
            .ok_or_else(|| ParseCaptureTypeError(name.to_owned()))
    }
}

/// Error returned if a string is not the name of a [`CaptureType`]. COMPAT: Skydive's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseCaptureTypeError(String);

impl fmt::Display for ParseCaptureTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = CaptureType::ALL.map(CaptureType::name).join(" ");
        let name = &self.0;
        write!(
            f,
            "Not a valid capture type: {name}, available types: [{names}]"
        )
    }
}

impl std::error::Error for ParseCaptureTypeError {}

impl Serialize for CaptureType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
