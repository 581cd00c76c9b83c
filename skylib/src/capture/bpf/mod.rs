//! Packet filters: classic BPF programs, made from libpcap's expressions or by hand.
//!
//! A program runs in the kernel for a live interface, and in [`BpfProgram::run`] for everything
//! else. The text form needs the feature `pcap`.
//!
//! Live Ethernet frames have their first VLAN tag taken out by the kernel before a filter sees
//! them. A program that knows tags (`vlan 5`, `vlan and udp`, `ether proto 0x8100`) is rewritten to
//! see the frame as it was on the wire; one that does not (`tcp port 80`) sees the frame without
//! the tag, as with tcpdump, so it matches tagged traffic too.
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
mod compile;
mod interpreter;
#[cfg(test)]
mod tests;
#[cfg(feature = "afpacket")]
mod vlan;

use super::CaptureError;
use crate::flow::PacketFilter;
#[cfg(feature = "pcap")]
use crate::flow::PacketFilterCompiler;
use crate::packet::{LinkType, PacketRef};

#[cfg(feature = "afpacket")]
pub(super) use vlan::LiveFilter;

/// A checked program: it ends, and jumps and scratch memory stay in bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfProgram {
    instructions: Vec<BpfInstruction>,
    link_type: LinkType,
}

/// One instruction, as in the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip when a test is true.
    pub jt: u8,
    /// Instructions to skip when a test is false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl BpfProgram {
    /// Compiles an expression of libpcap (the language of `tcpdump`) for packets of a link type,
    /// keeping `snap_len` bytes of those that match; 0 keeps all. The empty text matches all.
    ///
    /// # Errors
    /// [`CaptureError::Filter`] with libpcap's own words.
    #[cfg(feature = "pcap")]
    pub fn compile(text: &str, link_type: LinkType, snap_len: u32) -> Result<Self, CaptureError> {
        let mut instructions = compile::compile(text, link_type)?;
        for instruction in &mut instructions {
            if instruction.code == interpreter::RETURN && instruction.k > 0 {
                instruction.k = kept(snap_len);
            }
        }
        Self::from_instructions(instructions, link_type)
    }

    /// The program that matches every packet and keeps `snap_len` bytes; 0 keeps all.
    #[must_use]
    pub fn everything(link_type: LinkType, snap_len: u32) -> Self {
        let accept = BpfInstruction {
            code: interpreter::RETURN,
            jt: 0,
            jf: 0,
            k: kept(snap_len),
        };
        Self {
            instructions: vec![accept],
            link_type,
        }
    }

    /// A program from its instructions.
    ///
    /// # Errors
    /// [`CaptureError::Program`] when the kernel would refuse it too.
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

    /// What the packets begin with.
    #[must_use]
    pub const fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[BpfInstruction] {
        &self.instructions
    }

    /// Bytes to keep of a packet, of which `data` was captured; 0 when it does not match.
    #[must_use]
    pub fn run(&self, data: &[u8], wire_len: u32) -> u32 {
        interpreter::run(&self.instructions, data, wire_len)
    }

    /// Whether a packet matches; one of another link type does not.
    #[must_use]
    pub fn matches(&self, packet: &PacketRef<'_>) -> bool {
        packet.link_type == self.link_type && self.run(packet.data, packet.wire_len) != 0
    }
}

/// Packet filters for queries, by libpcap.
///
/// ```
/// # #[cfg(feature = "pcap")] {
/// use skylib::capture::BpfFilters;
/// use skylib::flow::PacketFilterCompiler;
/// use skylib::packet::LinkType;
/// let error = BpfFilters.compile("tcp prot 80", LinkType::ETHERNET).err();
/// assert!(error.is_some_and(|message| message.ends_with("syntax error")));
/// # }
/// ```
#[cfg(feature = "pcap")]
#[derive(Clone, Copy, Debug, Default)]
pub struct BpfFilters;

#[cfg(feature = "pcap")]
impl PacketFilterCompiler for BpfFilters {
    fn compile(&self, text: &str, link_type: LinkType) -> Result<Box<dyn PacketFilter>, String> {
        match BpfProgram::compile(text, link_type, 0) {
            Ok(program) => Ok(Box::new(program)),
            Err(CaptureError::Filter { message, .. }) => Err(message),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl PacketFilter for BpfProgram {
    fn matches(&self, packet: &PacketRef<'_>) -> bool {
        Self::matches(self, packet)
    }
}

/// A filter for a source whose link type is not known before it is opened.
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
    /// A program, for one link type.
    Program(BpfProgram),
    /// An expression of libpcap, compiled when the link type is known.
    #[cfg(feature = "pcap")]
    Text(String),
}

impl BpfFilter {
    /// An expression of libpcap, checked against Ethernet now and compiled again when the link type
    /// is known.
    ///
    /// # Errors
    /// [`CaptureError::Filter`] with libpcap's own words.
    #[cfg(feature = "pcap")]
    pub fn parse(text: impl Into<String>) -> Result<Self, CaptureError> {
        let text = text.into();
        BpfProgram::compile(&text, LinkType::ETHERNET, 0)?;
        Ok(Self::Text(text))
    }

    /// The program for packets of a link type; a text keeps `snap_len` bytes (0: all).
    ///
    /// # Errors
    /// [`CaptureError::FilterLinkType`] for a program of another link type,
    /// [`CaptureError::Filter`] for a text that makes no sense on this one.
    pub fn program(
        &self,
        link_type: LinkType,
        #[cfg_attr(not(feature = "pcap"), expect(unused_variables, reason = "no texts"))]
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

impl From<BpfProgram> for BpfFilter {
    fn from(program: BpfProgram) -> Self {
        Self::Program(program)
    }
}

const fn kept(snap_len: u32) -> u32 {
    if snap_len == 0 { MAX_PACKET } else { snap_len }
}

/// More than any packet has, and what libpcap says for "all of it".
pub(super) const MAX_PACKET: u32 = 262_144;
