//! Interpreter and verifier of classic BPF, according to the kernel's
//! `Documentation/networking/filter.rst`. Each instruction is executed at most once, because
//! verified programs have only forward jumps.

use super::super::CaptureError;
use super::BpfInstruction;

/// Runs a verified program; returns the number of bytes to accept.
pub(super) fn run(program: &[BpfInstruction], data: &[u8], wire_len: u32) -> u32 {
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut memory = [0_u32; MEMORY];
    let mut position = 0;
    while let Some(&BpfInstruction { code, jt, jf, k }) = program.get(position) {
        position += 1;
        let operand = if code & SOURCE_X != 0 { x } else { k };
        match code & CLASS {
            LD => {
                let loaded = match code & MODE {
                    IMM => Some(k),
                    ABS => load(data, k, code & SIZE),
                    IND => x
                        .checked_add(k)
                        .and_then(|offset| load(data, offset, code & SIZE)),
                    MEM => memory.get(k as usize).copied(),
                    _ => Some(wire_len),
                };
                let Some(loaded) = loaded else { return 0 };
                a = loaded;
            }
            LDX => {
                let loaded = match code & MODE {
                    IMM => Some(k),
                    MEM => memory.get(k as usize).copied(),
                    MSH => load(data, k, BYTE).map(|byte| (byte & 0xf) * 4),
                    _ => Some(wire_len),
                };
                let Some(loaded) = loaded else { return 0 };
                x = loaded;
            }
            ST | STX => {
                if let Some(slot) = memory.get_mut(k as usize) {
                    *slot = if code & CLASS == ST { a } else { x };
                }
            }
            ALU => {
                let Some(result) = compute(code & OPERATION, a, operand) else {
                    return 0;
                };
                a = result;
            }
            JMP => {
                let taken = match code & OPERATION {
                    JEQ => a == operand,
                    JGT => a > operand,
                    JGE => a >= operand,
                    JSET => a & operand != 0,
                    _ => {
                        position += k as usize;
                        continue;
                    }
                };
                position += usize::from(if taken { jt } else { jf });
            }
            RET => return if code & RETURN_A != 0 { a } else { k },
            _ => {
                if code & TXA != 0 {
                    a = x;
                } else {
                    x = a;
                }
            }
        }
    }
    0
}

/// Verifies that a program terminates and that its memory accesses are in bounds.
pub(super) fn check(program: &[BpfInstruction]) -> Result<(), CaptureError> {
    let fail = |index, reason| Err(CaptureError::Program { index, reason });
    if program.is_empty() {
        return fail(0, "missing");
    }
    for (index, instruction) in program.iter().enumerate() {
        let &BpfInstruction { code, jt, jf, k } = instruction;
        if index >= MAX_INSTRUCTIONS {
            return fail(index, "exceeds the limit of 4096 instructions");
        }
        if !is_known(code) {
            return fail(index, "unknown code");
        }
        let after = program.len() - index - 1;
        let furthest = match (code & CLASS, code & OPERATION) {
            (JMP, JA) => k as usize,
            (JMP, _) => usize::from(jt.max(jf)),
            _ => 0,
        };
        if code & CLASS == JMP && furthest >= after {
            return fail(index, "jumps beyond the end");
        }
        let memory = matches!(code & CLASS, ST | STX)
            || matches!(code & CLASS, LD | LDX) && code & MODE == MEM;
        if memory && k as usize >= MEMORY {
            return fail(index, "uses scratch memory beyond its end");
        }
        if matches!(code, DIV_K | MOD_K) && k == 0 {
            return fail(index, "divides by zero");
        }
    }
    match program.last() {
        Some(last) if last.code & CLASS == RET => {}
        _ => return fail(program.len() - 1, "is the last and does not return"),
    }
    match unset_read(program) {
        Some(index) => fail(index, "reads scratch memory that may not be set"),
        None => Ok(()),
    }
}

/// Returns the first instruction that reads a scratch memory slot that is not set on every path to
/// the instruction. libpcap compiles some expressions to such programs (`geneve or ip` on loopback)
/// and runs them with uninitialized memory.
fn unset_read(program: &[BpfInstruction]) -> Option<usize> {
    // One bit per memory slot: the slots set on all paths to an instruction. All jumps are forward,
    // so that one pass suffices.
    let mut set_before = vec![u16::MAX; program.len()];
    let mut set = 0;
    for (index, &BpfInstruction { code, jt, jf, k }) in program.iter().enumerate() {
        set &= set_before[index];
        let slot = 1 << (k as usize % MEMORY);
        match code & CLASS {
            ST | STX => set |= slot,
            LD | LDX if code & MODE == MEM && set & slot == 0 => return Some(index),
            JMP => {
                let distances = match code & OPERATION {
                    JA => [k as usize; 2],
                    _ => [jt, jf].map(usize::from),
                };
                for distance in distances {
                    if let Some(there) = set_before.get_mut(index + 1 + distance) {
                        *there &= set;
                    }
                }
                // The next instruction is not reached from here, except by a jump that was handled
                // above.
                set = u16::MAX;
            }
            _ => {}
        }
    }
    None
}

