//! Whole captures turned into flows at once, by capture time.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prost::Message;

use super::{Batch, CaptureError, PacketSource};
use crate::filter::Filter;
use crate::flow::{
    Flow, FlowQuery, FlowQueryError, FlowSet, FlowSink, FlowSource, FlowTable, FlowTableOptions,
    FlowTableStats,
};
use crate::time::Timestamp;

/// Turns all that a source has into flows, on this thread. The table's timers follow the time of
/// the packets; at the end, also after an error, all flows go to the sink.
///
/// `each` is called between batches and can end the work early.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use skylib::capture::{PcapFile, replay};
/// use skylib::flow::FlowTableOptions;
/// use skylib::FlowTable;
///
/// let mut file = PcapFile::open("trace.pcap")?;
/// let mut table = FlowTable::new(FlowTableOptions::default().with_leaving_only(true));
/// let mut flows = Vec::new();
/// replay(&mut file, &mut table, &mut flows, &mut || ControlFlow::Continue(()))?;
/// println!("{} flows", flows.len());
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
///
/// # Errors
/// When the source cannot go on; the sink has had everything before that.
pub fn replay(
    source: &mut dyn PacketSource,
    table: &mut FlowTable,
    sink: &mut dyn FlowSink,
    each: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(), CaptureError> {
    let (latest, outcome) = run(source, table, sink, each);
    table.flush(latest, sink);
    outcome
}

/// All flows of a whole capture, to be asked as often as needed.
///
/// What is still in the table at the end is asked there; what left it before is kept encoded.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use skylib::capture::{PcapFile, ReplayedFlows};
/// use skylib::flow::{FlowQuery, FlowSource, FlowTableOptions};
///
/// let mut file = PcapFile::open("trace.pcap")?;
/// let mut each = || ControlFlow::Continue(());
/// let (flows, end) = ReplayedFlows::new(&mut file, FlowTableOptions::default(), &mut each);
/// end?;
/// println!("{} flows", flows.count(&FlowQuery::default())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReplayedFlows {
    left: Encoded,
    /// The table is only read; the lock is what lets threads share it.
    table: Mutex<FlowTable>,
}

impl ReplayedFlows {
    /// Reads a source to its end, or to an error, which is the second value: the flows of
    /// everything before it are there all the same.
    ///
    /// `each` is called between batches and can end the work early.
    #[must_use]
    pub fn new(
        source: &mut dyn PacketSource,
        options: FlowTableOptions,
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> (Self, Result<(), CaptureError>) {
        let mut table = FlowTable::new(options.with_leaving_only(true));
        let mut left = Encoded::default();
        let (_, outcome) = run(source, &mut table, &mut left, each);
        table.end(&mut left);
        (
            Self {
                left,
                table: Mutex::new(table),
            },
            outcome,
        )
    }

    /// What the table counted.
    #[must_use]
    pub fn stats(&self) -> FlowTableStats {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stats()
    }

    /// Flows that have left the table and pass a query, order and bounds apart.
    fn left(&self, query: &FlowQuery) -> impl Iterator<Item = Flow> {
        let passes = |flow: &Flow| query.wants_node(&flow.node_tid) && query.filter.matches(flow);
        self.left.iter().filter(passes)
    }
}

impl FlowSource for ReplayedFlows {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        let unordered = FlowQuery {
            sort: None,
            dedup: None,
            range: None,
            ..query.clone()
        };
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let in_table = table.query(&unordered)?.flows;
        drop(table);
        let mut set = FlowSet::from_flows(self.left(query).chain(in_table).collect());
        query.arrange(&mut set)?;
        Ok(set)
    }

    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let in_table = table.count_flows(query)?;
        drop(table);
        let everything = query.node_tids.is_none() && query.filter == Filter::everything();
        let left = if everything {
            self.left.count
        } else {
            self.left(query).count() as u64
        };
        Ok(left + in_table)
    }
}

