//! Target `agent_message`: what agents and analyzers send each other.

#![no_main]

#[path = "../checks/agent_message.rs"]
mod agent_message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| agent_message::check(input));
