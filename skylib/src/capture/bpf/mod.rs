//! Packet filters: classic BPF programs, compiled from libpcap expressions or built from
//! instructions.
//!
//! A program runs in the kernel for a live interface, and in [`BpfProgram::run`] for all other
//! sources. Expressions require the feature `pcap`.
//!
//! On a live interface, the kernel removes the first VLAN tag of an Ethernet frame before the
//! filter runs. A program that tests for tags (`vlan 5`, `vlan and udp`, `ether proto 0x8100`) is
//! rewritten so that it matches the frame as it was on the wire. Any other program (`tcp port 80`)
//! runs on the frame without the tag, as with tcpdump, and therefore also matches tagged traffic.
//!
//! ```
//! # #[cfg(feature = "pcap")] {
//! use skylib::capture::BpfProgram;
//! use skylib::packet::LinkType;
//! let program = BpfProgram::compile("udp or arp", LinkType::ETHERNET, 96)?;
//! let mut arp = [0; 60];
//! arp[12..14].copy_from_slice(&[0x08, 0x06]);
//! assert_eq!(program.run(&arp, 60), 96);
//! assert_eq!(program.run(&[0; 60], 60), 0);
//! # }
//! # Ok::<(), skylib::capture::CaptureError>(())
//! ```

#[cfg(feature = "pcap")]
mod cache;
#[cfg(feature = "pcap")]
mod compile;
#[cfg(feature = "pcap")]
mod cost;
mod interpreter;
#[cfg(feature = "pcap")]
mod names;
#[cfg(test)]
mod tests;
#[cfg(feature = "afpacket")]
mod vlan;

use super::CaptureError;
use crate::flow::PacketFilter;
use crate::packet::{LinkType, PacketRef};

#[cfg(feature = "pcap")]
pub use cache::BpfCompiler;
#[cfg(feature = "afpacket")]
pub(super) use vlan::LiveFilter;

/// Verified program: it terminates, and its jumps and scratch memory accesses are in bounds.
///
/// ```
/// use skylib::capture::{BpfInstruction, BpfProgram};
/// use skylib::packet::LinkType;
///
/// // "ip": load the EtherType, accept 64 bytes if it is 0x0800, else reject.
/// let program = BpfProgram::from_instructions(
///     vec![
///         BpfInstruction::new(0x28, 0, 0, 12),
///         BpfInstruction::new(0x15, 0, 1, 0x0800),
///         BpfInstruction::new(0x06, 0, 0, 64),
///         BpfInstruction::new(0x06, 0, 0, 0),
///     ],
///     LinkType::ETHERNET,
/// )?;
/// let mut frame = [0; 60];
/// assert_eq!(program.run(&frame, 60), 0);
/// frame[12] = 0x08;
/// assert_eq!(program.run(&frame, 60), 64);
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfProgram {
    instructions: Vec<BpfInstruction>,
    link_type: LinkType,
}

/// Instruction, like the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstruction {
    /// Operation code (`linux/bpf_common.h`).
    pub code: u16,
    /// Number of instructions to skip if the test is true.
    pub jt: u8,
    /// Number of instructions to skip if the test is false.
    pub jf: u8,
    /// Constant operand `k`.
    pub k: u32,
}

impl BpfInstruction {
    /// Creates an instruction from its four fields.
    #[must_use]
    pub const fn new(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Self { code, jt, jf, k }
    }
}

impl BpfProgram {
    /// Compiles a libpcap expression (the filter language of `tcpdump`) for packets of a link type.
    ///
    /// The program accepts `snap_len` bytes of each packet that matches; 0 means the whole packet.
    /// An empty expression matches all packets.
    ///
    /// # Errors
    /// Returns [`CaptureError::Filter`] with libpcap's message if the expression is invalid, or if
    /// it would take too long to compile: it is too expensive, or contains a host name, for which
    /// libpcap would wait for a name server. Addresses and the names of ports and protocols are
    /// allowed.
    #[cfg(feature = "pcap")]
    pub fn compile(text: &str, link_type: LinkType, snap_len: u32) -> Result<Self, CaptureError> {
        let instructions = compile::compile(text, link_type)?;
        Ok(Self::from_instructions(instructions, link_type)?.with_snap_len(snap_len))
    }

    /// Sets the number of bytes accepted from each matching packet; 0 means the whole packet.
    #[must_use]
    pub fn with_snap_len(mut self, snap_len: u32) -> Self {
        for instruction in &mut self.instructions {
            if instruction.code == interpreter::RETURN && instruction.k > 0 {
                instruction.k = accepted_len(snap_len);
            }
        }
        self
    }