/// Flows in their wire form, a fraction of what records take.
#[derive(Debug, Default)]
struct Encoded {
    /// Each holds whole flows, one behind the other with its length before it.
    chunks: Vec<Vec<u8>>,
    count: u64,
}

impl Encoded {
    fn iter(&self) -> impl Iterator<Item = Flow> {
        self.chunks.iter().flat_map(|chunk| {
            let mut rest = &chunk[..];
            std::iter::from_fn(move || Flow::decode_length_delimited(&mut rest).ok())
        })
    }
}

impl FlowSink for Encoded {
    fn flows(&mut self, flows: Vec<Flow>) {
        for flow in flows {
            let len = flow.encoded_len() + LENGTH;
            let room = |chunk: &&mut Vec<u8>| chunk.capacity() - chunk.len() >= len;
            if self.chunks.last_mut().filter(room).is_none() {
                self.chunks.push(Vec::with_capacity(CHUNK.max(len)));
            }
            if let Some(chunk) = self.chunks.last_mut() {
                // There is room, so this cannot fail.
                flow.encode_length_delimited(chunk).ok();
                self.count += 1;
            }
        }
    }
}

/// Feeds the table until the source ends; tells the time of the latest packet.
fn run(
    source: &mut dyn PacketSource,
    table: &mut FlowTable,
    sink: &mut dyn FlowSink,
    each: &mut dyn FnMut() -> ControlFlow<()>,
) -> (Timestamp, Result<(), CaptureError>) {
    let mut latest = Timestamp::ZERO;
    loop {
        match source.next_batch(WAIT) {
            Ok(Batch::Packets(batch)) => {
                latest = batch
                    .headers
                    .last()
                    .map_or(latest, |header| header.timestamp);
                table.replay(&batch, sink);
            }
            Ok(Batch::Timeout) => {}
            Ok(Batch::End) => return (latest, Ok(())),
            Err(error) => return (latest, Err(error)),
        }
        if each().is_break() {
            return (latest, Ok(()));
        }
    }
}

/// How long a source may wait, so that the work can be ended meanwhile.
const WAIT: Duration = Duration::from_millis(200);

const CHUNK: usize = 1 << 20;

