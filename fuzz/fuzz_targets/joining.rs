//! Fragments and TCP segments in a flow table.

#![no_main]

#[path = "../checks/joining.rs"]
mod joining;

libfuzzer_sys::fuzz_target!(|input: &[u8]| joining::check(input));
