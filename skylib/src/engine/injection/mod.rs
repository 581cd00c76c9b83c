//! Packet injections of an engine.
//!
//! ```text
//! resource API ─ created, deleted ─ InjectionHub ─ query → source nodes → PacketRequest
//! requests of analyzers ────────────────────┴─ InjectionTarget: LocalInjections ── one thread per node
//!                                                               AgentInjections ── requests to agents
//! ```
//!
//! An injection is an action, not a state: when it is created, each node that its query selects
//! sends the packets once. Nodes that match the query later do not send. Injections that are
//! restored when the engine starts do not send again.

mod hub;
mod local;
mod on_agents;
mod problems;
mod run;
mod runs;

pub(super) use hub::{InjectionHub, InjectionTarget};
pub(super) use local::LocalInjections;
pub(super) use on_agents::AgentInjections;
pub(super) use problems::Problems;
