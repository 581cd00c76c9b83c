//! Target `resource`: the body of a resource and a JSON patch of it.

#![no_main]

#[path = "../checks/resource.rs"]
mod resource;

libfuzzer_sys::fuzz_target!(|input: &[u8]| resource::check(input));