    /// Returns the program that accepts `snap_len` bytes of every packet; 0 means the whole packet.
    #[must_use]
    pub fn everything(link_type: LinkType, snap_len: u32) -> Self {
        let accept = BpfInstruction {
            code: interpreter::RETURN,
            jt: 0,
            jf: 0,
            k: accepted_len(snap_len),
        };
        Self {
            instructions: vec![accept],
            link_type,
        }
    }

    /// Creates a program from its instructions.
    ///
    /// # Errors
    /// Returns [`CaptureError::Program`] if the program fails verification; the kernel would also
    /// reject the program.
    pub fn from_instructions(
        instructions: Vec<BpfInstruction>,
        link_type: LinkType,
    ) -> Result<Self, CaptureError> {
        interpreter::check(&instructions)?;
        Ok(Self {
            instructions,
            link_type,
        })
    }

    /// Returns the link type of the packets that the program can test.
    #[must_use]
    pub const fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// Returns the instructions.
    #[must_use]
    pub fn instructions(&self) -> &[BpfInstruction] {
        &self.instructions
    }

    /// Returns the number of bytes accepted of a packet; 0 if it does not match. `data` is the
    /// captured part, and `wire_len` is the length on the wire.
    #[must_use]
    pub fn run(&self, data: &[u8], wire_len: u32) -> u32 {
        interpreter::run(&self.instructions, data, wire_len)
    }

    /// Returns whether a packet matches; packets of other link types never match.
    #[must_use]
    pub fn matches(&self, packet: &PacketRef<'_>) -> bool {
        packet.link_type == self.link_type && self.run(packet.data, packet.wire_len) != 0
    }
}

impl PacketFilter for BpfProgram {
    fn matches(&self, packet: &PacketRef<'_>) -> bool {
        Self::matches(self, packet)
    }
}

/// Filter for a source whose link type is known only after the source is opened.
///
/// ```
/// use skylib::capture::{BpfFilter, BpfProgram};
/// use skylib::packet::LinkType;
/// let program = BpfProgram::everything(LinkType::ETHERNET, 64);
/// let filter = BpfFilter::from(program.clone());
/// assert_eq!(filter.program(LinkType::ETHERNET, 64)?, program);
/// assert!(filter.program(LinkType::RAW, 64).is_err());
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BpfFilter {
    /// Program for one link type.
    Program(BpfProgram),
    /// libpcap expression, which is compiled once the link type is known.
    #[cfg(feature = "pcap")]
    Text(String),
}

impl BpfFilter {
    /// Parses a libpcap expression. It is validated for Ethernet, and compiled again once the link
    /// type is known.
    ///
    /// # Errors
    /// Returns [`CaptureError::Filter`] with libpcap's message if the expression is invalid.
    #[cfg(feature = "pcap")]
    pub fn parse(text: impl Into<String>) -> Result<Self, CaptureError> {
        let text = text.into();
        BpfProgram::compile(&text, LinkType::ETHERNET, 0)?;
        Ok(Self::Text(text))
    }

    /// Returns the program for packets of a link type. A compiled expression accepts `snap_len`
    /// bytes (0 means the whole packet); a program is returned unchanged.
    ///
    /// # Errors
    /// Returns [`CaptureError::FilterLinkType`] for a program of another link type, and
    /// [`CaptureError::Filter`] for an expression that is invalid for this link type.
    pub fn program(
        &self,
        link_type: LinkType,
        #[cfg_attr(
            not(feature = "pcap"),
            expect(unused_variables, reason = "only expressions use it")
        )]
        snap_len: u32,
    ) -> Result<BpfProgram, CaptureError> {
        match self {
            Self::Program(program) if program.link_type == link_type => Ok(program.clone()),
            Self::Program(program) => {
                let program = program.link_type;
                Err(CaptureError::FilterLinkType {
                    program,
                    packets: link_type,
                })
            }
            #[cfg(feature = "pcap")]
            Self::Text(text) => BpfProgram::compile(text, link_type, snap_len),
        }
    }
}

#[cfg(feature = "pcap")]
impl std::str::FromStr for BpfFilter {
    type Err = CaptureError;

    fn from_str(text: &str) -> Result<Self, CaptureError> {
        Self::parse(text)
    }
}

impl From<BpfProgram> for BpfFilter {
    fn from(program: BpfProgram) -> Self {
        Self::Program(program)
    }
}

/// Returns the instruction operand for a snap length; 0 means the whole packet.
const fn accepted_len(snap_len: u32) -> u32 {
    if snap_len == 0 { MAX_PACKET } else { snap_len }
}

/// Snap length that accepts whole packets: longer than any packet, and the value that libpcap uses.
pub(super) const MAX_PACKET: u32 = 262_144;
