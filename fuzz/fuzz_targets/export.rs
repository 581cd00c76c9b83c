//! Target `export`: datagrams with flow exports.

#![no_main]

#[path = "../checks/export.rs"]
mod export;

libfuzzer_sys::fuzz_target!(|input: &[u8]| export::check(input));