/// The most bytes that the length before a flow takes.
const LENGTH: usize = 10;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::capture::PcapFile;
    use crate::capture::frames::{frame, udp};
    use crate::filter::Predicate;
    use crate::flow::{FinishType, FlowField, SortOrder};
    use crate::packet::{LinkType, PacketRef};
    use crate::pcap_file::{PcapWriter, Resolution};

    const MINUTE: i64 = 60_000;

    /// A file of UDP packets, each with its time in ms and its source port.
    fn file(packets: &[(i64, u16)]) -> Vec<u8> {
        let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Microseconds);
        let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
        for &(ms, port) in packets {
            let data = &frame(0x0800, &udp(port, 9, 18))[..];
            let timestamp = Timestamp::from_ms(1_600_000_000_000 + ms);
            let packet = PacketRef {
                link_type,
                timestamp,
                data,
                wire_len: 60,
            };
            writer.write(&packet).expect("in memory");
        }
        writer.into_inner()
    }

    fn source(bytes: Vec<u8>) -> PcapFile {
        PcapFile::from_reader("test", Cursor::new(bytes)).expect("a file")
    }

    fn go_on() -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn records(bytes: Vec<u8>, options: FlowTableOptions) -> Vec<Flow> {
        let mut flows = Vec::new();
        let mut table = FlowTable::new(options);
        replay(&mut source(bytes), &mut table, &mut flows, &mut go_on).expect("no damage");
        flows
    }

    /// Flows that live in the table at the end, flows that expired, and one that came back.
    fn long_capture() -> Vec<u8> {
        let mut packets = vec![(0, 1), (1, 2), (2, 2)];
        packets.extend((1..=25).map(|minute| (minute * MINUTE, 3)));
        packets.extend([(26 * MINUTE, 1), (26 * MINUTE + 1, 4)]);
        file(&packets)
    }

    fn packets_of(flow: &Flow) -> (i64, i64) {
        let port = flow.transport.as_ref().map_or(0, |transport| transport.a);
        let packets = flow.metric.as_ref().map_or(0, |metric| metric.ab_packets);
        (port, packets)
    }

    #[test]
    fn the_timers_follow_capture_time() {
        let flows = records(
            long_capture(),
            FlowTableOptions::default().with_leaving_only(true),
        );
        let mut found: Vec<_> = flows.iter().map(packets_of).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 1), (1, 1), (2, 2), (3, 25), (4, 1)]);
        assert!(
            flows
                .iter()
                .all(|flow| flow.finish_type == FinishType::Timeout)
        );
    }

    #[test]
    fn without_leaving_only_updates_are_sent_too() {
        let options = FlowTableOptions::default();
        let all = records(long_capture(), options.clone()).len();
        let leaving = records(long_capture(), options.with_leaving_only(true)).len();
        assert!(all > leaving + 20, "{all} records, {leaving} leave");
    }

    #[test]
    fn a_query_finds_each_record_as_it_would_be_sent() {
        let sent = records(
            long_capture(),
            FlowTableOptions::default().with_leaving_only(true),
        );
        let (flows, end) = ReplayedFlows::new(
            &mut source(long_capture()),
            FlowTableOptions::default(),
            &mut go_on,
        );
        end.expect("no damage");
        let mut found = flows.query(&FlowQuery::default()).expect("flows").flows;
        let key = |flow: &Flow| (flow.uuid.clone(), flow.start);
        let mut sent = sent;
        found.sort_by_key(key);
        sent.sort_by_key(key);
        assert_eq!(found, sent);
        assert_eq!(flows.count(&FlowQuery::default()), Ok(5));
        assert_eq!(flows.stats().packets, 30);
    }

    #[test]
    fn order_and_bounds_go_over_both_halves() {
        let (flows, _) = ReplayedFlows::new(
            &mut source(long_capture()),
            FlowTableOptions::default(),
            &mut go_on,
        );
        let ports = |query: &FlowQuery| -> Vec<_> {
            let set = flows.query(query).expect("flows");
            assert_eq!(flows.count(query), Ok(set.flows.len() as u64));
            set.flows.iter().map(|flow| packets_of(flow).0).collect()
        };
        let sort = FlowField::parse("Transport.A").map(|field| (field, SortOrder::Descending));
        let sorted = FlowQuery {
            sort,
            ..FlowQuery::default()
        };
        assert_eq!(ports(&sorted), [4, 3, 2, 1, 1]);
        assert_eq!(
            ports(&FlowQuery {
                range: Some((1, 3)),
                ..sorted.clone()
            }),
            [3, 2]
        );
        let filter = Filter::test("Transport.A", Predicate::Lt(2));
        assert_eq!(
            ports(&FlowQuery {
                filter,
                ..FlowQuery::default()
            }),
            [1, 1]
        );
        let dedup = Some(FlowField::parse("Transport.A"));
        assert_eq!(ports(&FlowQuery { dedup, ..sorted }), [4, 3, 2, 1]);
        let elsewhere = FlowQuery {
            node_tids: Some(vec!["x".into()]),
            ..FlowQuery::default()
        };
        assert!(ports(&elsewhere).is_empty());
    }

    #[test]
    fn damage_leaves_the_flows_before_it() {
        let mut bytes = long_capture();
        bytes.truncate(bytes.len() - 1);
        let (flows, end) =
            ReplayedFlows::new(&mut source(bytes), FlowTableOptions::default(), &mut go_on);
        assert!(end.is_err());
        assert_eq!(flows.count(&FlowQuery::default()), Ok(4));
    }

    #[test]
    fn the_work_can_be_ended_early() {
        let mut flows = Vec::new();
        let mut table = FlowTable::new(FlowTableOptions::default());
        let mut stop = || ControlFlow::Break(());
        replay(
            &mut source(long_capture()),
            &mut table,
            &mut flows,
            &mut stop,
        )
        .expect("no damage");
        assert!(!flows.is_empty() && table.is_empty());
    }
}
