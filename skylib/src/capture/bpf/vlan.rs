//! Rewriting of BPF programs for frames whose first VLAN tag the kernel removes before it runs the
//! filter.
//!
//! The rewritten program tests whether the packet has a removed tag. If so, a copy of the program
//! with adjusted offsets runs, which reads the tag from the kernel's ancillary data; otherwise the
//! original program runs. Instructions that cannot be adjusted accept the packet, and the original
//! program is run again in user space on the frame with the restored tag.

use super::super::afpacket::TAG_LEN;
use super::interpreter::{
    ABS, ALU, BYTE, CLASS, HALF, IND, JA, JEQ, JMP, LD, LDX, LEN, MISC, MODE, MSH, RETURN, SIZE,
};
use super::{BpfInstruction, BpfProgram};
use crate::packet::LinkType;

/// Program that is split for a live interface: a part for the kernel, and a check in user space.
#[derive(Clone, Debug)]
pub(in super::super) struct LiveFilter {
    /// Program for the kernel.
    pub(in super::super) kernel: Vec<(u16, u8, u8, u32)>,
    /// Program for frames with a restored tag; `None` unless the kernel's part accepts too many
    /// packets.
    pub(in super::super) tagged: Option<BpfProgram>,
}

impl LiveFilter {
    /// Splits a program into a part for the kernel and a check in user space.
    pub(in super::super) fn new(program: BpfProgram) -> Self {
        let plain = program.instructions();
        let tuples = |instructions: &[BpfInstruction]| -> Vec<_> {
            instructions
                .iter()
                .map(|i| (i.code, i.jt, i.jf, i.k))
                .collect()
        };
        if !knows_tags(&program) || plain.len() + 4 > MAX_INSTRUCTIONS {
            return Self {
                kernel: tuples(plain),
                tagged: None,
            };
        }
        let accept = plain.iter().filter(|i| i.code == RETURN).map(|i| i.k).max();
        let accept = instruction_of(RETURN, accept.unwrap_or(super::MAX_PACKET));
        let mut exact = true;
        // If the frame without the tag is not sufficient, accepts the packet here and filters it in
        // user space.
        let mut or_accept = |found: Option<BpfInstruction>| {
            exact &= found.is_some();
            found.unwrap_or(accept)
        };
        let moved: Vec<_> = if 2 * plain.len() + 3 <= MAX_INSTRUCTIONS {
            plain
                .iter()
                .map(|instruction| or_accept(moved(instruction)))
                .collect()
        } else {
            vec![or_accept(None)]
        };
        let mut kernel = vec![
            instruction_of(LD | ABS, ancillary(libc::SKF_AD_VLAN_TAG_PRESENT)),
            BpfInstruction {
                code: JMP | JEQ,
                jt: 0,
                jf: 1,
                k: 0,
            },
            instruction_of(JMP | JA, moved.len() as u32),
        ];
        kernel.extend(moved);
        kernel.extend(plain);
        Self {
            kernel: tuples(&kernel),
            tagged: (!exact).then_some(program),
        }
    }
}

/// Returns whether a program compares the EtherType with that of a VLAN tag, by a forward data-flow
/// analysis that finds the instructions with the EtherType in the accumulator.
fn knows_tags(program: &BpfProgram) -> bool {
    let instructions = program.instructions();
    // Whether the accumulator may hold the EtherType before each instruction. Jumps only go
    // forward, so that one pass handles every path to an instruction before the instruction itself.
    let mut holds_type = vec![false; instructions.len() + 1];
    for (index, BpfInstruction { code, jt, jf, k }) in instructions.iter().copied().enumerate() {
        let holds = holds_type[index];
        if holds && code == JMP | JEQ && TAG_TYPES.contains(&k) {
            return program.link_type() == LinkType::ETHERNET;
        }
        let (near, far, holds) = match code & CLASS {
            JMP if code == JMP | JA => (k as usize, k as usize, holds),
            JMP => (usize::from(jt), usize::from(jf), holds),
            LD => (0, 0, code == LD | ABS | HALF && k == TAG_OFFSET),
            ALU | MISC => (0, 0, false),
            _ => (0, 0, holds),
        };
        for skipped in [near, far] {
            holds_type[index + 1 + skipped] |= holds;
        }
    }
    false
}

/// Converts an instruction that reads from the frame with the tag to one that reads the same data
/// from the frame without the tag; `None` if no single instruction does.
fn moved(instruction: &BpfInstruction) -> Option<BpfInstruction> {
    let BpfInstruction { code, k, .. } = *instruction;
    let class = code & CLASS;
    let reads_packet = match (class, code & MODE) {
        (LD, ABS | IND) | (LDX, MSH) => true,
        (LD | LDX, LEN) => return None,
        _ => false,
    };
    if !reads_packet {
        return Some(*instruction);
    }
    let tag_len = TAG_LEN as u32;
    let size = match code & SIZE {
        BYTE => 1,
        HALF => 2,
        _ => 4,
    };
    let absolute = code & MODE != IND;
    if k >= TAG_OFFSET + tag_len {
        return Some(BpfInstruction {
            k: k - tag_len,
            ..*instruction
        });
    }
    match (absolute, k, size) {
        (true, _, _) if k + size <= TAG_OFFSET => Some(*instruction),
        (true, TAG_OFFSET, 2) => Some(instruction_of(LD | ABS | HALF, ancillary(SKF_AD_VLAN_TPID))),
        (true, TAG_CONTROL, 2) => Some(instruction_of(
            LD | ABS | HALF,
            ancillary(libc::SKF_AD_VLAN_TAG),
        )),
        _ => None,
    }
}

const fn instruction_of(code: u16, k: u32) -> BpfInstruction {
    BpfInstruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn ancillary(what: libc::c_int) -> u32 {
    (libc::SKF_AD_OFF + what).cast_unsigned()
}

/// Offset of a VLAN tag in an Ethernet frame.
const TAG_OFFSET: u32 = 12;
/// Offset of the second half of the tag, which contains the VLAN identifier.
const TAG_CONTROL: u32 = 14;
/// EtherTypes of tags that libpcap's `vlan` matches.
const TAG_TYPES: [u32; 3] = [0x8100, 0x88a8, 0x9100];
/// Ancillary data with the tag's EtherType (`linux/filter.h`; not in the libc crate).
const SKF_AD_VLAN_TPID: libc::c_int = 60;
/// Maximum number of instructions that the kernel accepts (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;
