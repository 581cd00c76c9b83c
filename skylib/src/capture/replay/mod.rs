//! Offline conversion of whole captures to flows, with timers that follow capture time.

mod error;
mod filter;
mod replayed_flows;
mod shards;
mod steering;
#[cfg(test)]
mod tests;
mod work_queue;

use std::num::NonZeroUsize;
use std::time::Duration;

pub use self::error::ReplayError;
use self::filter::ReplayFilter;
use self::replayed_flows::EncodedFlows;
pub use self::replayed_flows::ReplayedFlows;
use super::{Batch, BpfFilter, CaptureError, PacketSource};
use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions, FlowTableStats};
use crate::packet::{CapturePoints, PacketBatch};

/// Converter of whole captures to flows. The timers of its flow tables follow packet timestamps.
///
/// By default, all work is done by the calling thread. With more threads
/// ([`Replay::with_threads`]), packets are distributed by the addresses of the outermost IP header,
/// so that each flow, together with the flows around and inside it, is in one table. The flows are
/// the same, and only their order differs, with one exception: if packet timestamps go backward by
/// more than half a minute, incomplete TCP streams and IP datagrams may be abandoned at other
/// packets.
///
/// ```
/// # use skylib::packet::{LinkType, PacketRef};
/// # use skylib::pcap_file::{PcapWriter, Resolution};
/// # use skylib::time::Timestamp;
/// # let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
/// # let (timestamp, data) = (Timestamp::ZERO, &[0xff; 60]);
/// # writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 60 })?;
/// # let trace = std::io::Cursor::new(writer.into_inner());
/// use skylib::capture::{PcapFile, Replay};
///
/// let mut file = PcapFile::from_reader("trace", trace)?;
/// let flows = Replay::default().flows(&mut file)?;
/// assert_eq!(flows.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    options: FlowTableOptions,
    threads: NonZeroUsize,
    filter: Option<BpfFilter>,
}

impl Default for Replay {
    /// Returns a replay with default flow table options and one thread.
    fn default() -> Self {
        Self::new(FlowTableOptions::default())
    }
}

impl Replay {
    /// Creates a replay with these options for its flow tables.
    ///
    /// The table limits apply to all tables together and are divided equally among the threads. If
    /// most flows are between the same two addresses, more threads therefore cause earlier
    /// evictions.
    #[must_use]
    pub const fn new(options: FlowTableOptions) -> Self {
        Self {
            options,
            threads: NonZeroUsize::MIN,
            filter: None,
        }
    }

    /// Sets the total number of threads, including the caller's.
    #[must_use]
    pub const fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets a filter: only packets that match are counted.
    ///
    /// The timers still follow all packets of the source, and the filter is applied to datagrams
    /// after reassembly. In contrast, packets rejected by a filter of the source
    /// ([`PcapFile::with_filter`](super::PcapFile::with_filter)) have no effect on the timers.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<BpfFilter>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Reads a source to its end and returns each flow once, in its final state.
    ///
    /// # Errors
    /// Returns an error if the source fails, for example because a capture file is damaged. To
    /// receive the flows before the damage as well, use [`Replay::run`].
    pub fn flows(&self, source: &mut dyn PacketSource) -> Result<Vec<Flow>, ReplayError> {
        let mut flows = Vec::new();
        let options = self.options.clone().with_final_only(true);
        let replay = Self {
            options,
            ..self.clone()
        };
        replay.run(source, &mut flows)?;
        Ok(flows)
    }

    /// Reads a source to its end and passes flow records to a sink while it reads. Returns the
    /// counters of the flow tables.
    ///
    /// ```no_run
    /// use skylib::capture::{PcapFile, Replay};
    /// use skylib::flow::{Flow, FlowSink};
    ///
    /// struct Printer;
    /// impl FlowSink for Printer {
    ///     fn flows(&mut self, flows: Vec<Flow>) {
    ///         for flow in flows {
    ///             println!("{} {}", flow.uuid, flow.layers_path);
    ///         }
    ///     }
    /// }
    ///
    /// let mut file = PcapFile::open("trace.pcap")?;
    /// let stats = Replay::default().run(&mut file, &mut Printer)?;
    /// println!("{} packets", stats.packets);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the source fails; the sink has received all flows of the packets before
    /// the failure.
    pub fn run(
        &self,
        source: &mut dyn PacketSource,
        sink: &mut (dyn FlowSink + Send),
    ) -> Result<FlowTableStats, ReplayError> {
        self.run_while(source, sink, || true)
    }

