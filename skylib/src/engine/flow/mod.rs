//! The engine's flows: live tables, flows received from agents and files, and their subscribers.

mod batch_queue;
pub(super) mod hub;
pub(super) mod import;
pub(super) mod remote_flows;
