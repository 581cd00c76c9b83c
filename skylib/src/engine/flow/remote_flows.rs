//! Flows that others captured: agents send them, and they answer live queries here.
//!
//! The tables they come from are elsewhere, so the newest record of each is kept, as long as its
//! table would have kept it without another packet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::batch_queue::Parcel;
use super::hub::FlowHub;
use crate::flow::{Flow, FlowQuery, FlowQueryError, FlowSet};
use crate::proto::{ProtoError, decode_flow_message};
use crate::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};
use crate::time::Timestamp;

/// The newest records of flows from elsewhere, and what came with them.
pub(crate) struct Ingestion {
    live: MemoryFlowStore,
    messages: AtomicU64,
    flows: AtomicU64,
    refused: AtomicU64,
}

/// What has come from agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestionStatus {
    /// Messages understood.
    pub messages: u64,
    /// Flows in them.
    pub flows: u64,
    /// Messages that were none, or too large.
    pub refused: u64,
    /// Flows that live queries find.
    pub live_flows: usize,
    /// Bytes they take, approximately.
    pub live_bytes: usize,
}

impl Ingestion {
    pub(crate) fn new(max_age: Duration, max_bytes: usize) -> Self {
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

    /// Takes the newest records.
    pub(crate) fn put(&self, flows: Vec<Flow>, now: Timestamp) {
        self.live.put(flows, now);
    }

    /// Drops records that nobody has renewed.
    pub(crate) fn expire(&self, now: Timestamp) {
        self.live.expire(now);
    }

    /// See [`FlowStore::query`], for a query without a time.
    pub(crate) fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.live.query(query)
    }

    /// See [`FlowStore::count`], for a query without a time.
    pub(crate) fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        self.live.count(query)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live.status().flows == 0
    }

    fn status(&self) -> IngestionStatus {
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

impl FlowHub {
    /// Takes a `flow.Message` of an agent: its flows go to subscribers, store and queries, its
    /// statistics to subscribers. Never waits; what finds no room is counted as dropped.
    ///
    /// ```
    /// use prost::Message;
    /// use skylib::engine::{Engine, EngineOptions};
    /// use skylib::flow::{Flow, FlowMessage};
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let flow = Flow { uuid: "f1".into(), ..Flow::default() };
    /// let message = FlowMessage { flows: vec![flow], stats: None };
    /// engine.flows().ingest(&message.encode_to_vec())?;
    /// assert!(engine.flows().ingest(b"no message").is_err());
    /// # engine.stop();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the bytes are no such message or too large; nothing of it is taken then.
    pub fn ingest(&self, message: &[u8]) -> Result<(), ProtoError> {
        let counters = &self.ingestion;
        match decode_flow_message(message) {
            Ok(message) => {
                counters.messages.fetch_add(1, Ordering::Relaxed);
                counters
                    .flows
                    .fetch_add(message.flows.len() as u64, Ordering::Relaxed);
                self.parcels.push(Parcel {
                    flows: message.flows,
                    stats: message.stats,
                    is_foreign: true,
                });
                Ok(())
            }
            Err(error) => {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// What agents have sent.
    pub fn ingestion_status(&self) -> IngestionStatus {
        self.ingestion.status()
    }
}
