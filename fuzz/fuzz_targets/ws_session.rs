//! Target `ws_session`: the session of a WebSocket client.

#![no_main]

#[path = "../checks/ws_session.rs"]
mod ws_session;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ws_session::check(input));
