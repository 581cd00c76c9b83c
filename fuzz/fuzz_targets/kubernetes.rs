//! Target `kubernetes`: messages of the Kubernetes API.

#![no_main]

#[path = "../checks/kubernetes.rs"]
mod kubernetes;

libfuzzer_sys::fuzz_target!(|input: &[u8]| kubernetes::check(input));
