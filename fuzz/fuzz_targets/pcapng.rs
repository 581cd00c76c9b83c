//! Target `pcapng`: a pcapng file.

#![no_main]

#[path = "../checks/pcapng.rs"]
mod pcapng;

libfuzzer_sys::fuzz_target!(|input: &[u8]| pcapng::check(input));