/// Returns whether the kernel supports an operation code.
fn is_known(code: u16) -> bool {
    match code & CLASS {
        LD => match code & !(CLASS | SIZE) {
            ABS | IND => code & SIZE != SIZE,
            IMM | MEM | LEN => code & SIZE == 0,
            _ => false,
        },
        LDX => matches!(code & !CLASS, IMM | MEM | LEN) || code & !CLASS == MSH | BYTE,
        ST | STX => code & !CLASS == 0,
        ALU => match code & !(CLASS | SOURCE_X) {
            NEG => code & SOURCE_X == 0,
            operation => operation <= XOR && operation & !OPERATION == 0,
        },
        JMP => match code & !(CLASS | SOURCE_X) {
            JA => code & SOURCE_X == 0,
            JEQ | JGT | JGE | JSET => true,
            _ => false,
        },
        RET => matches!(code & !CLASS, 0 | RETURN_A),
        MISC => matches!(code & !CLASS, 0 | TXA),
        _ => false,
    }
}

/// Loads a big-endian number from the packet; `None` beyond its end, which rejects the packet.
fn load(data: &[u8], offset: u32, size: u16) -> Option<u32> {
    let data = data.get(offset as usize..)?;
    match size {
        BYTE => data.first().map(|byte| u32::from(*byte)),
        HALF => data
            .first_chunk()
            .map(|bytes| u16::from_be_bytes(*bytes).into()),
        _ => data.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
    }
}

/// Computes an arithmetic operation; `None` for a division by zero, which rejects the packet.
fn compute(operation: u16, a: u32, operand: u32) -> Option<u32> {
    match operation {
        ADD => Some(a.wrapping_add(operand)),
        SUB => Some(a.wrapping_sub(operand)),
        MUL => Some(a.wrapping_mul(operand)),
        DIV => a.checked_div(operand),
        OR => Some(a | operand),
        AND => Some(a & operand),
        LSH => Some(a.checked_shl(operand).unwrap_or_default()),
        RSH => Some(a.checked_shr(operand).unwrap_or_default()),
        NEG => Some(a.wrapping_neg()),
        MOD => a.checked_rem(operand),
        _ => Some(a ^ operand),
    }
}

/// Operation code of `return k`: accepts `k` bytes.
pub(super) const RETURN: u16 = RET;

/// Number of scratch memory slots.
const MEMORY: usize = 16;
const MAX_INSTRUCTIONS: usize = 4096;

// Operation codes of `linux/bpf_common.h`.
pub(super) const CLASS: u16 = 0x07;
pub(super) const LD: u16 = 0x00;
pub(super) const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
pub(super) const ALU: u16 = 0x04;
pub(super) const JMP: u16 = 0x05;
const RET: u16 = 0x06;
pub(super) const MISC: u16 = 0x07;

pub(super) const SIZE: u16 = 0x18;
pub(super) const HALF: u16 = 0x08;
pub(super) const BYTE: u16 = 0x10;

pub(super) const MODE: u16 = 0xe0;
const IMM: u16 = 0x00;
pub(super) const ABS: u16 = 0x20;
pub(super) const IND: u16 = 0x40;
const MEM: u16 = 0x60;
pub(super) const LEN: u16 = 0x80;
pub(super) const MSH: u16 = 0xa0;

const OPERATION: u16 = 0xf0;
const ADD: u16 = 0x00;
const SUB: u16 = 0x10;
const MUL: u16 = 0x20;
const DIV: u16 = 0x30;
const OR: u16 = 0x40;
const AND: u16 = 0x50;
const LSH: u16 = 0x60;
const RSH: u16 = 0x70;
const NEG: u16 = 0x80;
const MOD: u16 = 0x90;
const XOR: u16 = 0xa0;
const DIV_K: u16 = ALU | DIV;
const MOD_K: u16 = ALU | MOD;

pub(super) const JA: u16 = 0x00;
pub(super) const JEQ: u16 = 0x10;
const JGT: u16 = 0x20;
const JGE: u16 = 0x30;
const JSET: u16 = 0x40;

const SOURCE_X: u16 = 0x08;
const RETURN_A: u16 = 0x10;
const TXA: u16 = 0x80;
