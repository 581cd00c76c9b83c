//! Target `history_log`: a history with any content in a log.

#![no_main]

#[path = "../checks/history_log.rs"]
mod history_log;

libfuzzer_sys::fuzz_target!(|input: &[u8]| history_log::check(input));
