//! Assignment of packets to the flows with their key.

use super::*;

/// Returns start, packets of both ends, and finish type of the flows, sorted by start.
fn spans(table: &FlowTable) -> Vec<(i64, i64, i64, FinishType)> {
    let mut spans: Vec<_> = flows(table)
        .iter()
        .map(|flow| {
            let metric = flow.metric.unwrap();
            let (ab, ba) = (metric.ab_packets, metric.ba_packets);
            (flow.start, ab, ba, flow.finish_type)
        })
        .collect();
    spans.sort_unstable_by_key(|span| span.0);
    spans
}

use FinishType::{NotFinished, Replaced, TcpFin, TcpRst};

#[test]
fn silence_beyond_the_hold_begins_a_flow() {
    let mut table = table();
    for at in [0, 600_000, 1_200_001] {
        feed(&mut table, at, &udp(A, B, &[]));
    }
    assert_eq!(
        spans(&table),
        [(0, 2, 0, NotFinished), (1_200_001, 1, 0, NotFinished)]
    );
    // In recorded values, timers determine the end of a flow, and no timer has run.
    let mut table = recorded();
    for at in [0, 600_000, 1_200_001] {
        feed(&mut table, at, &udp(A, B, &[]));
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn a_wrong_date_is_a_flow_of_its_own() {
    let mut table = table();
    let hour = 3_600_000;
    for at in [
        hour,
        9 * hour,
        hour + 1,
        hour - 600_000,
        hour + 2,
        9 * hour + 1,
    ] {
        feed(&mut table, at, &udp(A, B, &[]));
    }
    assert_eq!(
        spans(&table),
        [
            (hour - 600_000, 4, 0, NotFinished),
            (9 * hour, 2, 0, NotFinished)
        ]
    );
    // At most two flows with the same key receive packets; all packets are counted, and all flows
    // are sent.
    for day in 1..50 {
        feed(&mut table, day * 86_400_000, &udp(A, B, &[]));
    }
    assert_eq!(table.len(), 51);
    let mut sent: Vec<Flow> = Vec::new();
    table.flush(&mut sent);
    assert_eq!((table.len(), sent.len()), (0, 51));
}

#[test]
fn a_finished_flow_takes_late_packets_for_15_s() {
    let mut table = table();
    feed(&mut table, 0, &tcp(A, B, FIN | ACK));
    feed(&mut table, 1, &tcp(B, A, FIN | ACK));
    feed(&mut table, 15_001, &tcp(A, B, ACK));
    feed(&mut table, 30_002, &tcp(A, B, ACK));
    assert_eq!(
        spans(&table),
        [(0, 2, 1, TcpFin), (30_002, 1, 0, NotFinished)]
    );
}

#[test]
fn a_new_connection_begins_a_flow() {
    let mut table = table();
    let syn = |number| tcp_numbered(A, B, SYN, number, 0);
    feed(&mut table, 0, &syn(100));
    feed(&mut table, 5, &tcp_numbered(B, A, RST | ACK, 0, 101));
    // The same number is the same attempt (C11), which is measured once (B3).
    feed(&mut table, 1_000, &syn(100));
    assert_eq!(spans(&table), [(0, 2, 1, TcpRst)]);
    assert_eq!(only(&table).metric.unwrap().rtt, 5_000_000);
    feed(&mut table, 2_000, &syn(200));
    feed(&mut table, 2_001, &syn(300));
    // Unanswered attempts are one flow (C12).
    assert_eq!(
        spans(&table),
        [(0, 2, 1, TcpRst), (2_000, 2, 0, NotFinished)]
    );
}

#[test]
fn a_syn_into_an_open_connection_is_an_attempt_beside_it() {
    let mut table = table();
    let feed_all = |table: &mut FlowTable, packets: &[(i64, Vec<u8>)]| {
        for (at, frame) in packets {
            feed(table, *at, frame);
        }
    };
    let open = [
        (0, tcp_numbered(A, B, SYN, 100, 0)),
        (1, tcp_numbered(B, A, SYN | ACK, 500, 101)),
        (2, tcp_numbered(A, B, ACK, 101, 501)),
        (10, tcp_numbered(A, B, SYN, 900, 0)),
        (11, tcp_numbered(B, A, ACK, 501, 101)),
    ];
    feed_all(&mut table, &open);
    assert_eq!(
        spans(&table),
        [(0, 2, 2, NotFinished), (10, 1, 0, NotFinished)]
    );
    // The answer makes the attempt the current connection (C13).
    let taken = [
        (20, tcp_numbered(B, A, SYN | ACK, 700, 901)),
        (21, tcp_numbered(A, B, ACK, 901, 701)),
    ];
    feed_all(&mut table, &taken);
    assert_eq!(
        spans(&table),
        [(0, 2, 2, Replaced), (10, 2, 1, NotFinished)]
    );
}

#[test]
fn attempts_beside_a_connection_are_one_flow() {
    let mut table = table();
    for (at, frame) in [
        (0, tcp_numbered(A, B, SYN, 100, 0)),
        (1, tcp_numbered(B, A, SYN | ACK, 500, 101)),
        (2, tcp_numbered(A, B, ACK, 101, 501)),
        (10, tcp_numbered(A, B, SYN, 900, 0)),
        (11, tcp_numbered(B, A, RST | ACK, 0, 901)),
    ] {
        feed(&mut table, at, &frame);
    }
    let first = (0, 2, 1, NotFinished);
    assert_eq!(spans(&table), [first, (10, 1, 1, TcpRst)]);
    // Neither the timers nor its own idle time end the attempt while the connection is open.
    update(&mut table, 60_000);
    expire(&mut table, 60_001);
    expire(&mut table, 90_000);
    feed(&mut table, 100_000, &tcp_numbered(A, B, SYN, 950, 0));
    assert_eq!(spans(&table), [first, (10, 2, 1, TcpRst)]);
    // The end of the attempt is the end of the connection.
    update(&mut table, 600_002);
    assert_eq!(table.len(), 2);
    update(&mut table, 600_003);
    assert_eq!(spans(&table), [first]);
}

#[test]
fn a_step_of_the_clock_ends_no_flow() {
    let mut table = FlowTable::new(
        FlowTableOptions::default()
            .with_extra_tcp_metric(true)
            .with_final_only(false),
    );
    let hour = 3_600_000;
    feed(&mut table, hour, &tcp_numbered(A, B, SYN, 9, 0));
    // The clock is set ahead by a day, so that the answer has a later date.
    table.step_clock(ms(hour + 5), 24 * hour);
    feed(
        &mut table,
        25 * hour + 8,
        &tcp_numbered(B, A, SYN | ACK, 5, 10),
    );
    let flow = only(&table);
    assert_eq!((flow.start, flow.last), (hour, 25 * hour + 8));
    let metric = flow.metric.unwrap();
    assert_eq!((metric.rtt, metric.last), (8_000_000, 25 * hour + 8));
    let times = flow.tcp_metric.unwrap();
    assert_eq!(
        (times.ab_syn_start, times.ba_syn_start),
        (hour, 25 * hour + 8)
    );
    // The timers continue in steady time. The clock is then set back again.
    let sent = update(&mut table, hour + 60_000);
    let interval = sent[0].last_update_metric.unwrap();
    assert_eq!((interval.start, interval.last), (hour, 25 * hour + 60_000));
    table.step_clock(ms(hour + 70_000), -24 * hour);
    feed(&mut table, hour + 90_000, &tcp(A, B, ACK));
    let flow = only(&table);
    assert_eq!((flow.start, flow.last), (hour, hour + 90_000));
    assert!(expire(&mut table, hour + 100_000).is_empty());
    assert_eq!(table.stats().clock_steps, 2);
    // In recorded values, the flow has the timestamps of the packets.
    let mut table = recorded();
    table.step_clock(ms(5), 24 * hour);
    assert_eq!(table.stats().clock_steps, 0);
}

#[test]
fn a_record_of_one_key_and_time_has_its_own_uuid() {
    let uuids = |table: &FlowTable| {
        let mut uuids: Vec<_> = flows(table).iter().map(|flow| flow.uuid.clone()).collect();
        let count = uuids.len();
        uuids.sort_unstable();
        uuids.dedup();
        (uuids.len(), count)
    };
    // C11: three connections within a millisecond.
    let mut reused = table();
    for number in [100, 200, 300] {
        feed(&mut reused, 1, &tcp_numbered(A, B, SYN, number, 0));
        feed(
            &mut reused,
            1,
            &tcp_numbered(B, A, RST | ACK, 0, number + 1),
        );
    }
    assert_eq!(uuids(&reused), (3, 3));
    assert!(
        flows(&reused)
            .iter()
            .all(|flow| flow.network.as_ref().unwrap().id == 0)
    );
    // A flow is evicted, and its next packet begins it again.
    let mut full = FlowTable::new(FlowTableOptions::default().with_max_entries(1));
    let mut sent: Vec<Flow> = Vec::new();
    for port in [1, 2, 1, 2] {
        feed(&mut full, 1, &udp(End(1, port), B, &[]));
    }
    full.flush(&mut sent);
    let mut different: Vec<_> = sent.iter().map(|flow| flow.uuid.clone()).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!((sent.len(), different.len()), (4, 4));
}

#[test]
fn ends_of_a_silent_flow_outlive_a_finished_one() {
    let mut table = table();
    feed(&mut table, 0, &tcp(B, A, FIN | ACK));
    feed(&mut table, 1, &tcp(A, B, FIN | ACK));
    feed(&mut table, 100_000, &tcp_numbered(A, B, SYN, 7, 0));
    feed(&mut table, 100_001, &tcp_numbered(B, A, SYN | ACK, 9, 8));
    // The server sends the first packet after a long pause.
    feed(&mut table, 800_000, &tcp(B, A, ACK));
    let last = flows(&table)
        .into_iter()
        .max_by_key(|flow| flow.start)
        .unwrap();
    assert_eq!(last.transport.unwrap().a, i64::from(A.1));
    assert_eq!(last.initiator.unwrap().by.as_str(), "KEPT");
}

#[test]
fn ends_of_a_flow_before_a_finished_one_are_forgotten() {
    let mut table = table();
    let connection = [
        (0, tcp_numbered(A, B, SYN, 100, 0)),
        (1, tcp_numbered(B, A, SYN | ACK, 500, 101)),
        (2, tcp_numbered(A, B, ACK, 101, 501)),
    ];
    for (at, frame) in &connection {
        feed(&mut table, *at, frame);
    }
    // The latest flow with the key is an attempt that was rejected.
    feed(&mut table, 10, &tcp_numbered(A, B, SYN, 900, 0));
    feed(&mut table, 11, &tcp_numbered(B, A, RST | ACK, 0, 901));
    feed(&mut table, 700_000, &tcp(B, A, ACK));
    let opener = |table: &FlowTable| {
        let flows = flows(table).into_iter();
        let last = flows.max_by_key(|flow| flow.start).unwrap();
        let by = last.initiator.unwrap().by;
        (last.transport.unwrap().a, by.as_str().to_owned())
    };
    let by_port = (i64::from(B.1), "PORT".to_owned());
    assert_eq!(opener(&table), by_port);
    // The same holds if the earlier flow is removed after the attempt.
    let mut sent: Vec<Flow> = Vec::new();
    table.flush(&mut sent);
    for (at, frame) in &connection {
        feed(&mut table, 1_000_000 + at, frame);
    }
    feed(&mut table, 1_700_000, &tcp_numbered(A, B, SYN, 900, 0));
    feed(
        &mut table,
        1_700_001,
        &tcp_numbered(B, A, RST | ACK, 0, 901),
    );
    update(&mut table, 1_800_000);
    expire(&mut table, 1_800_001);
    expire(&mut table, 1_800_002);
    assert!(table.is_empty());
    feed(&mut table, 1_900_000, &tcp(B, A, ACK));
    assert_eq!(opener(&table), by_port);
}
