//! Flows of an engine: live tables, flows received from agents and files, and their subscribers.
//!
//! ```text
//! capture ─ HubSink ─┐                            ┌─ RemoteFlows (flows of agents)
//! agent ─── ingest ──┴─ BatchQueue ─ batcher ─────┼─ FlowStore
//!                                                 ├─ Bus ─ subscribers
//!                                                 └─ FlowUplink ─ analyzers of an agent
//! file ──── Importer ─ FlowStore, or RemoteFlows without a store
//! query ─── HubReader ── live tables, AgentTables, and RemoteFlows; FlowStore for the past
//! ```

mod agent_tables;
mod batch_queue;
mod hub;
mod hub_reader;
mod import;
mod query_warnings;
mod remote_flows;
mod uplink;

pub use hub::{FlowHub, FlowOptions, TableId};
pub use import::{ImportOptions, ImportSummary};
pub use query_warnings::QueryWarnings;
pub use remote_flows::IngestionStatus;
pub use uplink::{FlowUplink, UplinkStatus};

pub(super) use agent_tables::AgentTables;
pub(super) use hub::HubSink;
pub(super) use import::Importer;