    /// Reads a source like [`Replay::run`] until it ends or `proceed` returns `false`.
    ///
    /// `proceed` is called between batches on the calling thread. Packets that have been read are
    /// still counted, and their flows are passed to the sink.
    ///
    /// # Errors
    /// Returns an error if the source fails; the sink has received all flows of the packets before
    /// the failure.
    pub fn run_while(
        &self,
        source: &mut dyn PacketSource,
        sink: &mut (dyn FlowSink + Send),
        mut proceed: impl FnMut() -> bool,
    ) -> Result<FlowTableStats, ReplayError> {
        let mut filter = match self.compile_filter(source) {
            Ok(filter) => filter,
            Err(error) => return Err(ReplayError::new(FlowTableStats::default(), error)),
        };
        let (stats, end) = if self.threads.get() > 1 {
            shards::run(
                &self.shard_options(),
                source,
                filter.as_ref(),
                sink,
                &mut proceed,
            )
        } else {
            let mut table = new_table(&self.options, source.capture_points(), filter.as_ref());
            let mut take = |batch: &PacketBatch<'_>| table.replay(batch, sink);
            let end = feed(source, filter.as_mut(), &mut proceed, &mut take);
            table.flush(sink);
            (table.stats(), end)
        };
        match end {
            Ok(()) => Ok(stats),
            Err(error) => Err(ReplayError::new(stats, error)),
        }
    }

    /// Reads a source to its end and returns all flows as a [`FlowSource`](crate::flow::FlowSource)
    /// that can be queried any number of times.
    ///
    /// ```no_run
    /// use skylib::Graph;
    /// use skylib::capture::{PcapFile, Replay};
    /// use skylib::time::Timestamp;
    ///
    /// let flows = Replay::default().collect(&mut PcapFile::open("trace.pcap")?)?;
    /// let graph = Graph::new();
    /// let dns = graph.traversal().flows().has("Application", "DNS").sort_desc("Metric.ABBytes");
    /// println!("{}", dns.values("Network.B").run_with(&flows, Timestamp::ZERO)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the source fails. To query the flows before the failure as well, use
    /// [`Replay::collect_while`].
    pub fn collect(&self, source: &mut dyn PacketSource) -> Result<ReplayedFlows, ReplayError> {
        let (flows, end) = self.collect_while(source, || true);
        end.map(|()| flows)
    }

    /// Reads a source like [`Replay::collect`] until it ends, fails, or `proceed` returns `false`.
    /// Returns the flows of all packets read, and the error if the source failed.
    ///
    /// `proceed` is called between batches on the calling thread.
    pub fn collect_while(
        &self,
        source: &mut dyn PacketSource,
        mut proceed: impl FnMut() -> bool,
    ) -> (ReplayedFlows, Result<(), ReplayError>) {
        let mut filter = match self.compile_filter(source) {
            Ok(filter) => filter,
            Err(error) => {
                let failure = ReplayError::new(FlowTableStats::default(), error);
                return (ReplayedFlows::new([]), Err(failure));
            }
        };
        let (flows, end) = if self.threads.get() > 1 {
            shards::collect(&self.shard_options(), source, filter.as_ref(), &mut proceed)
        } else {
            let options = self.options.clone().with_final_only(true);
            let mut table = new_table(&options, source.capture_points(), filter.as_ref());
            let mut exported = EncodedFlows::default();
            let mut take = |batch: &PacketBatch<'_>| table.replay(batch, &mut exported);
            let end = feed(source, filter.as_mut(), &mut proceed, &mut take);
            table.end(&mut exported);
            (ReplayedFlows::new([(exported, table)]), end)
        };
        let end = end.map_err(|error| ReplayError::new(flows.stats(), error));
        (flows, end)
    }

    /// Compiles the filter for the first link type of a source.
    fn compile_filter(
        &self,
        source: &dyn PacketSource,
    ) -> Result<Option<ReplayFilter>, CaptureError> {
        let filter = self.filter.as_ref();
        filter
            .map(|filter| ReplayFilter::new(filter, source.link_type()))
            .transpose()
    }

    /// Returns the options of each thread's table: its share of the limits.
    fn shard_options(&self) -> Vec<FlowTableOptions> {
        let mut options = self.options.clone();
        options.max_entries = options.max_entries.div_ceil(self.threads.get());
        options.max_bytes = options.max_bytes.map(|bytes| bytes / self.threads);
        vec![options; self.threads.get()]
    }
}

/// Returns an empty table with a filter.
fn new_table(
    options: &FlowTableOptions,
    points: CapturePoints,
    filter: Option<&ReplayFilter>,
) -> FlowTable {
    let mut table = FlowTable::new(options.clone());
    table.set_capture_points(points);
    table.set_filter(filter.map(ReplayFilter::for_table));
    table
}

/// Passes batches to `take` until the source ends or fails, or until `proceed` returns `false`.
fn feed(
    source: &mut dyn PacketSource,
    mut filter: Option<&mut ReplayFilter>,
    proceed: &mut dyn FnMut() -> bool,
    take: &mut dyn FnMut(&PacketBatch<'_>),
) -> Result<(), CaptureError> {
    loop {
        match source.next_batch(WAIT)? {
            Batch::Packets(batch) => {
                if let Some(filter) = &mut filter {
                    filter.check(batch.link_type)?;
                }
                take(&batch);
            }
            Batch::Timeout => {}
            Batch::End => return Ok(()),
        }
        if !proceed() {
            return Ok(());
        }
    }
}

/// Maximum wait for packets before `proceed` is called again.
const WAIT: Duration = Duration::from_millis(200);
