//! Target `capture_file`: a classic capture file.

#![no_main]

#[path = "../checks/capture_file.rs"]
mod capture_file;

libfuzzer_sys::fuzz_target!(|input: &[u8]| capture_file::check(input));
