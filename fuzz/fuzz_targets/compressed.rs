//! Target `compressed`: a file compressed with gzip, LZ4 or zstd.

#![no_main]

#[path = "../checks/compressed.rs"]
mod compressed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| compressed::check(input));
