//! Target `reassembly`: IPv4 fragments and TCP segments in a flow table.

#![no_main]

#[path = "../checks/reassembly.rs"]
mod reassembly;

libfuzzer_sys::fuzz_target!(|input: &[u8]| reassembly::check(input));
