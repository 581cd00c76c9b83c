//! Timers: when flows are sent and removed.

use super::*;

#[test]
fn updates_send_what_the_interval_added() {
    let mut table = table();
    feed_long(&mut table, 1_000, &tcp(A, B, ACK), 100);
    assert_eq!(only(&table).last_update_metric, None);

    let sent = update(&mut table, 60_000);
    let metric = sent[0].last_update_metric.unwrap();
    assert_eq!(
        (metric.ab_bytes, metric.start, metric.last),
        (100, 1_000, 60_000)
    );
    assert_eq!(
        only(&table).last_update_metric,
        Some(metric),
        "queries see the same"
    );

    feed_long(&mut table, 61_000, &tcp(A, B, ACK), 300);
    assert_eq!(
        only(&table).last_update_metric,
        Some(metric),
        "until the next update"
    );
    let sent = update(&mut table, 120_000);
    let metric = sent[0].last_update_metric.unwrap();
    assert_eq!(
        (metric.ab_bytes, metric.start, metric.last),
        (300, 60_000, 120_000)
    );
    assert_eq!(sent[0].metric.unwrap().ab_bytes, 400);

    assert!(
        update(&mut table, 180_000).is_empty(),
        "nothing came, nothing is sent"
    );
    let metric = only(&table).last_update_metric.unwrap();
    assert_eq!(
        (metric.ab_bytes, metric.start, metric.last),
        (0, 120_000, 180_000)
    );

    feed_long(&mut table, 181_000, &tcp(B, A, ACK), 70);
    let metric = only(&table).last_update_metric.unwrap();
    assert_eq!((metric.ba_bytes, metric.start), (0, 120_000));
    let sent = update(&mut table, 240_000);
    let metric = sent[0].last_update_metric.unwrap();
    assert_eq!(
        (metric.ab_bytes, metric.ba_bytes, metric.start),
        (0, 70, 180_000)
    );
    assert_eq!(sent.len(), 1);
}

#[test]
fn the_round_trip_time_of_an_interval_was_measured_in_it() {
    for (mut table, repeated) in [(table(), 0), (recorded(), 5_000_000)] {
        check_round_trip_times(&mut table, repeated);
    }
}

fn check_round_trip_times(table: &mut FlowTable, repeated: i64) {
    feed(table, 1_000, &tcp(A, B, SYN));
    feed(table, 1_005, &tcp(B, A, SYN | ACK));
    assert_eq!(
        update(table, 60_000)[0].last_update_metric.unwrap().rtt,
        5_000_000
    );
    feed(table, 61_000, &tcp(B, A, ACK));
    assert_eq!(
        update(table, 120_000)[0].last_update_metric.unwrap().rtt,
        repeated
    );
}

#[test]
fn a_silent_flow_leaves_at_the_second_expiry() {
    let options = FlowTableOptions::default().with_expiry_interval(Duration::from_secs(10));
    let mut table = FlowTable::new(options);
    feed(&mut table, 1_000, &tcp(A, B, ACK));
    feed(&mut table, 1_000, &udp(A, B, &[]));
    assert!(expire(&mut table, 10_000).is_empty());
    feed(&mut table, 11_000, &udp(A, B, &[]));
    let sent = expire(&mut table, 20_000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].finish_type, FinishType::Timeout);
    let metric = sent[0].last_update_metric.unwrap();
    assert_eq!(
        (metric.ab_packets, metric.start, metric.last),
        (1, 1_000, 1_000)
    );
    assert_eq!(only(&table).application.as_str(), "UDP");
    assert_eq!(expire(&mut table, 30_000).len(), 1);
    assert!(table.is_empty());
}

#[test]
fn expiry_after_an_update_does_not_report_the_last_interval_again() {
    let options = FlowTableOptions::default().with_expiry_interval(Duration::from_secs(2));
    let cases = [
        (options.clone(), (0, 3_000, 3_000)),
        // No update was sent.
        (options.clone().with_final_only(true), (1, 1_000, 3_000)),
        (options.with_recorded(true), (1, 1_000, 3_000)),
    ];
    for (options, wanted) in cases {
        let mut table = FlowTable::new(options);
        feed(&mut table, 1_000, &tcp(A, B, ACK));
        expire(&mut table, 2_000);
        update(&mut table, 3_000);
        let sent = expire(&mut table, 4_000);
        let metric = sent[0].last_update_metric.unwrap();
        assert_eq!((metric.ab_packets, metric.start, metric.last), wanted);
        assert_eq!(sent[0].metric.unwrap().ab_packets, 1);
    }
}

