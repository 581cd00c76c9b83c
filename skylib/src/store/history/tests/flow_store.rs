//! The store on the disk answers as the store in memory does.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{TestFolder, flow, ms, open, open_shared, options, packet, slice};
use crate::filter::{Filter, Predicate};
use crate::flow::{FinishType, Flow, FlowField, FlowQuery, FlowQueryError, RawPacket, SortOrder};
use crate::store::history::disk::OsDisk;
use crate::store::history::flow_segment::FlowSegment;
use crate::store::history::merge_policy::MAX_SEGMENTS;
use crate::store::history::names::Name;
use crate::store::history::{LocalFlowStore, LocalStore};
use crate::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};
use crate::time::{Clock, ManualClock};
use crate::value::Text;

/// Step of a random test.
#[derive(Clone, Debug)]
enum Step {
    /// Updates of flows with these numbers.
    Put(Vec<u8>),
    /// A record with which a flow ends.
    End(u8),
    Seal,
    Merge,
    /// The process ends and starts again.
    Restart,
    /// The process is killed and starts again.
    Kill,
    /// Time passes, in milliseconds.
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(0..24_u8, 1..8).prop_map(Step::Put),
        2 => (0..24_u8).prop_map(Step::End),
        2 => Just(Step::Seal),
        1 => Just(Step::Merge),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        2 => (1..40_i64).prop_map(Step::Wait),
    ]
}

/// A store on the disk and one in memory that receive the same records.
struct Pair {
    folder: TestFolder,
    disk: Option<LocalFlowStore>,
    memory: MemoryFlowStore,
    /// Start, end of the newest metric, and number of packets of each flow.
    flows: [Option<(i64, Option<i64>, i64)>; 24],
    ended: [bool; 24],
    now: i64,
}

impl Pair {
    fn new() -> Self {
        let folder = TestFolder::new();
        let limits = FlowStoreLimits::default().with_grace(Duration::from_millis(5));
        Self {
            disk: Some(open(&folder)),
            folder,
            memory: MemoryFlowStore::new(limits),
            flows: [None; 24],
            ended: [false; 24],
            now: 1000,
        }
    }

    fn disk(&self) -> &LocalFlowStore {
        self.disk.as_ref().unwrap()
    }

    fn put(&self, flow: Flow) {
        self.disk().put(vec![flow.clone()], ms(self.now));
        self.memory.put(vec![flow], ms(self.now));
    }

    fn update(&mut self, number: u8) {
        let known = &mut self.flows[usize::from(number)];
        if self.ended[usize::from(number)] {
            return;
        }
        self.now += 1;
        let (start, counted, packets) = known.unwrap_or((self.now - 1, None, 0));
        let from = counted.unwrap_or(start);
        *known = Some((start, Some(self.now), packets + 1));
        let mut record = flow(number, start, self.now, Some((from, self.now)));
        if number.is_multiple_of(3) {
            record.last_raw_packets =
                vec![packet(packets, self.now), packet(packets + 1, self.now)];
            record.raw_packets_captured = packets + 1;
        }
        self.put(record);
    }

    fn end(&mut self, number: u8) {
        if std::mem::replace(&mut self.ended[usize::from(number)], true) {
            return;
        }
        let (start, counted, packets) =
            self.flows[usize::from(number)].unwrap_or((self.now, None, 0));
        // A flow that ends repeats its last metric; one that was never updated has none.
        let metric = counted.map(|to| (start, to));
        let mut record = flow(number, start, self.now.max(start + 1), metric);
        record.finish_type = FinishType::TcpFin;
        record.raw_packets_captured = if number.is_multiple_of(3) { packets } else { 0 };
        self.put(record);
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put(numbers) => numbers.iter().for_each(|number| self.update(*number)),
            Step::End(number) => self.end(*number),
            Step::Seal => self.disk().seal(),
            Step::Merge => self.disk().compact(ms(self.now)).unwrap(),
            Step::Restart => {
                self.disk = None;
                self.disk = Some(open(&self.folder));
            }
            Step::Kill => {
                let copy = self.folder.copy();
                self.disk = Some(open(&copy));
                self.folder = copy;
            }
            Step::Wait(pause) => self.now += pause,
        }
    }

    fn check(&self, query: &FlowQuery) {
        let disk = self.disk().query(query);
        let memory = self.memory.query(query);
        assert_eq!(disk, memory, "{query:?}");
        assert_eq!(
            self.disk().count(query),
            self.memory.count(query),
            "{query:?}"
        );
        let mut visited = Vec::new();
        let outcome = self.disk().visit(query, &|| true, &mut |flow| {
            visited.push(flow.uuid.clone());
            ControlFlow::Continue(())
        });
        let wanted = memory.map(|set| {
            let mut uuids: Vec<Text> = set.flows.into_iter().map(|flow| flow.uuid).collect();
            uuids.sort_unstable();
            uuids
        });
        visited.sort_unstable();
        assert_eq!(outcome.map(|()| visited), wanted, "{query:?}");
    }
}

