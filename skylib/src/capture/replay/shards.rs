//! Multi-threaded replay: one flow table (shard) per thread, with packets distributed by a hash of
//! their addresses.
//!
//! All packets between two addresses are assigned to one shard, so that each flow is in one table,
//! together with the flows around and inside it. The threads share one reader ([`WorkQueue`]) and
//! the buffers it fills: no packet of a file is copied.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use super::filter::ReplayFilter;
use super::new_table;
use super::replayed_flows::{EncodedFlows, ReplayedFlows};
use super::work_queue::WorkQueue;
use crate::capture::{CaptureError, PacketSource};
use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions, FlowTableStats};
use crate::packet::CapturePoints;

/// Converts a source to flows, which all threads pass to one sink.
pub(super) fn run(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    filter: Option<&ReplayFilter>,
    sink: &mut (dyn FlowSink + Send),
    proceed: &mut dyn FnMut() -> bool,
) -> (FlowTableStats, Result<(), CaptureError>) {
    let sink = Mutex::new(sink);
    let mut stats = FlowTableStats::default();
    let (shards, end) = count(tables, source, filter, proceed, &mut stats, |shard| {
        let mut sink = SharedSink(&sink);
        let mut table = shard.table();
        shard.process(&mut table, &mut sink);
        table.flush(&mut sink);
        table.stats()
    });
    for shard in shards {
        stats += shard;
    }
    (stats, end)
}

/// Converts a source to flows and returns the tables.
pub(super) fn collect(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    filter: Option<&ReplayFilter>,
    proceed: &mut dyn FnMut() -> bool,
) -> (ReplayedFlows, Result<(), CaptureError>) {
    let tables: Vec<_> = tables
        .iter()
        .map(|options| options.clone().with_final_only(true))
        .collect();
    let mut stats = FlowTableStats::default();
    let (shards, end) = count(&tables, source, filter, proceed, &mut stats, |shard| {
        let mut exported = EncodedFlows::default();
        let mut table = shard.table();
        shard.process(&mut table, &mut exported);
        table.end(&mut exported);
        (exported, table)
    });
    (ReplayedFlows::new(shards).with_clock_stats(stats), end)
}

/// Runs `work` for each table; for the first table, on the calling thread. Returns the results in
/// order, and adds the counters of packet timestamps to `stats`.
fn count<T: Send>(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    filter: Option<&ReplayFilter>,
    proceed: &mut dyn FnMut() -> bool,
    stats: &mut FlowTableStats,
    work: impl Fn(&mut Shard<'_, '_>) -> T + Sync,
) -> (Vec<T>, Result<(), CaptureError>) {
    let options = tables.first().cloned().unwrap_or_default();
    let points = source.capture_points();
    let queue = WorkQueue::new(source, filter.cloned(), &options, tables.len());
    let results = thread::scope(|scope| {
        let (options, points, queue, work) = (&options, &points, &queue, &work);
        let run = move |number, proceed: &mut dyn FnMut() -> bool| {
            work(&mut Shard {
                number,
                options,
                points,
                filter,
                queue,
                proceed,
            })
        };
        let mut others = Vec::new();
        for number in 1..tables.len() {
            let other = move || run(number, &mut || true);
            match thread::Builder::new().spawn_scoped(scope, other) {
                Ok(thread) => others.push(thread),
                Err(error) => {
                    let action = format!("start thread {} of {}", number + 1, tables.len());
                    queue.abandon(Some(CaptureError::io(action, error)));
                    break;
                }
            }
        }
        let first = run(0, proceed);
        let join = |thread: ScopedJoinHandle<'_, T>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        std::iter::once(first)
            .chain(others.into_iter().map(join))
            .collect()
    });
    (results, queue.end(stats))
}

/// State of one thread of the replay.
struct Shard<'a, 's> {
    /// Index of the thread's queue.
    number: usize,
    /// Options of the thread's table.
    options: &'a FlowTableOptions,
    points: &'a CapturePoints,
    /// Filter of the thread's table.
    filter: Option<&'a ReplayFilter>,
    queue: &'a WorkQueue<'s>,
    proceed: &'a mut dyn FnMut() -> bool,
}

impl Shard<'_, '_> {
    /// Returns an empty table.
    fn table(&self) -> FlowTable {
        new_table(self.options, self.points.clone(), self.filter)
    }

    /// Processes work until no work is left.
    fn process(&mut self, table: &mut FlowTable, sink: &mut dyn FlowSink) {
        let mut done = None;
        while let Some(work) = self.queue.next(self.number, done, self.proceed) {
            for (batch, tick) in work.steps() {
                table.replay_part(&batch, sink);
                if let Some(now) = tick {
                    table.tick(now, sink);
                }
            }
            done = Some(work);
        }
    }
}

impl Drop for Shard<'_, '_> {
    /// Lets the other threads end if this thread panics.
    fn drop(&mut self) {
        if thread::panicking() {
            self.queue.abandon(None);
        }
    }
}

/// Sink shared by several threads.
struct SharedSink<'a, 'b>(&'a Mutex<&'b mut (dyn FlowSink + Send)>);

impl FlowSink for SharedSink<'_, '_> {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flows(flows);
    }
}