#[test]
fn a_flush_sends_everything() {
    let mut table = table();
    feed(&mut table, 1_000, &tcp(A, B, ACK));
    feed(&mut table, 1_000, &arp(1));
    feed(&mut table, 1_000, &udp(A, B, &[]));
    let mut sent = Vec::new();
    table.flush(&mut sent);
    assert_eq!((table.len(), sent.len()), (0, 3));
    assert!(
        sent.iter()
            .all(|flow| flow.finish_type == FinishType::Timeout)
    );
    let metric = sent[0].last_update_metric.unwrap();
    assert_eq!(
        (metric.start, metric.last),
        (1_000, 1_000),
        "up to the flow's own end"
    );
    feed(&mut table, 3_000, &tcp(A, B, ACK));
    assert_eq!(only(&table).start, 3_000);
}

#[test]
fn a_finished_flow_waits_for_stragglers() {
    let mut table = table();
    feed(&mut table, 1_000, &tcp(A, B, FIN));
    feed(&mut table, 1_000, &tcp(B, A, FIN));
    let sent = update(&mut table, 10_000);
    assert_eq!(sent[0].finish_type, FinishType::TcpFin);
    feed(&mut table, 11_000, &tcp(A, B, ACK));
    assert_eq!(
        update(&mut table, 20_000).len(),
        1,
        "it goes on as the same flow"
    );
    assert_eq!(table.len(), 1);
    assert!(update(&mut table, 30_000).is_empty());
    assert!(table.is_empty());
}

#[test]
fn a_finished_flow_that_had_packets_is_sent_when_it_leaves() {
    for (mut table, wanted) in [(table(), 1), (recorded(), 0)] {
        feed(&mut table, 1_000, &tcp(A, B, FIN));
        feed(&mut table, 1_000, &tcp(B, A, RST));
        update(&mut table, 2_000);
        feed(&mut table, 3_000, &tcp(A, B, FIN));
        let mut sent = Vec::new();
        table.flush(&mut sent);
        assert_eq!(sent.len(), wanted);
    }
}

fn application_timeouts() -> FlowTableOptions {
    let seconds = Duration::from_secs;
    FlowTableOptions::default().with_application_timeouts(vec![
        ("arp".into(), seconds(10)),
        ("Dns".into(), seconds(20)),
    ])
}

#[test]
fn applications_time_out_at_updates() {
    let mut table = FlowTable::new(application_timeouts());
    let query = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
    feed(&mut table, 0, &arp(1));
    feed(&mut table, 0, &udp(A, End(2, 53), &query));
    feed(&mut table, 0, &tcp(A, B, ACK));
    assert_eq!(update(&mut table, 15_000).len(), 3, "touched flows stay");
    let sent = update(&mut table, 16_000);
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].application.as_str(), sent[0].finish_type),
        ("ARP", FinishType::Timeout)
    );
    let metric = sent[0].last_update_metric.unwrap();
    assert_eq!(
        (metric.ab_packets, metric.start, metric.last),
        (0, 15_000, 16_000)
    );
    let sent = update(&mut table, 21_000);
    assert_eq!(sent[0].application.as_str(), "DNS");
    assert_eq!(only(&table).application.as_str(), "TCP");
}

#[test]
fn the_original_timed_out_upper_case_names_only_and_sent_twice() {
    let options = FlowTableOptions::default().with_recorded(true);
    let timeouts = vec![
        ("icmpv4".into(), Duration::from_secs(1)),
        ("arp".into(), Duration::from_secs(1)),
    ];
    let mut table = FlowTable::new(options.with_application_timeouts(timeouts));
    let echo = ethernet(1, 2, 0x0800, &ipv4(1, 2, 1, &[8, 0, 0, 0, 0, 1, 0, 1]));
    feed(&mut table, 0, &echo);
    feed(&mut table, 0, &arp(1));
    update(&mut table, 5_000);
    let sent = update(&mut table, 10_000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].application.as_str(), "ARP");
    let metric = sent[0].last_update_metric.unwrap();
    assert_eq!((metric.ab_packets, metric.last), (1, 5_000));
}

/// Sink that records the number of flows of each call.
#[derive(Default)]
struct Calls(Vec<usize>);

impl FlowSink for Calls {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.0.push(flows.len());
    }
}

#[test]
fn ticks_run_what_is_due() {
    let options = FlowTableOptions::default().with_update_interval(Duration::from_secs(10));
    let mut table = FlowTable::new(options.with_expiry_interval(Duration::from_secs(30)));
    let mut calls = Calls::default();
    table.tick(ms(0), &mut calls);
    feed(&mut table, 1_000, &tcp(A, B, ACK));
    table.tick(ms(9_999), &mut calls);
    assert!(calls.0.is_empty());
    table.tick(ms(10_050), &mut calls);
    assert_eq!(calls.0, [1]);
    let metric = only(&table).last_update_metric.unwrap();
    assert_eq!(metric.last, 10_050, "a little late is late");
    table.tick(ms(59_000), &mut calls);
    assert_eq!((calls.0.len(), table.len()), (1, 1));
    table.tick(ms(60_000), &mut calls);
    assert_eq!(
        (calls.0.len(), table.len()),
        (2, 0),
        "it left at the second expiry"
    );
}

