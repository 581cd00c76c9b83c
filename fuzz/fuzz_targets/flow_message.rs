//! Target `flow_message`: a message with flows of an agent.

#![no_main]

#[path = "../checks/flow_message.rs"]
mod flow_message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| flow_message::check(input));
