use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::capture::worker::Worker;
use crate::capture::*;
use crate::filter::{Filter, Predicate};
use crate::flow::{
    FinishType, Flow, FlowQuery, FlowScan, FlowSink, FlowSource, FlowTable, FlowTableOptions,
};
use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use crate::time::{Clock, ManualClock, Timestamp};

const LONG: Duration = Duration::from_secs(10);

/// Source of batches of ARP requests from several senders, followed by a given end.
struct Script {
    batches: VecDeque<Vec<u16>>,
    end: fn() -> Result<Batch<'static>, CaptureError>,
    buffer: Vec<u8>,
    headers: Vec<PacketHeader>,
    received: u64,
    woken: Arc<AtomicU64>,
}

impl Script {
    fn new(batches: &[&[u16]], end: fn() -> Result<Batch<'static>, CaptureError>) -> Self {
        Self {
            batches: batches.iter().map(|senders| senders.to_vec()).collect(),
            end,
            buffer: Vec::new(),
            headers: Vec::new(),
            received: 0,
            woken: Arc::default(),
        }
    }
}

impl PacketSource for Script {
    fn link_type(&self) -> LinkType {
        LinkType::ETHERNET
    }

    fn next_batch(&mut self, _wait: Duration) -> Result<Batch<'_>, CaptureError> {
        let Some(senders) = self.batches.pop_front() else {
            thread::yield_now();
            return (self.end)();
        };
        self.buffer.clear();
        self.headers.clear();
        for sender in senders {
            let offset = u32::try_from(self.buffer.len()).expect("a short buffer");
            self.buffer.extend([0xff; 6]);
            let [high, low] = sender.to_be_bytes();
            self.buffer
                .extend([2, 0, 0, 0, high, low, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
            self.buffer.extend([0; 38]);
            let timestamp = Timestamp::from_ms(1000);
            let header = PacketHeader {
                timestamp,
                offset,
                captured_len: 60,
                wire_len: 60,
                point: CapturePoint::ONLY,
            };
            self.headers.push(header);
        }
        self.received += self.headers.len() as u64;
        let (buffer, headers) = (&self.buffer, &self.headers);
        Ok(Batch::Packets(PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer,
            headers,
        }))
    }

    fn stats(&mut self) -> CaptureStats {
        CaptureStats {
            received: self.received,
            ..CaptureStats::default()
        }
    }

    fn waker(&self) -> Waker {
        let woken = Arc::clone(&self.woken);
        Waker::new(move || _ = woken.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<Flow>>>);

impl FlowSink for Shared {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.0.lock().expect("no panic").extend(flows);
    }
}

impl Shared {
    fn all(&self) -> Vec<Flow> {
        self.0.lock().expect("no panic").clone()
    }
}

fn start(source: Script, clock: &Arc<ManualClock>) -> (Capture, Shared) {
    let sink = Shared::default();
    let table = FlowTable::new(FlowTableOptions::default().with_node_tid("t1"));
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let capture = Capture::start("test", source, table, sink.clone(), clock).expect("a thread");
    (capture, sink)
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_ms(2000)))
}

#[test]
fn a_source_that_ends_leaves_all_its_flows_with_the_sink() {
    let source = Script::new(&[&[1, 2], &[1]], || Ok(Batch::End));
    let (capture, sink) = start(source, &clock());
    let report = capture.wait().expect("no error");
    assert_eq!(
        (
            report.packets.received,
            report.flows.packets,
            report.flows.flows
        ),
        (3, 3, 0)
    );
    let flows = sink.all();
    assert_eq!(flows.len(), 2);
    assert!(
        flows
            .iter()
            .all(|flow| flow.finish_type == FinishType::Timeout)
    );
}

#[test]
fn flows_can_be_queried_while_packets_arrive() {
    let (capture, _sink) = start(Script::new(&[&[1, 2, 3]], || Ok(Batch::Timeout)), &clock());
    while capture
        .handle()
        .report(LONG)
        .expect("an answer")
        .packets
        .received
        < 3
    {}
    let filter = Filter::test("Link.A", Predicate::Text("02:00:00:00:00:02".into()));
    let query = FlowQuery {
        filter,
        ..FlowQuery::default()
    };
    assert_eq!(
        capture.handle().query(&query).expect("flows").flows.len(),
        1
    );
    let elsewhere = FlowQuery {
        node_tids: Some(vec!["t2".into()]),
        ..FlowQuery::default()
    };
    assert_eq!(
        capture
            .handle()
            .query(&elsewhere)
            .expect("flows")
            .flows
            .len(),
        0
    );
}

#[test]
fn a_long_query_is_answered_in_batches() {
    let senders: Vec<u16> = (0..2500).collect();
    let mut source = Script::new(&[&senders], || Ok(Batch::End));
    let mut table = FlowTable::new(FlowTableOptions::default());
    let Ok(Batch::Packets(batch)) = source.next_batch(LONG) else {
        panic!("packets")
    };
    table.process(&batch);
    let (_requests, requests) = bounded(1);
    let mut worker = Worker {
        source,
        table,
        sink: Shared::default(),
        clock: clock(),
        requests,
        scans: VecDeque::new(),
        stop: Arc::default(),
    };
    let (reply, answer) = bounded(1);
    let filter = Filter::test("Start", Predicate::Gt(0));
    let query = FlowQuery {
        filter,
        ..FlowQuery::default()
    };
    worker
        .scans
        .push_back((Box::new(FlowScan::new(query)), reply));
    worker.scan();
    worker.scan();
    assert!(answer.is_empty(), "half of the table has been looked at");
    worker.scan();
    let found = PendingFlows::new(answer).wait(LONG).expect("an answer");
    assert_eq!((found.flows.len(), worker.scans.len()), (2500, 0));
}

