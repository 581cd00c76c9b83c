//! Target `ws_message`: messages of publishers.

#![no_main]

#[path = "../checks/ws_message.rs"]
mod ws_message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ws_message::check(input));
