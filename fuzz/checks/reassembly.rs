//! Checks of the reassembly of IPv4 fragments and TCP segments in any order. Each six bytes make a
//! packet.

use skylib::flow::{ExtraLayers, Flow, FlowTable, FlowTableOptions};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use skylib::time::Timestamp;

/// Panics if the flow table panics, if a packet is counted twice or not at all, if memory exceeds
/// its limit, or if a counter is negative.
pub(crate) fn check(input: &[u8]) {
    for recorded in [false, true] {
        let mut table = FlowTable::new(
            FlowTableOptions::default()
                .with_ip_defrag(true)
                .with_reassemble_tcp(true)
                .with_extra_layers(ExtraLayers::ALL)
                .with_final_only(true)
                .with_recorded(recorded)
                .with_max_bytes(MAX_BYTES)
                .with_seed(1),
        );
        let mut sent: Vec<Flow> = Vec::new();
        let mut now = 0;
        for step in input.as_chunks::<6>().0 {
            now += i64::from(step[0] >> 3) * 100;
            let frame = packet(*step);
            let headers = [PacketHeader {
                timestamp: Timestamp::from_ms(now),
                offset: 0,
                captured_len: frame.len() as u32,
                wire_len: frame.len() as u32 + u32::from(step[0] & 4) * 25,
                point: CapturePoint::ONLY,
            }];
            let batch = PacketBatch {
                link_type: LinkType::ETHERNET,
                buffer: &frame,
                headers: &headers,
            };
            table.replay(&batch, &mut sent);
        }
        let stats = table.stats();
        // The limit is exceeded by at most one chunk, because slabs and lists grow in chunks.
        assert!(stats.bytes <= MAX_BYTES + (1 << 20), "{}", stats.bytes);
        table.flush(&mut sent);
        check_counts(&table, &sent, recorded);
    }
}

fn check_counts(table: &FlowTable, sent: &[Flow], recorded: bool) {
    let stats = table.stats();
    assert!(table.is_empty());
    assert_eq!(sent.len() as u64, stats.created);
    let mut packets = 0;
    for flow in sent {
        let metric = flow.metric.expect("flows of a table have a metric");
        if flow.parent_uuid.is_empty() {
            packets += (metric.ab_packets + metric.ba_packets) as u64;
        }
        if let Some(tcp) = &flow.tcp_metric
            && !recorded
        {
            assert!(tcp.ab_segment_skipped_bytes >= 0 && tcp.ba_segment_skipped_bytes >= 0);
            assert!(tcp.ab_segment_skipped <= tcp.ab_packets);
            assert!(tcp.ba_segment_out_of_order <= tcp.ba_packets);
        }
        let json = serde_json::to_vec(flow).expect("a flow is JSON");
        let again: Flow = serde_json::from_slice(&json).expect("own output is valid");
        assert_eq!(again, *flow);
    }
    if !recorded {
        let left_out = stats.without_flow + stats.fragments.refused + stats.fragments.lost;
        assert_eq!(packets + left_out, stats.packets);
    }
}

/// Returns a fragment or a TCP segment, possibly with a damaged byte.
fn packet([kind, which, offset, length, content, damage]: [u8; 6]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut fragment = [0, 0];
    let protocol = if kind & 1 == 0 {
        let len = usize::from(length & 0x1f) * if length & 0x80 == 0 { 8 } else { 1 };
        payload.extend((0..len).map(|index| (index as u8).wrapping_mul(content)));
        if let Some(ports) = payload.first_chunk_mut::<8>() {
            *ports = [16, content, 0, 53, 0, 0, 0, 0];
        }
        fragment = [u8::from(length & 0x20 != 0) << 5, offset & 0x3f];
        17
    } else {
        payload.extend([16, which >> 4, 0, 80, content & 0x80, 0, offset, content]);
        payload.extend([0, 0, 0, 0, 0x50, content & 0x17, 0, 0, 0, 0, 0, 0]);
        payload.resize(payload.len() + usize::from(length) * 8, 0);
        6
    };
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend([0, which & 7, fragment[0], fragment[1], 64, protocol, 0, 0]);
    let (near, far) = if kind & 2 == 0 { (1, 2) } else { (2, 1) };
    frame.extend([10, 0, 0, near, 10, 0, 0, far]);
    frame.extend(payload);
    if damage & 0xc0 == 0xc0
        && let Some(byte) = frame.get_mut(12 + usize::from(damage & 0x3f))
    {
        *byte ^= content;
    }
    frame
}

const MAX_BYTES: usize = 4 << 20;
