//! Target `spp_secondary`: what an SPP process sends.

#![no_main]

#[path = "../checks/spp_secondary.rs"]
mod spp_secondary;

libfuzzer_sys::fuzz_target!(|input: &[u8]| spp_secondary::check(input));
