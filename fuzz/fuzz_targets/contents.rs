//! Contents of DNS, DHCPv4 and VRRP.

#![no_main]

#[path = "../checks/contents.rs"]
mod contents;

libfuzzer_sys::fuzz_target!(|input: &[u8]| contents::check(input));
