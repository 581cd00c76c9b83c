//! Flows of all captures: asked as one source, gathered into batches for the subscribers.
//!
//! Capture threads hand finished updates over without ever waiting: when more than
//! [`FlowOptions::max_buffered`] flows wait for the batcher, the rest is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::RwLock;

use super::message::FlowMessage;
use super::subscription::Bus;
use crate::flow::{Flow, FlowQuery, FlowQueryError, FlowSet, FlowSink, FlowSource};

/// How flows are gathered.
#[derive(Clone, Copy, Debug)]
pub struct FlowOptions {
    /// Longest time a flow waits for its batch to fill.
    pub bulk_delay: Duration,
    /// Flows that may wait for the batcher.
    pub max_buffered: usize,
}

impl Default for FlowOptions {
    /// 5 s, 100 000 flows.
    fn default() -> Self {
        Self { bulk_delay: Duration::from_secs(5), max_buffered: 100_000 }
    }
}

/// Flows in one message to subscribers.
const BULK_FLOWS: usize = 100;

/// All flow tables of this process behind one [`FlowSource`].
pub struct FlowHub {
    tables: RwLock<Vec<(TableId, Arc<dyn FlowSource>)>>,
    next_table: AtomicUsize,
    sender: Sender<Vec<Flow>>,
    receiver: Receiver<Vec<Flow>>,
    buffered: AtomicUsize,
    dropped: AtomicU64,
    options: FlowOptions,
    /// Who listens to the flows.
    pub(super) bus: Bus<FlowMessage>,
}

/// Names a table among those of a [`FlowHub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId(usize);

impl FlowHub {
    pub(super) fn new(options: FlowOptions) -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self {
            tables: RwLock::new(Vec::new()),
            next_table: AtomicUsize::new(0),
            sender,
            receiver,
            buffered: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            options,
            bus: Bus::default(),
        }
    }

    /// Adds a table to those that queries ask.
    pub fn add_table(&self, table: Arc<dyn FlowSource>) -> TableId {
        let id = TableId(self.next_table.fetch_add(1, Ordering::Relaxed));
        self.tables.write().push((id, table));
        id
    }

    /// Leaves a table out from now on.
    pub fn remove_table(&self, id: TableId) {
        self.tables.write().retain(|(known, _)| *known != id);
    }

    /// Flows dropped because the batcher could not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes flows for the subscribers; never waits.
    pub fn push(&self, flows: Vec<Flow>) {
        if flows.is_empty() || self.bus.is_idle() {
            return;
        }
        // The channel is unbounded, the count of flows in it is not: a batch of one and a batch of
        // a whole table must not weigh the same.
        let count = flows.len();
        if self.buffered.fetch_add(count, Ordering::Relaxed) + count > self.options.max_buffered {
            self.buffered.fetch_sub(count, Ordering::Relaxed);
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
            return;
        }
        if self.sender.send(flows).is_err() {
            self.buffered.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Gathers flows into messages until told to stop; the body of the batcher thread.
    ///
    /// `stopped` is asked at least every [`FlowOptions::bulk_delay`] (or 100 ms); what is buffered
    /// then still goes out.
    pub(super) fn run_batcher(&self, stopped: &dyn Fn() -> bool) {
        let step = Duration::from_millis(100);
        let mut pending: Vec<Flow> = Vec::new();
        let mut waited = Duration::ZERO;
        loop {
            match self.receiver.recv_timeout(step) {
                Ok(flows) => {
                    self.buffered.fetch_sub(flows.len(), Ordering::Relaxed);
                    pending.extend(flows);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            waited += step;
            while pending.len() >= BULK_FLOWS {
                let rest = pending.split_off(BULK_FLOWS);
                self.send(std::mem::replace(&mut pending, rest));
            }
            let stop = stopped();
            if pending.is_empty() {
                waited = Duration::ZERO;
            } else if waited >= self.options.bulk_delay || (stop && self.receiver.is_empty()) {
                self.send(std::mem::take(&mut pending));
                waited = Duration::ZERO;
            }
            if stop && self.receiver.is_empty() && pending.is_empty() {
                return;
            }
        }
    }

    fn send(&self, flows: Vec<Flow>) {
        for message in FlowMessage::of_batch(flows) {
            self.bus.send(&Arc::new(message));
        }
    }
}
