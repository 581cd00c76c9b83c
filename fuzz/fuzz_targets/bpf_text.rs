//! Target `bpf_text`: an arbitrary filter text.

#![no_main]

#[path = "../checks/bpf_text.rs"]
mod bpf_text;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bpf_text::check(input));
