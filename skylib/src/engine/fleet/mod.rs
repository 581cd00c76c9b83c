//! Agents that are connected to this analyzer: their queues, requests to them, and their replies; and
//! the interface of the parts of an agent that serve such requests.
//!
//! ```text
//! reconciler ─ Start, Stop ─┐                  ┌─ Outbox ─ connection of agent 1
//! flow query ─ TableQuery ──┴─ AgentLinks ─────┼─ Outbox ─ connection of agent 2
//!                  ▲                           └─ …
//!                  └─ replies ── AgentConnection::receive
//! ```

mod agent_links;
mod outbox;
mod task_server;

pub use agent_links::{AgentConnection, AgentLinkStatus, AgentLinks};

pub(super) use agent_links::{AgentObserver, PendingReply, Wait};
pub(super) use task_server::TaskServer;