/// Returns queries of several kinds about the time of a slice, or about all flows.
fn queries(start: i64, last: i64) -> Vec<FlowQuery> {
    let text = |name: &str, text: &str| Filter::test(name, Predicate::Text(text.into()));
    let filters = [
        Filter::everything(),
        text("Network.A", "10.0.0.1"),
        text("IPV4.B", "10.0.1.2"),
        text("UUID", "abc5"),
        text("UUID", "nope"),
        text("UUID", "abc5").negate(),
        Filter::Any(vec![
            text("Network.A", "10.0.0.3"),
            text("TrackingID", "t1"),
        ]),
        Filter::test("Transport.B", Predicate::Int(81)),
        Filter::All(vec![
            text("Network.A", "10.0.0.2"),
            Filter::test("Metric.ABBytes", Predicate::Gt(20)),
        ]),
        Filter::test("FinishType", Predicate::Int(2)),
        Filter::test("DNS.ID", Predicate::Present),
        text("NoSuchField", "x"),
    ];
    let mut queries = Vec::new();
    for filter in filters {
        let query = FlowQuery::default().with_filter(filter);
        queries.push(query.clone());
        queries.push(query.clone().with_time(slice(start, last)));
        queries.push(query.with_time(slice(start, start)));
    }
    let all = FlowQuery::default().with_time(slice(start, last));
    let bytes = FlowField::parse("Metric.ABBytes").unwrap();
    queries.extend([
        all.clone().with_node_tids(vec!["n1".into()]),
        all.clone()
            .with_sort(bytes, SortOrder::Descending)
            .with_range(1, 4),
        all.clone().with_dedup(FlowField::TRACKING_ID),
        all.clone().with_range(2, 6),
        all.clone()
            .with_dedup(FlowField::TRACKING_ID)
            .with_range(1, 3),
        all.clone()
            .with_filter(text("Network.A", "10.0.0.1"))
            .with_sort(
                FlowField::parse("Network.B").unwrap(),
                SortOrder::Descending,
            )
            .with_dedup(FlowField::parse("Transport.A").unwrap())
            .with_range(0, 3),
        all.clone().with_dedup(FlowField::parse("ICMP.ID").unwrap()),
        all.clone()
            .with_sort(FlowField::parse("Metric").unwrap(), SortOrder::Ascending),
        all.with_sort(FlowField::parse("ICMP.ID").unwrap(), SortOrder::Ascending),
    ]);
    queries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn disk_and_memory_answer_alike_over_seals_merges_and_restarts(
        steps in proptest::collection::vec(step(), 1..40),
        from in 1000..1200_i64,
        length in 0..100_i64,
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.apply(step);
        }
        for query in queries(from, from + length) {
            pair.check(&query);
        }
        let uuids: Vec<Text> = (0..26_u32).map(|n| format!("{:x}", 0xabc0 + n).as_str().into()).collect();
        for time in [slice(from, from + length), slice(from, from), slice(0, 1 << 40)] {
            prop_assert_eq!(pair.disk().metrics(&uuids, time), pair.memory.metrics(&uuids, time));
        }
        prop_assert_eq!(pair.disk().raw_packets(&uuids), pair.memory.raw_packets(&uuids));
    }
}

#[test]
fn an_hour_that_has_ended_becomes_one_segment() {
    const HOUR: i64 = 3_600_000;
    let folder = TestFolder::new();
    let store = open(&folder);
    for at in [HOUR, HOUR + 1000, 2 * HOUR - 1, 2 * HOUR, 2 * HOUR + 5] {
        store.put(vec![flow(1, HOUR, at, Some((HOUR, at)))], ms(at));
        store.seal();
    }
    store.maintain(ms(2 * HOUR + 10));
    let segments = folder.files("flow", "flow.parquet");
    assert_eq!(
        segments.len(),
        3,
        "the hour that has not ended is left: {segments:?}"
    );
    assert!(
        segments[0]
            .to_string_lossy()
            .contains("seg-0000000001-0000000003")
    );
    assert_eq!(folder.files("replaced", "flow.parquet").len(), 3);
    store.maintain(ms(3 * HOUR));
    assert_eq!(folder.files("flow", "flow.parquet").len(), 2);
    assert_eq!(
        folder.files("replaced", "flow.parquet").len(),
        2,
        "the former ones were removed"
    );
    assert_eq!(store.query(&FlowQuery::default()).unwrap().flows.len(), 1);
}

