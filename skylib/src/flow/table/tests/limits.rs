//! Limits: eviction from a full table, and memory use.

use super::*;

#[test]
fn the_least_recently_used_flow_makes_room_and_is_sent() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_max_entries(3));
    for port in 1..=3 {
        feed(&mut table, i64::from(port), &tcp(End(1, port), B, ACK));
    }
    feed(&mut table, 4, &tcp(End(1, 1), B, ACK));
    feed(&mut table, 5, &tcp(End(1, 4), B, ACK));
    let ports = |flows: &[Flow]| -> Vec<i64> {
        let mut ports: Vec<_> = flows.iter().map(|flow| flow.transport.unwrap().a).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(ports(&flows(&table)), [1, 3, 4]);
    let mut sent: Vec<Flow> = Vec::new();
    table.tick(ms(6), &mut sent);
    assert_eq!(ports(&sent), [2]);
    assert_eq!(sent[0].finish_type, FinishType::NotFinished);
    assert_eq!(sent[0].last_update_metric.unwrap().ab_packets, 1);
    assert_eq!(table.stats().evicted, 1);
}

#[test]
fn a_flow_always_finds_a_record_number() {
    let table = FlowTable::new(FlowTableOptions::default().with_max_entries(usize::MAX));
    assert_eq!(table.limit, MAX_ENTRIES, "the next flow evicts one");
}

#[test]
fn a_parent_that_is_evicted_still_names_its_child() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_max_entries(1));
    feed(&mut table, 1, &vxlan(3, 4, &tcp(A, B, ACK)));
    let inner = only(&table);
    let mut sent: Vec<Flow> = Vec::new();
    table.tick(ms(2), &mut sent);
    assert_eq!(inner.parent_uuid, sent[0].uuid);
}

#[test]
fn evicted_flows_that_are_not_fetched_are_counted() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_max_entries(1));
    for port in 0..20_000 {
        feed(&mut table, 1, &tcp(End(1, port), B, ACK));
    }
    let stats = table.stats();
    assert_eq!((stats.created, stats.evicted), (20_000, 19_999));
    assert_eq!(stats.evicted_unsent, 19_999 - (1 << 14));
    let mut sent: Vec<Flow> = Vec::new();
    table.tick(ms(1), &mut sent);
    assert_eq!(sent.len(), 1 << 14);
}

#[test]
fn memory_stays_within_its_bound() {
    let bound = 1 << 20;
    let options = FlowTableOptions::default()
        .with_max_bytes(bound)
        .with_extra_tcp_metric(true);
    let mut table = FlowTable::new(options);
    let mut sent: Vec<Flow> = Vec::new();
    for round in 0..3_i64 {
        for port in 0..20_000 {
            feed(&mut table, 100 * round, &tcp(End(1, port), B, SYN));
            feed(&mut table, 100 * round, &tcp(End(1, port), B, ACK));
        }
        table.update(ms(100 * round + 50), &mut sent);
        sent.clear();
    }
    let stats = table.stats();
    assert!(stats.bytes <= bound, "{} of {bound} bytes", stats.bytes);
    assert!(stats.flows >= 1200, "{} flows", stats.flows);
    assert_eq!(stats.evicted, stats.created - stats.flows as u64);
}

#[test]
fn records_are_used_again() {
    let mut table = table();
    let mut sent: Vec<Flow> = Vec::new();
    for round in 0..10_i64 {
        for port in 0..3000 {
            feed(&mut table, round, &tcp(End(1, port), B, FIN));
            feed(&mut table, round, &tcp(B, End(1, port), FIN));
        }
        assert_eq!(table.len(), 3000);
        table.flush(&mut sent);
        table.update(ms(round), &mut sent);
    }
    assert_eq!(sent.len(), 30_000);
    assert!(table.arena.bytes() <= 3000 * 192);
    assert!(table.touched.is_empty() && table.finishing.is_empty());
}

#[test]
fn a_flow_takes_about_two_hundred_bytes() {
    let mut table = table();
    let count = 1 << 17;
    for number in 0..count {
        let [_, net, port @ ..] = u32::to_be_bytes(number);
        feed(
            &mut table,
            1,
            &tcp(End(net, u16::from_be_bytes(port)), B, ACK),
        );
    }
    assert_eq!(table.len(), count as usize);
    let each = table.stats().bytes / count as usize;
    assert!(each <= 240, "{each}");
}

#[test]
fn flows_of_several_capture_points_take_as_little() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_max_bytes(64 << 20));
    let count = 1 << 17;
    for number in 0..count {
        let [_, net, port @ ..] = u32::to_be_bytes(number);
        let frame = tcp(End(net, u16::from_be_bytes(port)), B, ACK);
        feed_at_point(&mut table, CapturePoint::new(number % 3), &frame);
    }
    assert_eq!((table.len(), table.stats().evicted), (count as usize, 0));
    let each = table.stats().bytes / count as usize;
    assert!(each <= 256, "{each}");
}

#[test]
fn without_updates_the_touched_list_is_empty() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_final_only(true));
    // The last packet belongs to a flow that an update has already visited.
    for now in [1, 2, 3] {
        feed(&mut table, now, &tcp(A, B, ACK));
        feed(&mut table, now, &tcp(End(7, now as u16), B, ACK));
        assert!(table.touched.is_empty());
        table.update(Timestamp::from_ms(now), &mut Vec::new());
    }
    let mut sent = Vec::new();
    table.flush(&mut sent);
    assert_eq!(sent.len(), 4);
}

#[test]
fn paths_beyond_the_interning_limit_are_stored_with_their_flows() {
    let mut table = table();
    // Two kinds of extension headers in every order: more paths than are interned.
    let count = 6000_u16;
    for pattern in 1..count {
        let mut extensions = Vec::new();
        let kinds = (0..pattern.ilog2()).map(|bit| [60, 51][usize::from(pattern >> bit & 1)]);
        let kinds: Vec<u8> = kinds.chain([17]).collect();
        for pair in kinds.windows(2) {
            extensions.extend([pair[1], u8::from(pair[0] != 60), 1, 4, 0, 0, 0, 0]);
            extensions.resize(extensions.len() + if pair[0] == 51 { 4 } else { 0 }, 0);
        }
        extensions.extend(udp_datagram(5, 6, &[]));
        let len = u16::try_from(extensions.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], kinds[0], 64];
        packet.extend([[0xfd; 16], [0xfe; 16]].concat());
        packet.extend(extensions);
        let mut frame = ethernet(0, 2, 0x86dd, &packet);
        frame[10..12].copy_from_slice(&pattern.to_be_bytes());
        feed(&mut table, 1, &frame);
    }
    let flows = flows(&table);
    let paths: std::collections::BTreeSet<_> = flows
        .iter()
        .map(|flow| flow.layers_path.to_string())
        .collect();
    assert_eq!(paths.len(), flows.len());
    assert_eq!(flows.len(), usize::from(count) - 1);
    assert!(flows.iter().all(|flow| flow.application.as_str() == "UDP"));
    let wanted = "Ethernet/IPv6/IPv6Destination/IPSecAH/IPSecAH/UDP";
    assert!(paths.contains(wanted), "{:?}", paths.iter().next_back());
}
