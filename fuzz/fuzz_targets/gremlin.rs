//! Target `gremlin`: a query.

#![no_main]

#[path = "../checks/gremlin.rs"]
mod gremlin;

libfuzzer_sys::fuzz_target!(|input: &[u8]| gremlin::check(input));
