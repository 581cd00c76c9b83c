//! `StoredFlow`: a flow in memory, as the flow stores hold it; `FlowUpdate`: a record that changes it.

use std::sync::Arc;

use prost::Message as _;

use crate::flow::{Flow, FlowMetric, RawPacket};
use crate::time::{TimeSlice, Timestamp};
use crate::value::Text;

/// Record of a flow that a store receives, encoded once for all its uses.
pub(super) struct FlowUpdate {
    /// The record, without its raw packets.
    pub(super) flow: Flow,
    /// `flow` as protobuf.
    pub(super) encoded: Box<[u8]>,
    /// Raw packets of the record.
    pub(super) packets: Vec<RawPacket>,
}

impl FlowUpdate {
    pub(super) fn new(mut flow: Flow) -> Self {
        let packets = std::mem::take(&mut flow.last_raw_packets);
        Self {
            encoded: flow.encode_to_vec().into(),
            flow,
            packets,
        }
    }

    /// Returns the raw packets as protobuf. Appended to [`FlowUpdate::encoded`], they result in the whole
    /// record: decoding concatenated messages merges them (protobuf encoding, "Last One Wins").
    #[cfg(feature = "history")]
    pub(super) fn encoded_packets(&self) -> Vec<u8> {
        let packets = Flow {
            last_raw_packets: self.packets.clone(),
            ..Flow::default()
        };
        packets.encode_to_vec()
    }
}

/// A stored flow.
#[derive(Clone)]
pub(super) struct StoredFlow {
    pub(super) uuid: Text,
    /// Time of the first packet, in Unix milliseconds.
    pub(super) start: i64,
    /// Time of the last packet, in Unix milliseconds.
    pub(super) last: i64,
    /// Time of the last update, by the recorder's clock.
    pub(super) updated: Timestamp,
    /// The newest record as protobuf, without its raw packets.
    pub(super) record: Box<[u8]>,
    /// Metric of each update, oldest first.
    pub(super) metrics: Vec<FlowMetric>,
    /// Raw packets, ordered by index.
    pub(super) packets: Vec<RawPacket>,
}

impl StoredFlow {
    pub(super) fn new(uuid: Text) -> Self {
        Self {
            uuid,
            start: 0,
            last: 0,
            updated: Timestamp::ZERO,
            record: Box::default(),
            metrics: Vec::new(),
            packets: Vec::new(),
        }
    }

    /// Applies an update.
    pub(super) fn update(&mut self, update: FlowUpdate, now: Timestamp) {
        let FlowUpdate {
            flow,
            encoded,
            packets,
        } = update;
        (self.start, self.last, self.updated) = (flow.start, flow.last, now);
        self.record = encoded;
        // A flow that ends before its first update has totals, but no metric of an update.
        let counted = flow.last_update_metric.or(match self.metrics.is_empty() {
            true => flow.metric,
            false => None,
        });
        let newest = self.metrics.last().map(|metric| metric.last);
        self.metrics
            .extend(counted.filter(|metric| newest.is_none_or(|newest| metric.last > newest)));
        let newest = self.packets.last().map_or(0, |packet| packet.index);
        self.packets
            .extend(packets.into_iter().filter(|packet| packet.index > newest));
    }

    /// Drops metrics and packets older than a time, in Unix milliseconds.
    pub(super) fn drop_before(&mut self, ms: i64) {
        let old = self.metrics.partition_point(|metric| metric.last < ms);
        self.metrics.drain(..old);
        let old = self.packets.partition_point(|packet| packet.timestamp < ms);
        self.packets.drain(..old);
    }

    /// Returns the memory used, in bytes, approximately.
    pub(super) fn bytes(&self) -> usize {
        /// Size of the entries in both maps.
        const INDEX: usize = size_of::<(u64, Arc<StoredFlow>)>() + size_of::<(Text, u64)>();
        let packets: usize = self.packets.iter().map(|packet| packet.data.len()).sum();
        INDEX
            + size_of::<Self>()
            + 2 * self.uuid.heap_bytes()
            + self.record.len()
            + self.metrics.capacity() * size_of::<FlowMetric>()
            + self.packets.capacity() * size_of::<RawPacket>()
            + packets
    }
}

/// Returns whether a time in Unix milliseconds is in a slice; for an instant, whether the time is
/// not later.
pub(super) fn has(slice: TimeSlice, ms: i64) -> bool {
    let is_instant = slice.start == slice.last;
    (is_instant || ms >= slice.start.as_ms()) && ms <= slice.last.as_ms()
}

#[cfg(all(test, feature = "history"))]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_record_and_its_packets_together_are_the_whole_record() {
        let json = include_str!("history/tests/flow.json");
        let mut flow: Flow = serde_json::from_str(json).unwrap();
        for packets in 0..3_u8 {
            flow.last_raw_packets = (0..packets)
                .map(|index| RawPacket {
                    timestamp: 1_000 + i64::from(index),
                    index: i64::from(index) + 1,
                    data: vec![index; 60].into(),
                    ..RawPacket::default()
                })
                .collect();
            let update = FlowUpdate::new(flow.clone());
            assert_eq!(update.packets, flow.last_raw_packets);
            assert!(update.flow.last_raw_packets.is_empty());
            assert_eq!(Flow::decode(&*update.encoded).unwrap(), update.flow);
            let whole = [&*update.encoded, &*update.encoded_packets()].concat();
            assert_eq!(Flow::decode(&*whole).unwrap(), flow);
        }
    }
}