/// As after many restarts within an hour.
#[test]
fn many_segments_of_the_current_hour_become_one() {
    let folder = TestFolder::new();
    let store = open(&folder);
    let put = |number: usize| {
        let at = 1000 + number as i64;
        store.put(vec![flow(number as u8, 1000, at, Some((1000, at)))], ms(at));
        store.seal();
        store.maintain(ms(at));
    };
    (1..MAX_SEGMENTS).for_each(put);
    let segments = folder.files("flow", "flow.parquet").len();
    assert_eq!(segments, MAX_SEGMENTS - 1);
    put(MAX_SEGMENTS);
    assert_eq!(folder.files("flow", "flow.parquet").len(), 1);
    let flows = store.query(&FlowQuery::default()).unwrap().flows;
    assert_eq!(flows.len(), MAX_SEGMENTS);
}

#[test]
fn old_segments_are_dropped_by_age() {
    let folder = TestFolder::new();
    let age = Duration::from_secs(100);
    let (_shared, store) = open_shared(&folder, options().with_max_age(age));
    store.put(vec![flow(1, 0, 1000, None)], ms(1000));
    store.seal();
    store.put(vec![flow(2, 0, 50_000, None)], ms(50_000));
    store.seal();
    store.maintain(ms(101_000));
    assert_eq!(store.status().flows, 2);
    store.maintain(ms(101_001));
    assert_eq!((store.status().flows, store.status().evicted), (1, 1));
    assert_eq!(store.status().oldest, Some(ms(1000)), "complete since then");
    drop(store);
    drop(_shared);
    assert_eq!(open(&folder).status().flows, 1);
}

#[test]
fn the_oldest_segments_are_dropped_by_size_and_packets_have_a_share() {
    let folder = TestFolder::new();
    let (shared, store) = open_shared(&folder, options().with_max_bytes(60_000));
    let mut total = 0;
    for number in 0..20_u8 {
        let mut record = flow(number, 0, 1000, Some((0, 1000)));
        let data: Vec<u8> = (0..4000_u32)
            .map(|n| ((n * n * (u32::from(number) + 7)) >> 3) as u8)
            .collect();
        record.last_raw_packets = vec![RawPacket {
            data: data.into(),
            ..packet(1, 500)
        }];
        record.raw_packets_captured = 1;
        store.put(vec![record], ms(1000 + i64::from(number)));
        store.seal();
        store.maintain(ms(2000));
        total += 1;
        assert!(shared.usage().total() <= 60_000, "{:?}", shared.usage());
    }
    let flows = store.query(&FlowQuery::default()).unwrap().flows;
    assert!(flows.len() > 1 && flows.len() < total, "{}", flows.len());
    let newest = flows.last().unwrap();
    assert_eq!(&*newest.uuid, "abd3", "the oldest were dropped");
    let with_packets = flows
        .iter()
        .filter(|flow| !flow.last_raw_packets.is_empty())
        .count();
    assert!(
        with_packets >= 1 && with_packets <= flows.len(),
        "{with_packets}"
    );
}

#[test]
fn a_full_table_is_sealed() {
    let folder = TestFolder::new();
    let (_shared, store) = open_shared(&folder, options().with_memory(20_000));
    for number in 0..200_u8 {
        store.put(vec![flow(number, 0, 1000, Some((0, 1000)))], ms(1000));
    }
    assert!(folder.files("flow", "flow.parquet").len() > 2);
    assert_eq!(store.query(&FlowQuery::default()).unwrap().flows.len(), 200);
}

#[test]
fn the_worker_seals_by_time_and_writers_wait_for_it() {
    let folder = TestFolder::new();
    let options = options()
        .with_memory(20_000)
        .with_seal(Duration::ZERO)
        .with_sync(Duration::from_millis(1));
    let (shared, store) = open_shared(&folder, options);
    let store = Arc::new(store);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(ms(10_000)));
    LocalStore::new(shared, Some(Arc::clone(&store)), None)
        .maintain_in_background(&clock)
        .unwrap();
    for number in 0..200_u8 {
        store.put(vec![flow(number, 0, 1000, Some((0, 1000)))], ms(1000));
    }
    assert_eq!(store.query(&FlowQuery::default()).unwrap().flows.len(), 200);
    assert_eq!(store.status().evicted, 0);
}

