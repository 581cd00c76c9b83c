//! Target `spp`: a request of SPP, or a reply of one of its processes.

#![no_main]

#[path = "../checks/spp.rs"]
mod spp;

libfuzzer_sys::fuzz_target!(|input: &[u8]| spp::check(input));