#[test]
fn a_long_pause_is_made_up_for_and_a_mad_clock_is_no_loop() {
    let mut table = table();
    let mut sent: Vec<Flow> = Vec::new();
    table.tick(ms(0), &mut sent);
    feed(&mut table, 1, &tcp(A, B, ACK));
    table.tick(ms(i64::MAX / 1_000_000), &mut sent);
    assert!(table.is_empty());
    assert_eq!(sent.len(), 2, "one update, one expiry");
    assert_eq!(sent[0].last_update_metric.unwrap().last, 60_000);
    feed(&mut table, 1, &tcp(A, B, ACK));
    table.tick(ms(0), &mut sent);
    assert_eq!(table.len(), 1, "a clock that goes back runs nothing");
}

#[test]
fn the_largest_timestamp_is_no_endless_loop() {
    let frame = tcp(A, B, ACK);
    let len = u32::try_from(frame.len()).unwrap();
    let last = PacketHeader {
        timestamp: Timestamp::from_ns(i64::MAX),
        offset: 0,
        captured_len: len,
        wire_len: len,
        point: CapturePoint::ONLY,
    };
    let mut table = table();
    let batch = PacketBatch {
        link_type: LinkType::ETHERNET,
        buffer: &frame,
        headers: &[last; 3],
    };
    table.replay(&batch, &mut Vec::<Flow>::new());
    assert_eq!(table.stats().packets, 3);
}

#[test]
fn a_replay_runs_the_timers_between_packets() {
    let frame = tcp(A, B, ACK);
    let len = u32::try_from(frame.len()).unwrap();
    let at = |timestamp| PacketHeader {
        timestamp: ms(timestamp),
        offset: 0,
        captured_len: len,
        wire_len: len,
        point: CapturePoint::ONLY,
    };
    // 16 consecutive packets advance the clock of a file.
    let times = [0, 1_000, 61_000, 62_000, 3_600_000];
    let headers: Vec<PacketHeader> = times.into_iter().flat_map(|time| [at(time); 16]).collect();
    let batch = PacketBatch {
        link_type: LinkType::ETHERNET,
        buffer: &frame,
        headers: &headers,
    };
    let mut table = table();
    let mut sent: Vec<Flow> = Vec::new();
    table.replay(&batch, &mut sent);
    let reported: Vec<_> = sent
        .iter()
        .map(|flow| {
            (
                flow.metric.unwrap().ab_packets,
                flow.finish_type,
                flow.start,
            )
        })
        .collect();
    let wanted = [
        (48, FinishType::NotFinished, 0),
        (64, FinishType::NotFinished, 0),
        (16, FinishType::NotFinished, 3_600_000),
        (64, FinishType::Timeout, 0),
    ];
    assert_eq!(reported, wanted);
    assert_eq!(
        only(&table).start,
        3_600_000,
        "after an hour it is another flow"
    );
}

#[test]
fn many_flows_are_sent_some_at_a_time() {
    let mut table = table();
    for port in 0..5000 {
        feed(&mut table, 1, &tcp(End(1, port), B, ACK));
    }
    let mut calls = Calls::default();
    table.update(ms(60_000), &mut calls);
    assert_eq!(calls.0, [4096, 904]);
}

#[test]
fn flows_that_are_sent_when_they_leave_are_sent_once() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_final_only(true));
    feed(&mut table, 1_000, &tcp(A, B, ACK));
    feed(&mut table, 1_000, &tcp(End(1, 5), B, RST));
    feed(&mut table, 1_000, &arp(1));
    assert!(update(&mut table, 10_000).is_empty());
    let sent = update(&mut table, 20_000);
    let ends: Vec<_> = sent.iter().map(|flow| flow.finish_type).collect();
    assert_eq!(
        ends,
        [FinishType::TcpRst, FinishType::Timeout],
        "its hold and ARP's time are over"
    );
    let mut sent: Vec<Flow> = Vec::new();
    table.flush(&mut sent);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].metric.unwrap().ab_packets, 1);
}

#[test]
fn an_ended_table_answers_with_what_a_flush_would_send() {
    let mut table = table();
    feed(&mut table, 1_000, &tcp(A, B, ACK));
    feed(&mut table, 1_000, &tcp(End(1, 5), B, RST));
    update(&mut table, 10_000);
    feed(&mut table, 11_000, &tcp(A, B, ACK));
    let mut sent: Vec<Flow> = Vec::new();
    table.end(&mut sent);
    assert!(sent.is_empty());
    let answer = flows(&table);
    let timed_out = FlowQuery {
        filter: Filter::test("FinishType", Predicate::Int(1)),
        ..FlowQuery::default()
    };
    assert_eq!(table.query(&timed_out).unwrap().flows, answer[..1]);
    table.flush(&mut sent);
    assert_eq!(
        sent,
        answer[..1],
        "the other one has been sent by the update"
    );
    assert_eq!(answer[1].finish_type, FinishType::TcpRst);
}