#[test]
fn a_flow_whose_address_changed_is_one_flow_after_a_merge() {
    let folder = TestFolder::new();
    let store = open(&folder);
    let record = |address: &str, at: i64| {
        let mut record = flow(1, 0, at, Some((at - 100, at)));
        if let Some(network) = &mut record.network {
            network.a = address.into();
        }
        record.last_raw_packets = vec![packet(at / 100, at)];
        record.raw_packets_captured = 1;
        record
    };
    for (address, at) in [("10.9.0.1", 100), ("10.1.0.1", 200), ("10.5.0.1", 300)] {
        store.put(vec![record(address, at)], ms(at));
        store.seal();
    }
    store.compact(ms(400)).unwrap();
    let flows = store.query(&FlowQuery::default()).unwrap().flows;
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].last, 300, "the newest record, wherever its row is");
    let metrics = store.metrics(&[flows[0].uuid.clone()], slice(0, 1000));
    let lasts: Vec<i64> = metrics[0].1.iter().map(|metric| metric.last).collect();
    assert_eq!(lasts, [100, 200, 300]);
    let packets = store.raw_packets(&[flows[0].uuid.clone()]);
    let numbers: Vec<i64> = packets[0].1.iter().map(|packet| packet.index).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn a_count_and_a_list_of_metrics_end_with_their_interrupt() {
    let folder = TestFolder::new();
    let store = open(&folder);
    store.put(vec![flow(1, 0, 100, Some((0, 100)))], ms(100));
    store.seal();
    let stopped = Err(FlowQueryError::Interrupted);
    let query = FlowQuery::default();
    assert_eq!(store.count_while(&query, &|| false), stopped);
    assert_eq!(store.count(&query), Ok(1));
    let metrics = store.metrics_while(&["abc1".into()], slice(0, 1000), &|| false);
    assert_eq!(metrics, Err(FlowQueryError::Interrupted));
}

#[test]
fn nanoseconds_and_lengths_of_packets_survive_a_restart_and_a_seal() {
    let folder = TestFolder::new();
    let mut record = flow(1, 0, 100, Some((0, 100)));
    record.raw_packets_captured = 1;
    record.last_raw_packets = vec![RawPacket {
        nanos: 123_456,
        wire_len: 1500,
        ..packet(1, 50)
    }];
    let wanted = record.last_raw_packets.clone();
    let store = open(&folder);
    store.put(vec![record], ms(100));
    let copy = folder.copy();
    let restored = open(&copy);
    assert_eq!(
        restored.raw_packets(&["abc1".into()])[0].1,
        wanted,
        "from the log"
    );
    restored.seal();
    assert_eq!(
        restored.raw_packets(&["abc1".into()])[0].1,
        wanted,
        "from a segment"
    );
}

#[test]
fn the_memory_of_an_answer_is_bounded_by_what_it_returns() {
    let folder = TestFolder::new();
    let store = open(&folder);
    for at in [100, 200] {
        let flows = (0..200).map(|number| flow(number, 0, at, None)).collect();
        store.put(flows, ms(at));
        store.seal();
    }
    store.put(vec![flow(201, 0, 300, None)], ms(300));
    let query = FlowQuery::default().with_max_bytes(40_000);
    let limit = 40_000;
    assert_eq!(
        store.query(&query).unwrap_err(),
        FlowQueryError::TooLarge { limit }
    );
    let few = store.query(&query.clone().with_range(0, 5)).unwrap();
    assert_eq!(few.flows.len(), 5);
    assert_eq!((few.start, few.end), (0, 300), "of all that match");
    let bytes = FlowField::parse("Metric.ABBytes").unwrap();
    let top = query.clone().with_sort(bytes, SortOrder::Descending);
    let top = store.query(&top.with_range(0, 1)).unwrap();
    assert_eq!(top.flows[0].last, 300);
    assert_eq!(store.count(&query), Ok(201));
    let limit = 100;
    let none = query.with_max_bytes(limit);
    assert_eq!(store.count(&none), Ok(201), "counting stores nothing");
    let distinct = none.with_dedup(FlowField::TRACKING_ID);
    assert_eq!(
        store.count(&distinct),
        Err(FlowQueryError::TooLarge { limit })
    );
}

#[test]
fn a_column_without_values_is_known_from_statistics() {
    let folder = TestFolder::new();
    let (_, store) = open_shared(&folder, options());
    let named = Flow {
        application: "DNS".into(),
        ..flow(2, 1000, 2000, None)
    };
    store.put(vec![flow(1, 1000, 2000, None), named], ms(2000));
    store.seal();
    let file = folder.files("flow", "flow.parquet").remove(0);
    let segment = FlowSegment::open(&OsDisk, file.parent().unwrap(), Name::Segment(1, 1)).unwrap();
    let has_values = |name: &str| segment.flow.has_values(name);
    for name in ["UUID", "Application", "Metric.ABBytes", "Sum.ABBytes"] {
        assert!(has_values(name), "{name}");
    }
    for name in ["DNS", "TCPMetric.ABSynStart", "ICMP.Code", "unknown"] {
        assert!(!has_values(name), "{name}");
    }
    let rows = segment.fetch(&[0, 1]).unwrap();
    let names: Vec<&str> = rows.iter().map(|flow| flow.application.as_str()).collect();
    assert_eq!(names, ["TCP", "DNS"]);
    assert_eq!(rows[0], flow(1, 1000, 2000, None));
}
