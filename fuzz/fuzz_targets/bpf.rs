//! Target `bpf`: a filter expression with a packet, or a filter program.

#![no_main]

#[path = "../checks/bpf.rs"]
mod bpf;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bpf::check(input));
