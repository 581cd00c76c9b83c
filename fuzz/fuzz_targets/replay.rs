//! Target `replay`: the flows of a capture file.

#![no_main]

#[path = "../checks/replay.rs"]
mod replay;

libfuzzer_sys::fuzz_target!(|input: &[u8]| replay::check(input));
