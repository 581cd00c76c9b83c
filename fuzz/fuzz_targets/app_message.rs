//! Target `app_message`: messages of DNS, DHCPv4 and VRRP.

#![no_main]

#[path = "../checks/app_message.rs"]
mod app_message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| app_message::check(input));