#[test]
fn a_query_that_waits_at_the_end_is_answered_before_the_flows_leave() {
    let (capture, _sink) = start(Script::new(&[&[1, 2]], || Ok(Batch::Timeout)), &clock());
    let handle = capture.handle().clone();
    while handle.report(LONG).expect("an answer").packets.received < 2 {}
    let pending = handle
        .start_query(&FlowQuery::default(), LONG)
        .expect("taken");
    while handle.queued() > 0 {
        thread::yield_now();
    }
    capture.stop().expect("no error");
    assert_eq!(pending.wait(LONG).expect("flows").flows.len(), 2);
}

#[test]
fn many_threads_can_query_at_once() {
    let (capture, _sink) = start(Script::new(&[&[1]], || Ok(Batch::Timeout)), &clock());
    while capture
        .handle()
        .report(LONG)
        .expect("an answer")
        .packets
        .received
        < 1
    {}
    thread::scope(|scope| {
        for _ in 0..8 {
            let handle = capture.handle().clone();
            scope.spawn(move || {
                let pending: Vec<_> = (0..50)
                    .map(|_| handle.start_query(&FlowQuery::default(), LONG))
                    .collect();
                for answer in pending {
                    let set = answer.expect("taken").wait(LONG).expect("answered");
                    assert_eq!(set.flows.len(), 1);
                }
            });
        }
    });
}

#[test]
fn busy_captures_can_all_be_queried_before_one_answers() {
    static GATE: Mutex<()> = Mutex::new(());
    static AT_THE_GATE: AtomicUsize = AtomicUsize::new(0);
    let busy = || {
        AT_THE_GATE.fetch_add(1, Ordering::SeqCst);
        let open = GATE.lock();
        AT_THE_GATE.fetch_sub(1, Ordering::SeqCst);
        drop(open);
        Ok(Batch::Timeout)
    };
    let captures = [1, 2].map(|_| start(Script::new(&[], busy), &clock()).0);
    // Declared after the captures: if the test fails, their threads can still end.
    let closed = GATE.lock().expect("no panic");
    while AT_THE_GATE.load(Ordering::SeqCst) < captures.len() {
        assert!(captures.iter().all(|capture| !capture.is_finished()));
        thread::yield_now();
    }
    let reports: Vec<_> = captures.iter().map(|c| c.handle().start_report()).collect();
    let busy = captures[0].handle().start_report().expect("taken");
    assert_eq!(busy.wait(Duration::from_millis(1)), None);
    drop(closed);
    for pending in reports {
        assert!(pending.expect("taken").wait(LONG).is_some());
    }
    captures.iter().for_each(Capture::request_stop);
    for capture in captures {
        capture.stop().expect("no error");
    }
}

#[test]
fn stopping_takes_the_packets_that_wait_and_sends_the_flows() {
    let source = Script::new(&[&[1], &[2], &[3]], || Ok(Batch::Timeout));
    let woken = Arc::clone(&source.woken);
    let (capture, sink) = start(source, &clock());
    let handle = capture.handle().clone();
    assert!(!capture.is_finished());
    let report = capture.stop().expect("no error");
    assert_eq!((report.packets.received, sink.all().len()), (3, 3));
    assert_eq!(
        woken.load(Ordering::Relaxed),
        1,
        "a waiting source is woken"
    );
    assert_eq!(
        handle
            .query(&FlowQuery::default())
            .expect("nothing")
            .flows
            .len(),
        0
    );
    assert_eq!(handle.report(LONG), None);
}

#[test]
fn dropping_a_capture_stops_it() {
    let (capture, sink) = start(Script::new(&[&[1]], || Ok(Batch::Timeout)), &clock());
    drop(capture);
    assert_eq!(sink.all().len(), 1);
}

#[test]
fn a_source_that_fails_ends_the_capture_after_its_flows_are_sent() {
    let removed = || Err(CaptureError::InterfaceRemoved("eth0".to_owned()));
    let (capture, sink) = start(Script::new(&[&[1, 2]], removed), &clock());
    while !capture.is_finished() {
        thread::yield_now();
    }
    let error = capture.stop().expect_err("the reason");
    assert_eq!(error.to_string(), r#"interface "eth0" was removed"#);
    assert_eq!(sink.all().len(), 2);
}

#[test]
fn a_step_of_the_clock_is_counted_and_expires_nothing() {
    let clock = clock();
    let (capture, sink) = start(Script::new(&[&[1]], || Ok(Batch::Timeout)), &clock);
    let report = || capture.handle().report(LONG).expect("an answer");
    while report().packets.received < 1 {}
    for by_ms in [86_400_000, -86_400_000] {
        let before = report().flows.clock_steps;
        clock.step(by_ms);
        while report().flows.clock_steps == before {}
        assert_eq!(report().flows.clock_step_ms, by_ms);
    }
    assert!(sink.all().is_empty(), "no timer was due");
    // The time without packets is still measured.
    clock.advance(Duration::from_secs(61));
    while sink.all().is_empty() {
        thread::yield_now();
    }
    drop(capture);
}

#[test]
fn the_timers_follow_the_clock() {
    let clock = clock();
    let (capture, sink) = start(Script::new(&[&[1]], || Ok(Batch::Timeout)), &clock);
    while capture
        .handle()
        .report(LONG)
        .expect("an answer")
        .packets
        .received
        < 1
    {}
    assert!(sink.all().is_empty(), "not before the update is due");
    clock.advance(Duration::from_secs(61));
    while sink.all().is_empty() {
        thread::yield_now();
    }
    assert_eq!(sink.all()[0].finish_type, FinishType::NotFinished);
    drop(capture);
}
