//! Whole captures turned into flows at once, by capture time.

mod replayed_flows;
mod shards;
mod steering;
#[cfg(test)]
mod tests;
mod work_queue;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Duration;

use self::replayed_flows::EncodedFlows;
pub use self::replayed_flows::ReplayedFlows;
use super::{Batch, CaptureError, PacketSource};
use crate::flow::{FlowSink, FlowTable, FlowTableOptions, FlowTableStats};
use crate::packet::PacketBatch;

/// Turns all that a source has into flows; the tables' timers follow the time of the packets.
///
/// With one thread, the default, that is the thread of the caller. With more, the caller's is one
/// of them, and all packets between two addresses, or the two ends of a tunnel, go to the same one.
/// The flows are the same, their order is not. Only where the packets' time goes back by half a
/// minute and more may streams and datagrams that wait for a missing piece be given up at other
/// packets.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use skylib::capture::{PcapFile, Replay};
/// use skylib::flow::FlowTableOptions;
///
/// let mut file = PcapFile::open("trace.pcap")?;
/// let mut flows = Vec::new();
/// let replay = Replay::new(FlowTableOptions::default().with_leaving_only(true));
/// let (stats, end) = replay.run(&mut file, &mut flows, &mut || ControlFlow::Continue(()));
/// end?;
/// println!("{} flows, {} packets", flows.len(), stats.packets);
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    options: FlowTableOptions,
    threads: NonZeroUsize,
}

impl Replay {
    /// With tables of these options; their bounds hold for all tables together, each having an
    /// equal share: where most flows are between two addresses, more threads evict earlier.
    #[must_use]
    pub const fn new(options: FlowTableOptions) -> Self {
        Self {
            options,
            threads: NonZeroUsize::MIN,
        }
    }

    /// With this many threads in all.
    #[must_use]
    pub const fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Reads a source to its end, or to an error, which is the second value: the sink has had the
    /// flows of everything before it all the same.
    ///
    /// `each` is called between batches, on the caller's thread, and can end the work early; with
    /// more threads what has been read is still counted.
    pub fn run(
        &self,
        source: &mut dyn PacketSource,
        sink: &mut (dyn FlowSink + Send),
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> (FlowTableStats, Result<(), CaptureError>) {
        if self.threads.get() > 1 {
            return shards::run(&self.tables(), source, sink, each);
        }
        let mut table = FlowTable::new(self.options.clone());
        let end = feed(source, each, &mut |batch| table.replay(batch, sink));
        table.flush(sink);
        (table.stats(), end)
    }

    /// Reads a source likewise and keeps all flows, to be asked.
    pub fn collect(
        &self,
        source: &mut dyn PacketSource,
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> (ReplayedFlows, Result<(), CaptureError>) {
        if self.threads.get() > 1 {
            return shards::collect(&self.tables(), source, each);
        }
        let mut table = FlowTable::new(self.options.clone().with_leaving_only(true));
        let mut left = EncodedFlows::default();
        let end = feed(source, each, &mut |batch| table.replay(batch, &mut left));
        table.end(&mut left);
        (ReplayedFlows::new([(left, table)]), end)
    }

    /// Options of each of the tables.
    fn tables(&self) -> Vec<FlowTableOptions> {
        let mut options = self.options.clone();
        options.max_entries = options.max_entries.div_ceil(self.threads.get());
        options.max_bytes = options.max_bytes.map(|bytes| bytes / self.threads);
        vec![options; self.threads.get()]
    }
}

/// Hands on what a source has until it ends, fails, or `each` has had enough.
fn feed(
    source: &mut dyn PacketSource,
    each: &mut dyn FnMut() -> ControlFlow<()>,
    take: &mut dyn FnMut(&PacketBatch<'_>),
) -> Result<(), CaptureError> {
    loop {
        match source.next_batch(WAIT)? {
            Batch::Packets(batch) => take(&batch),
            Batch::Timeout => {}
            Batch::End => return Ok(()),
        }
        if each().is_break() {
            return Ok(());
        }
    }
}

/// How long a source may wait, so that the work can be ended meanwhile.
const WAIT: Duration = Duration::from_millis(200);
