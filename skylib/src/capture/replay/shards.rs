//! Several threads that count flows, each with a table of its own.
//!
//! All packets between two addresses go to one shard, so every flow is in one table, together with
//! the flow around it and the flows within. The threads read in turn, whichever sees first that
//! work runs short, and hand out buffers as they were filled: no packet of a file is copied.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use super::replayed_flows::{EncodedFlows, ReplayedFlows};
use super::work_queue::WorkQueue;
use crate::capture::{CaptureError, PacketSource};
use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions, FlowTableStats};

/// Counts on threads; flows go to the sink from all of them.
pub(super) fn run(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    sink: &mut (dyn FlowSink + Send),
    each: &mut dyn FnMut() -> ControlFlow<()>,
) -> (FlowTableStats, Result<(), CaptureError>) {
    let sink = Mutex::new(sink);
    let (shards, end) = count(tables, source, each, |shard| {
        let mut sink = SharedSink(&sink);
        let mut table = FlowTable::new(shard.options.clone());
        shard.follow(&mut table, &mut sink);
        table.flush(&mut sink);
        table.stats()
    });
    let mut stats = FlowTableStats::default();
    for shard in shards {
        stats += shard;
    }
    (stats, end)
}

/// Counts on threads and keeps the tables.
pub(super) fn collect(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    each: &mut dyn FnMut() -> ControlFlow<()>,
) -> (ReplayedFlows, Result<(), CaptureError>) {
    let tables: Vec<_> = tables
        .iter()
        .map(|options| options.clone().with_leaving_only(true))
        .collect();
    let (shards, end) = count(&tables, source, each, |shard| {
        let mut left = EncodedFlows::default();
        let mut table = FlowTable::new(shard.options.clone());
        shard.follow(&mut table, &mut left);
        table.end(&mut left);
        (left, table)
    });
    (ReplayedFlows::new(shards), end)
}

/// Runs `work` for each table, the first on this thread; what each gives comes back.
fn count<T: Send>(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    each: &mut dyn FnMut() -> ControlFlow<()>,
    work: impl Fn(&mut Shard<'_, '_>) -> T + Sync,
) -> (Vec<T>, Result<(), CaptureError>) {
    let options = tables.first().cloned().unwrap_or_default();
    let queue = WorkQueue::new(source, &options, tables.len());
    let results = thread::scope(|scope| {
        let (options, queue, work) = (&options, &queue, &work);
        let run = move |number, each: &mut dyn FnMut() -> ControlFlow<()>| {
            work(&mut Shard {
                number,
                options,
                queue,
                each,
            })
        };
        let mut others = Vec::new();
        for number in 1..tables.len() {
            let other = move || run(number, &mut || ControlFlow::Continue(()));
            match thread::Builder::new().spawn_scoped(scope, other) {
                Ok(thread) => others.push(thread),
                Err(error) => {
                    let action = format!("start thread {} of {}", number + 1, tables.len());
                    queue.abandon(Some(CaptureError::io(action, error)));
                    break;
                }
            }
        }
        let first = run(0, each);
        let join = |thread: ScopedJoinHandle<'_, T>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        std::iter::once(first)
            .chain(others.into_iter().map(join))
            .collect()
    });
    (results, queue.end())
}

/// One of the threads.
struct Shard<'a, 's> {
    number: usize,
    /// Of its table.
    options: &'a FlowTableOptions,
    queue: &'a WorkQueue<'s>,
    each: &'a mut dyn FnMut() -> ControlFlow<()>,
}

impl Shard<'_, '_> {
    /// Counts until there is no more.
    fn follow(&mut self, table: &mut FlowTable, sink: &mut dyn FlowSink) {
        let mut done = None;
        while let Some(work) = self.queue.next(self.number, done, self.each) {
            for (batch, tick) in work.steps() {
                table.replay(&batch, sink);
                if let Some(now) = tick {
                    table.tick(now, sink);
                }
            }
            done = Some(work);
        }
    }
}

impl Drop for Shard<'_, '_> {
    /// Nobody waits for a thread that has panicked.
    fn drop(&mut self) {
        if thread::panicking() {
            self.queue.abandon(None);
        }
    }
}

/// One sink for many threads.
struct SharedSink<'a, 'b>(&'a Mutex<&'b mut (dyn FlowSink + Send)>);

impl FlowSink for SharedSink<'_, '_> {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flows(flows);
    }
}
