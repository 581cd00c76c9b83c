//! `FlowUplink`: queue of the flows that an agent sends to its analyzers.
//!
//! While no analyzer is reachable, flows wait here, up to a limit in bytes. Beyond the limit, the
//! oldest are dropped and counted: a later record of a flow includes the counts of the earlier
//! records. Several senders, one for each analyzer, take batches from the same queue.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;

use crate::flow::{Flow, FlowMessage, FlowStats};

/// Queue of encoded `flow.Message`s, each with one flow or the statistics of one capture.
///
/// ```
/// use skylib::engine::FlowUplink;
/// use skylib::flow::Flow;
///
/// let uplink = FlowUplink::new(1 << 20);
/// uplink.push(&[Flow::default().with_uuid("f1"), Flow::default().with_uuid("f2")]);
/// let batch = uplink.try_take(1);
/// assert_eq!(batch.len(), 1);
/// uplink.put_back(batch);
/// assert_eq!(uplink.status().waiting, 2);
/// ```
#[derive(Debug)]
pub struct FlowUplink {
    state: Mutex<State>,
    /// Signal that wakes a sender: messages have been queued.
    filled: Notify,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Messages, the oldest first.
    messages: VecDeque<Bytes>,
    status: UplinkStatus,
}

/// Counters of a [`FlowUplink`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UplinkStatus {
    /// Number of flow records and statistics that wait for an analyzer.
    pub waiting: usize,
    /// Size of the waiting records and statistics, in bytes.
    pub waiting_bytes: usize,
    /// Number of flow records and statistics that were passed to the connection to an analyzer.
    pub sent: u64,
    /// Number of flow records and statistics that were dropped because the queue was full.
    pub lost: u64,
}

/// Field number of the flows in `flow.Message`.
const FLOWS: u32 = 1;
/// Overhead of a waiting message, in bytes.
const OVERHEAD: usize = size_of::<Bytes>() + 32;

impl FlowUplink {
    /// Returns an empty queue with this maximum size in bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            max_bytes,
        }
    }

    /// Queues flows. Never blocks.
    pub fn push(&self, flows: &[Flow]) {
        let encode = |flow: &Flow| {
            let mut message = Vec::new();
            prost::encoding::message::encode(FLOWS, flow, &mut message);
            message.into()
        };
        self.append(flows.iter().map(encode));
    }

    /// Queues the statistics of a capture. Never blocks.
    pub(crate) fn push_stats(&self, stats: &FlowStats) {
        let message = FlowMessage {
            flows: Vec::new(),
            stats: Some(stats.clone()),
        };
        self.append([message.encode_to_vec().into()]);
    }

    fn append(&self, messages: impl IntoIterator<Item = Bytes>) {
        let mut state = self.state.lock();
        for message in messages {
            state.status.waiting_bytes += message.len() + OVERHEAD;
            state.messages.push_back(message);
        }
        state.limit(self.max_bytes);
        drop(state);
        self.filled.notify_one();
    }

    /// Takes up to `count` messages; returns an empty list if none wait.
    #[must_use]
    pub fn try_take(&self, count: usize) -> Vec<Bytes> {
        let mut state = self.state.lock();
        let count = count.min(state.messages.len());
        let taken: Vec<Bytes> = state.messages.drain(..count).collect();
        state.status.waiting_bytes -= bytes_of(&taken);
        state.status.sent += taken.len() as u64;
        if !state.messages.is_empty() {
            // Another sender may take the remaining messages.
            self.filled.notify_one();
        }
        taken
    }

    /// Waits for messages and takes up to `count`, at least one.
    pub async fn take(&self, count: usize) -> Vec<Bytes> {
        loop {
            let filled = self.filled.notified();
            let taken = self.try_take(count);
            if !taken.is_empty() {
                return taken;
            }
            filled.await;
        }
    }

    /// Returns messages that could not be sent to the front of the queue.
    pub fn put_back(&self, messages: Vec<Bytes>) {
        let mut state = self.state.lock();
        state.status.waiting_bytes += bytes_of(&messages);
        state.status.sent -= messages.len() as u64;
        for message in messages.into_iter().rev() {
            state.messages.push_front(message);
        }
        state.limit(self.max_bytes);
        drop(state);
        self.filled.notify_one();
    }

    /// Counts messages that were taken but cannot be sent to any analyzer.
    pub fn lose(&self, count: u64) {
        let status = &mut self.state.lock().status;
        status.sent -= count;
        status.lost += count;
    }

    /// Returns the counters.
    #[must_use]
    pub fn status(&self) -> UplinkStatus {
        let state = self.state.lock();
        UplinkStatus {
            waiting: state.messages.len(),
            ..state.status
        }
    }
}

impl State {
    /// Drops the oldest messages beyond the limit.
    fn limit(&mut self, max_bytes: usize) {
        while self.status.waiting_bytes > max_bytes
            && let Some(oldest) = self.messages.pop_front()
        {
            self.status.waiting_bytes -= oldest.len() + OVERHEAD;
            self.status.lost += 1;
        }
    }
}

fn bytes_of(messages: &[Bytes]) -> usize {
    messages
        .iter()
        .map(|message| message.len() + OVERHEAD)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::decode_flow_message;

    fn flows(range: std::ops::Range<usize>) -> Vec<Flow> {
        let flow = |number| Flow::default().with_uuid(format!("f{number:03}"));
        range.map(flow).collect()
    }

    fn uuids(messages: &[Bytes]) -> Vec<String> {
        // Concatenated messages are one message with all flows.
        let decoded = decode_flow_message(&messages.concat()).unwrap();
        decoded
            .flows
            .iter()
            .map(|flow| flow.uuid.to_string())
            .collect()
    }

    #[test]
    fn the_oldest_flows_are_dropped_and_counted() {
        let one = FlowUplink::new(usize::MAX);
        one.push(&flows(0..1));
        let bytes = one.status().waiting_bytes;
        let uplink = FlowUplink::new(3 * bytes);
        uplink.push(&flows(0..5));
        let status = uplink.status();
        assert_eq!(
            (status.waiting, status.lost, status.waiting_bytes),
            (3, 2, 3 * bytes)
        );
        let taken = uplink.try_take(2);
        assert_eq!(uuids(&taken), ["f002", "f003"]);
        uplink.push(&flows(5..7));
        uplink.put_back(taken);
        assert_eq!(uuids(&uplink.try_take(10)), ["f004", "f005", "f006"]);
        let status = uplink.status();
        assert_eq!((status.waiting_bytes, status.lost, status.sent), (0, 4, 3));
    }

    #[test]
    fn statistics_are_messages_of_their_own() {
        let uplink = FlowUplink::new(usize::MAX);
        let stats = FlowStats {
            capture_id: "c".into(),
            ..FlowStats::default()
        };
        uplink.push_stats(&stats);
        let message = decode_flow_message(&uplink.try_take(1)[0]).unwrap();
        assert_eq!((message.flows.len(), message.stats), (0, Some(stats)));
    }
}
