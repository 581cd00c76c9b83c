//! Target `service`: what the services that probes follow send.

#![no_main]

#[path = "../checks/service.rs"]
mod service;

libfuzzer_sys::fuzz_target!(|input: &[u8]| service::check(input));
