//! `BatchQueue`: a bounded queue of flow batches whose senders never block.
//!
//! Flows that exceed a limit are dropped and counted (tail drop); a batch that does not fit as a
//! whole is truncated. The limits apply to flows and to bytes, not to batches: one flow with its
//! raw packets may use as much memory as thousands of flows without packets.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::flow::{Flow, FlowStats};

/// Flows, or statistics of a capture, to be processed by the batcher.
#[derive(Debug)]
pub(super) struct FlowBatch {
    pub(super) flows: Vec<Flow>,
    pub(super) stats: Option<FlowStats>,
    /// Whether an agent or an exporter sent the flows, so that no table of this process contains
    /// them.
    pub(super) is_remote: bool,
}

/// A multi-producer, single-consumer queue of batches.
#[derive(Debug)]
pub(super) struct BatchQueue {
    /// Batches, each with the size of its flows in bytes.
    sender: Sender<(FlowBatch, usize)>,
    receiver: Receiver<(FlowBatch, usize)>,
    max_flows: usize,
    max_bytes: usize,
    /// Flows and statistics in the queue; at most `max_flows`, except while a sender claims space.
    flows: AtomicUsize,
    /// Size of the flows in the queue; at most `max_bytes`, except while a sender claims space.
    bytes: AtomicUsize,
    dropped: AtomicU64,
    closed: AtomicBool,
}

impl BatchQueue {
    /// Returns an empty queue with these maximum numbers of flows and bytes.
    pub(super) fn new(max_flows: usize, max_bytes: usize) -> Self {
        // The channel itself is unbounded: a limit on batches would count a single flow as much as
        // the flows of a whole table.
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self {
            sender,
            receiver,
            max_flows,
            max_bytes,
            flows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Appends the part of a batch that fits and drops the rest.
    pub(super) fn push(&self, mut batch: FlowBatch) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut bytes = 0;
        let mut taken = 0;
        for flow in &batch.flows {
            let weight = flow.memory_size();
            if !claim(&self.flows, 1, self.max_flows) {
                break;
            }
            if !claim(&self.bytes, weight, self.max_bytes) {
                self.flows.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            taken += 1;
            bytes += weight;
        }
        if taken < batch.flows.len() {
            let dropped = batch.flows.len() - taken;
            self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
            batch.flows.truncate(taken);
        }
        // Statistics count as one flow.
        if batch.stats.is_some() && !claim(&self.flows, 1, self.max_flows) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            batch.stats = None;
        }
        let count = batch.count();
        if count > 0 && self.sender.send((batch, bytes)).is_err() {
            self.release(count, bytes);
        }
    }

    /// Waits for the next batch, removes it, and returns it; `None` after `timeout`.
    pub(super) fn receive(&self, timeout: Duration) -> Option<FlowBatch> {
        let (batch, bytes) = self.receiver.recv_timeout(timeout).ok()?;
        self.release(batch.count(), bytes);
        Some(batch)
    }

    /// Rejects further batches, so that the queue can be drained while senders still exist.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Returns whether the queue has no batches.
    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Returns the number of flows, and of statistics, that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn release(&self, flows: usize, bytes: usize) {
        self.flows.fetch_sub(flows, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl FlowBatch {
    fn count(&self) -> usize {
        self.flows.len() + usize::from(self.stats.is_some())
    }
}

/// Adds `more` to `used` and returns `true`, unless that would exceed `limit`.
fn claim(used: &AtomicUsize, more: usize, limit: usize) -> bool {
    // Adding first and subtracting on failure may reject a concurrent sender but never exceeds the
    // limit.
    let before = used.fetch_add(more, Ordering::Relaxed);
    let fits = before.saturating_add(more) <= limit;
    if !fits {
        used.fetch_sub(more, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::RawPacket;

    fn batch(flows: Vec<Flow>) -> FlowBatch {
        FlowBatch {
            flows,
            stats: None,
            is_remote: false,
        }
    }

    fn flows(count: usize) -> Vec<Flow> {
        let flow = |i: usize| Flow {
            uuid: i.to_string().as_str().into(),
            ..Flow::default()
        };
        (0..count).map(flow).collect()
    }

    fn next(queue: &BatchQueue) -> usize {
        let batch = queue.receive(Duration::ZERO);
        batch.map_or(0, |batch| batch.flows.len())
    }

    #[test]
    fn what_fits_of_a_parcel_is_kept_and_the_rest_counted() {
        let queue = BatchQueue::new(100, usize::MAX);
        queue.push(batch(flows(60)));
        queue.push(batch(flows(60)));
        queue.push(batch(flows(60)));
        assert_eq!((next(&queue), next(&queue), next(&queue)), (60, 40, 0));
        assert_eq!(queue.dropped(), 80);
        queue.push(batch(flows(100)));
        assert_eq!(next(&queue), 100, "there is room again");
    }

    #[test]
    fn flows_are_limited_in_bytes() {
        let packet = RawPacket {
            data: vec![0; 1 << 20].into(),
            ..RawPacket::default()
        };
        let heavy = Flow {
            last_raw_packets: vec![packet],
            ..Flow::default()
        };
        let queue = BatchQueue::new(100, 10 << 20);
        queue.push(batch(vec![heavy; 20]));
        assert_eq!(next(&queue), 9);
        assert_eq!(queue.dropped(), 11);
    }

    #[test]
    fn statistics_count_as_a_flow() {
        let queue = BatchQueue::new(1, usize::MAX);
        let stats = || FlowBatch {
            stats: Some(FlowStats::default()),
            ..batch(Vec::new())
        };
        queue.push(stats());
        queue.push(stats());
        assert!(queue.receive(Duration::ZERO).unwrap().stats.is_some());
        assert!(queue.receive(Duration::ZERO).is_none());
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_closed_queue_can_be_drained_and_accepts_nothing() {
        let queue = BatchQueue::new(100, usize::MAX);
        queue.push(batch(flows(1)));
        queue.close();
        queue.push(batch(flows(1)));
        assert_eq!((next(&queue), next(&queue)), (1, 0));
    }
}
