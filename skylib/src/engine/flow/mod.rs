//! Flows of an engine: live tables, flows received from agents and files, and their subscribers.
//!
//! ```text
//! capture ─ HubSink ─┐                            ┌─ RemoteFlows (flows of agents)
//! agent ─── ingest ──┴─ BatchQueue ─ batcher ─────┼─ FlowStore
//!                                                 └─ Bus ─ subscribers
//! file ──── Importer ─ FlowStore, or RemoteFlows without a store
//! query ─── HubReader ── live tables and RemoteFlows; FlowStore for the past
//! ```

mod batch_queue;
mod hub;
mod hub_reader;
mod import;
mod remote_flows;
mod udp_drops;

pub use hub::{FlowHub, FlowOptions, TableId};
pub use import::{ImportOptions, ImportSummary};
pub use remote_flows::IngestionStatus;
pub use udp_drops::udp_receive_drops;

pub(super) use hub::HubSink;
pub(super) use import::Importer;
