//! Target `history_segment`: a history with any content in a sealed file.

#![no_main]

#[path = "../checks/history_segment.rs"]
mod history_segment;

libfuzzer_sys::fuzz_target!(|input: &[u8]| history_segment::check(input));
