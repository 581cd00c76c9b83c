//! Allocations of the flow table.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use skylib::flow::{ExtraLayers, Flow, FlowTable, FlowTableOptions, LayerKeyMode, PacketFilter};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader, PacketRef};
use skylib::pcap_file::PcapReader;
use skylib::time::Timestamp;

use crate::allocations;

/// All packets of a file as one batch in memory.
pub(crate) struct Packets {
    buffer: Vec<u8>,
    headers: Vec<PacketHeader>,
}

impl Packets {
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let mut packets = Self {
            buffer: Vec::new(),
            headers: Vec::new(),
        };
        let mut reader = PcapReader::new(BufReader::new(File::open(path).ok()?)).unwrap();
        while let Some(batch) = reader.next_batch().unwrap() {
            for packet in batch.iter() {
                packets.push(packet.timestamp, packet.data, packet.wire_len);
            }
        }
        Some(packets)
    }

    fn push(&mut self, timestamp: Timestamp, data: &[u8], wire_len: u32) {
        let offset = u32::try_from(self.buffer.len()).unwrap();
        let captured_len = u32::try_from(data.len()).unwrap();
        self.buffer.extend(data);
        self.headers.push(PacketHeader {
            timestamp,
            offset,
            captured_len,
            wire_len,
            point: CapturePoint::ONLY,
        });
    }

    pub(crate) fn batch(&self) -> PacketBatch<'_> {
        PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: &self.buffer,
            headers: &self.headers,
        }
    }
}

/// Returns TCP segments of `count` connections, one packet each.
fn connections(count: u32) -> Packets {
    let mut packets = Packets {
        buffer: Vec::new(),
        headers: Vec::new(),
    };
    for number in 0..count {
        let [_, net, high, low] = number.to_be_bytes();
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0];
        frame.extend([
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, net, 1, 10, 0, 0, 2,
        ]);
        frame.extend([
            high, low, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 1, 0, 0, 0, 0, 0,
        ]);
        packets.push(Timestamp::from_ms(1), &frame, 60);
    }
    packets
}

#[test]
fn packets_of_known_flows_allocate_nothing() {
    /// A filter that reads every packet and matches it.
    struct NotEmpty;
    impl PacketFilter for NotEmpty {
        fn matches(&self, packet: &PacketRef<'_>) -> bool {
            !packet.data.is_empty()
        }
    }
    let packets = connections(20_000);
    let options = FlowTableOptions::default;
    for options in [
        options().with_extra_tcp_metric(true),
        options().with_layer_key_mode(LayerKeyMode::L3),
        options().with_recorded(true),
        options().with_raw_packet_limit(1),
        options().with_final_only(true).with_max_bytes(64 << 20),
        options().with_application_timeouts(vec![("TCP".into(), Duration::from_secs(10))]),
    ] {
        let mut table = FlowTable::new(options);
        table.set_filter(Some(Box::new(NotEmpty)));
        table.process(&packets.batch());
        let ((), allocations) = allocations::count(|| {
            table.process(&packets.batch());
            table.process(&packets.batch());
        });
        assert_eq!(allocations, 0, "{:?}", table.options());
        assert_eq!(table.stats().packets, 60_000);
    }
}

/// Returns packets with payload for the options: DNS queries, TCP in order, and datagrams of two
/// fragments.
fn inspected() -> Packets {
    let mut packets = Packets {
        buffer: Vec::new(),
        headers: Vec::new(),
    };
    let mut push = |id: u8, fragment: [u8; 2], protocol: u8, payload: &[u8]| {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0];
        frame.push(20 + payload.len() as u8);
        frame.extend([0, id, fragment[0], fragment[1], 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(payload);
        packets.push(Timestamp::from_ms(1), &frame, 60);
    };
    for id in 0..100 {
        let ports = [16, id, 0, 53];
        let dns = [&ports[..], &[0, 20, 0, 0], &[0; 12]].concat();
        push(id, [0, 0], 17, &dns);
        push(id, [0x20, 0], 17, &dns[..16]);
        push(id, [0, 2], 17, &dns[16..]);
        let segment = |sequence: u8, flags: u8| {
            let mut segment = [&ports[..], &[0, 0, 0, sequence, 0, 0, 0, 0, 0x50, flags]].concat();
            segment.extend([0; 6]);
            segment
        };
        push(id, [0, 0], 6, &segment(0, 0x02));
        push(id, [0, 0], 6, &[segment(1, 0x10), vec![0; 5]].concat());
    }
    packets
}

#[test]
fn inspected_packets_allocate_nothing_in_a_warm_table() {
    let packets = inspected();
    let options = FlowTableOptions::default()
        .with_ip_defrag(true)
        .with_reassemble_tcp(true)
        .with_extra_layers(ExtraLayers::ALL);
    let mut table = FlowTable::new(options);
    table.process(&packets.batch());
    table.process(&packets.batch());
    let ((), allocations) = allocations::count(|| table.process(&packets.batch()));
    assert_eq!(allocations, 0);
    assert_eq!(table.stats().fragments.joined, 3 * 200);
}

#[test]
fn flows_in_a_table_that_was_full_before_allocate_nothing() {
    let packets = connections(20_000);
    let mut table = FlowTable::new(FlowTableOptions::default().with_extra_tcp_metric(true));
    let mut sent: Vec<Flow> = Vec::new();
    for _ in 0..2 {
        table.process(&packets.batch());
        table.flush(&mut sent);
        table.update(Timestamp::from_ms(2), &mut sent);
    }
    let ((), allocations) = allocations::count(|| table.process(&packets.batch()));
    assert_eq!(allocations, 0);
    assert_eq!((table.len(), sent.len()), (20_000, 40_000));
}

#[test]
fn a_new_table_allocates_in_chunks() {
    let packets = connections(20_000);
    let mut table = FlowTable::new(FlowTableOptions::default());
    let ((), allocations) = allocations::count(|| table.process(&packets.batch()));
    assert!(allocations < 50, "{allocations}");
}
