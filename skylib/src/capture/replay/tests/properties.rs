//! Changes to a capture that do not affect its flows (rules D1, D4, and E1 to E3 of
//! `docs/flows.md`).

use super::conversations::{Sent, capture, conversations};
use super::*;

fn options() -> FlowTableOptions {
    FlowTableOptions::default()
        .with_final_only(true)
        .with_reassemble_tcp(true)
        .with_extra_rtt_metric(true)
}

/// Returns the flows of packets, in a stable order. Their last interval is removed, because it
/// depends on the timers, which follow the whole file.
fn flows(packets: &[Sent], replay: &Replay) -> Vec<Flow> {
    let mut flows = Vec::new();
    replay
        .run(&mut source(capture(packets)), &mut flows)
        .expect("no damage");
    for flow in &mut flows {
        flow.last_update_metric = None;
    }
    flows.sort_by_key(|flow| (flow.start, flow.uuid.clone()));
    flows
}

fn of(packets: &[Sent], passes: impl Fn(u16) -> bool) -> Vec<Sent> {
    let packets = packets.iter().filter(|packet| passes(packet.port));
    packets.cloned().collect()
}

#[test]
fn the_flows_of_a_part_are_those_of_the_whole() {
    let replay = Replay::new(options());
    for seed in 0..30 {
        let packets = conversations(seed);
        let whole = flows(&packets, &replay);
        assert!(whole.len() >= 10);
        let by_port = |flow: &&Flow, port: u16| {
            let ports = flow.transport.as_ref().map(|ports| [ports.a, ports.b]);
            ports.is_some_and(|ports| ports.contains(&i64::from(port)))
        };
        for port in 1000..1010 {
            let alone = flows(&of(&packets, |other| other == port), &replay);
            let wanted = whole.iter().filter(|flow| by_port(flow, port));
            assert_eq!(alone, wanted.cloned().collect::<Vec<_>>(), "seed {seed}");
        }
        // Removing half of the conversations has no effect on the others.
        let half = flows(&of(&packets, |port| port % 2 == 0), &replay);
        let wanted = whole.iter().filter(|flow| half.contains(flow));
        assert_eq!(half.len(), wanted.count(), "seed {seed}");
    }
}

#[cfg(feature = "pcap")]
#[test]
fn a_filter_gives_the_flows_of_the_whole() {
    use crate::capture::BpfFilter;
    for seed in 0..10 {
        let packets = conversations(seed);
        let whole = flows(&packets, &Replay::new(options()));
        let text = "port 1001 or (vlan and port 1001)";
        let filter = BpfFilter::parse(text).expect("valid");
        for threads in 1..=3 {
            let threads = NonZeroUsize::new(threads).expect("a number");
            let replay = Replay::new(options()).with_threads(threads);
            let filtered = flows(&packets, &replay.with_filter(filter.clone()));
            let wanted = whole.iter().filter(|flow| {
                let ports = flow.transport.as_ref().map(|ports| [ports.a, ports.b]);
                ports.is_some_and(|ports| ports.contains(&1001))
            });
            assert_eq!(filtered, wanted.cloned().collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn more_threads_meter_conversations_alike() {
    for seed in 0..10 {
        let packets = conversations(seed);
        let (stats, wanted) = by_threads(&capture(&packets), &options(), 1);
        for threads in 2..=4 {
            let (other_stats, other) = by_threads(&capture(&packets), &options(), threads);
            assert_eq!(other_stats, stats, "seed {seed}, {threads} threads");
            assert_eq!(other, wanted, "seed {seed}, {threads} threads");
        }
    }
}

#[test]
fn other_times_change_only_times() {
    let replay = Replay::new(options());
    for (seed, shift) in (0..10).flat_map(|seed| [(seed, 86_400_000), (seed, -1_599_999_999_000)]) {
        let packets = conversations(seed);
        let shifted: Vec<Sent> = packets
            .iter()
            .map(|packet| Sent {
                at: packet.at + shift,
                ..packet.clone()
            })
            .collect();
        // UUIDs contain the start.
        let mut wanted = flows(&packets, &replay);
        for flow in &mut wanted {
            (flow.start, flow.last) = (flow.start + shift, flow.last + shift);
            let metric = flow.metric.as_mut().expect("counters");
            (metric.start, metric.last) = (metric.start + shift, metric.last + shift);
            let tcp = flow.tcp_metric.as_mut();
            for time in tcp.into_iter().flat_map(|tcp| {
                [
                    &mut tcp.ab_syn_start,
                    &mut tcp.ba_syn_start,
                    &mut tcp.ab_fin_start,
                    &mut tcp.ba_fin_start,
                    &mut tcp.ab_rst_start,
                    &mut tcp.ba_rst_start,
                ]
            }) {
                *time += if *time == 0 { 0 } else { shift };
            }
        }
        let mut found = flows(&shifted, &replay);
        for list in [&mut wanted, &mut found] {
            list.iter_mut().for_each(|flow| flow.uuid = "".into());
            list.sort_by_key(|flow| (flow.start, flow.tracking_id.clone(), flow.last));
        }
        assert_eq!(found, wanted, "seed {seed}");
    }
}

#[test]
fn slight_reordering_changes_no_counter() {
    let replay = Replay::new(options());
    let counters = |packets: &[Sent]| -> Vec<_> {
        let flows = flows(packets, &replay);
        let mut counters: Vec<_> = flows
            .iter()
            .map(|flow| {
                let ports = flow.transport.as_ref().map(|ports| [ports.a, ports.b]);
                let ports = ports.unwrap_or_default();
                let metric = flow.metric.expect("counters");
                let packets = metric.ab_packets + metric.ba_packets;
                let bytes = metric.ab_bytes + metric.ba_bytes;
                (
                    ports.iter().min().copied(),
                    flow.start,
                    flow.last,
                    packets,
                    bytes,
                )
            })
            .collect();
        counters.sort_unstable();
        counters
    };
    for seed in 0..30 {
        let packets = conversations(seed);
        let mut disordered = packets.clone();
        // Neighbors up to half a second apart are swapped, as in captures of several queues. An
        // answer before its SYN would belong to the earlier connection of the ports.
        for at in (1..disordered.len()).step_by(2) {
            let (one, two) = (&disordered[at - 1], &disordered[at]);
            if two.at - one.at < 500 && !one.is_syn && !two.is_syn {
                disordered.swap(at - 1, at);
            }
        }
        assert_eq!(counters(&disordered), counters(&packets), "seed {seed}");
    }
}
