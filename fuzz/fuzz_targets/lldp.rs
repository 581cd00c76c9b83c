//! Target `lldp`: LLDP frames.

#![no_main]

#[path = "../checks/lldp.rs"]
mod lldp;

libfuzzer_sys::fuzz_target!(|input: &[u8]| lldp::check(input));
