//! `RemoteFlows`: the newest records of flows received from agents and exporters, or read from files.
//!
//! The tables of these flows are in other processes, or no longer exist, so live queries read these
//! records instead. A record expires when its table would have expired the flow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::flow::{Flow, FlowMessage, FlowQuery, FlowQueryError, FlowSet};
use crate::proto::{ProtoError, decode_flow_message};
use crate::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};
use crate::time::Timestamp;

/// Cache of remote flows, and counters of the messages that contained them.
pub(super) struct RemoteFlows {
    live: MemoryFlowStore,
    messages: AtomicU64,
    flows: AtomicU64,
    refused: AtomicU64,
}

/// Counters of the flows received from agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestionStatus {
    /// Number of valid messages received.
    pub messages: u64,
    /// Number of flow records received.
    pub flows: u64,
    /// Number of messages rejected because they were malformed or too large.
    pub refused: u64,
    /// Number of remote flows that live queries read.
    pub live_flows: usize,
    /// Memory used by these flows, in bytes, approximately.
    pub live_bytes: usize,
}

impl RemoteFlows {
    /// Returns an empty cache with these limits.
    pub(super) fn new(max_age: Duration, max_bytes: usize) -> Self {
        let limits = FlowStoreLimits::default()
            .with_max_age(max_age)
            .with_max_bytes(max_bytes);
        Self {
            live: MemoryFlowStore::new(limits),
            messages: AtomicU64::new(0),
            flows: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Decodes and counts a message from an agent.
    pub(super) fn decode(&self, message: &[u8]) -> Result<FlowMessage, ProtoError> {
        let decoded = decode_flow_message(message);
        match &decoded {
            Ok(message) => {
                self.messages.fetch_add(1, Ordering::Relaxed);
                self.flows
                    .fetch_add(message.flows.len() as u64, Ordering::Relaxed);
            }
            Err(_) => _ = self.refused.fetch_add(1, Ordering::Relaxed),
        }
        decoded
    }

    /// Adds records; each replaces the older record of its flow.
    pub(super) fn put(&self, flows: Vec<Flow>, now: Timestamp) {
        self.live.put(flows, now);
    }

    /// Drops the records of flows that a flow table of an agent returns again.
    pub(super) fn remove(&self, flows: &[Flow]) {
        if !flows.is_empty() && !self.is_empty() {
            self.live.remove(flows.iter().map(|flow| &flow.uuid));
        }
    }

    /// Drops records that are too old.
    pub(super) fn expire(&self, now: Timestamp) {
        self.live.expire(now);
    }

    /// Returns the flows that a query without a time selects, see [`FlowStore::query`].
    pub(super) fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.live.query(query)
    }

    /// Returns the number of flows that a query without a time selects.
    pub(super) fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        self.live.count(query)
    }

    /// Returns whether there are no records.
    pub(super) fn is_empty(&self) -> bool {
        self.live.status().flows == 0
    }

    /// Returns the counters.
    pub(super) fn status(&self) -> IngestionStatus {
        let live = self.live.status();
        IngestionStatus {
            messages: self.messages.load(Ordering::Relaxed),
            flows: self.flows.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            live_flows: live.flows,
            live_bytes: live.bytes,
        }
    }
}
