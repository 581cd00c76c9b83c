//! Target `script`: a JSON value and the source of a workflow.

#![no_main]

#[path = "../checks/script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|input: &[u8]| script::check(input));
