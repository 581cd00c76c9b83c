//! Benchmark of the flow table: time per packet, and time per exported flow.
//!
//! `hit`: packets of existing flows; `miss`: each packet creates a flow; `mixed`: 100 000 flows
//! with a Zipf distribution into an empty table; `tunnel`: one pair of tunnel endpoints; `evict`:
//! only new flows into a full table. `update`, `json`, and `protobuf` measure the time per exported
//! flow. All other figures include decoding, which the benchmark `decode` measures separately.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use skylib::flow::{Flow, FlowTable, FlowTableOptions};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use skylib::time::Timestamp;

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow_table");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));

    for flows in [64, 1_000, 100_000, 1_000_000] {
        let packets = Packets::new((0..1 << 17).map(|i: u32| i.wrapping_mul(0x9e37_79b1) % flows));
        let known = Packets::new(0..flows);
        let mut table = new_table();
        table.process(&known.batch());
        assert_eq!(table.len(), flows as usize);
        group.throughput(Throughput::Elements(packets.headers.len() as u64));
        group.bench_function(BenchmarkId::new("hit", flows), |bencher| {
            bencher.iter(|| table.process(&packets.batch()));
        });
        assert_eq!(table.len(), flows as usize, "no packet began a flow");
    }

    for flows in [10_000, 500_000] {
        let packets = Packets::new(0..flows);
        group.throughput(Throughput::Elements(packets.headers.len() as u64));
        group.bench_function(BenchmarkId::new("miss", flows), |bencher| {
            bencher.iter_batched_ref(
                new_table,
                |table| table.process(&packets.batch()),
                BatchSize::PerIteration,
            );
        });
    }

    let packets = Packets::new(zipf(100_000, 1 << 19));
    group.throughput(Throughput::Elements(packets.headers.len() as u64));
    group.bench_function("mixed", |bencher| {
        bencher.iter_batched_ref(
            new_table,
            |table| table.process(&packets.batch()),
            BatchSize::PerIteration,
        );
    });

    let packets = Packets::tunneled(zipf(10_000, 1 << 17));
    let mut table = new_table();
    group.throughput(Throughput::Elements(packets.headers.len() as u64));
    group.bench_function("tunnel", |bencher| {
        bencher.iter(|| table.process(&packets.batch()));
    });

    let packets = Packets::new(0..200_000);
    group.throughput(Throughput::Elements(packets.headers.len() as u64));
    group.bench_function("evict", |bencher| {
        let options = FlowTableOptions::default()
            .with_max_entries(50_000)
            .with_seed(1);
        let mut table = FlowTable::new(options);
        table.process(&packets.batch());
        let mut sent: Vec<Flow> = Vec::new();
        table.tick(Timestamp::from_ms(1), &mut sent);
        let unsent = table.stats().evicted_unsent;
        bencher.iter(|| {
            // The owner ticks between batches, which sends the evicted flows.
            for headers in packets.headers.chunks(4096) {
                table.process(&PacketBatch {
                    headers,
                    ..packets.batch()
                });
                table.tick(Timestamp::from_ms(1), &mut sent);
                sent.clear();
            }
        });
        assert_eq!(
            table.stats().evicted_unsent,
            unsent,
            "all evicted flows are sent"
        );
    });
    group.finish();
}

fn export(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow_export");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    let packets = Packets::new(0..50_000);
    group.throughput(Throughput::Elements(packets.headers.len() as u64));
    let full_table = || {
        let mut table = new_table();
        table.process(&packets.batch());
        table
    };
    group.bench_function("update", |bencher| {
        bencher.iter_batched_ref(
            full_table,
            |table| {
                let mut sent: Vec<Flow> = Vec::new();
                table.update(Timestamp::from_ms(60_000), &mut sent);
                sent
            },
            BatchSize::PerIteration,
        );
    });
    let mut sent: Vec<Flow> = Vec::new();
    full_table().update(Timestamp::from_ms(60_000), &mut sent);
    assert_eq!(sent.len(), 50_000);
    group.bench_function("json", |bencher| {
        let mut bytes = Vec::new();
        bencher.iter(|| {
            bytes.clear();
            serde_json::to_writer(&mut bytes, &sent).expect("flows are always JSON");
            black_box(bytes.len())
        });
    });
    group.bench_function("protobuf", |bencher| {
        let mut bytes = Vec::new();
        bencher.iter(|| {
            bytes.clear();
            for flow in &sent {
                flow.encode(&mut bytes).expect("a vector accepts all bytes");
            }
            black_box(bytes.len())
        });
    });
    group.finish();
}

fn new_table() -> FlowTable {
    FlowTable::new(
        FlowTableOptions::default()
            .with_max_entries(2_000_000)
            .with_seed(1),
    )
}

/// Frames of 60 bytes in one buffer.
struct Packets {
    buffer: Vec<u8>,
    headers: Vec<PacketHeader>,
}

impl Packets {
    /// Returns TCP segments of the flows with these numbers, in both directions.
    fn new(flows: impl Iterator<Item = u32>) -> Self {
        let mut packets = Self {
            buffer: Vec::new(),
            headers: Vec::new(),
        };
        for (at, flow) in (0..).zip(flows) {
            packets.push(&frame(flow, at % 3 == 0));
        }
        packets
    }

    /// Returns the same segments in VXLAN, between one pair of endpoints.
    fn tunneled(flows: impl Iterator<Item = u32>) -> Self {
        let mut packets = Self {
            buffer: Vec::new(),
            headers: Vec::new(),
        };
        for (at, flow) in (0..).zip(flows) {
            let mut outer = vec![2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 0x08, 0];
            outer.extend([
                0x45, 0, 0, 96, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2,
            ]);
            outer.extend([0xc3, 0x50, 0x12, 0xb5, 0, 76, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0]);
            outer.extend(frame(flow, at % 3 == 0));
            packets.push(&outer);
        }
        packets
    }

    fn push(&mut self, frame: &[u8]) {
        let offset = self.buffer.len() as u32;
        let len = frame.len() as u32;
        self.buffer.extend(frame);
        let timestamp = Timestamp::from_ms(1_600_000_000_000);
        self.headers.push(PacketHeader {
            timestamp,
            offset,
            captured_len: len,
            wire_len: len,
            point: CapturePoint::ONLY,
        });
    }

    fn batch(&self) -> PacketBatch<'_> {
        PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: &self.buffer,
            headers: &self.headers,
        }
    }
}

fn frame(flow: u32, is_reply: bool) -> Vec<u8> {
    let [_, net, high, low] = flow.to_be_bytes();
    let client = ([2, 0, 0, 0, 0, 1], [10, 0, net, 1], [high, low]);
    let server = ([2, 0, 0, 0, 0, 2], [10, 0, 0, 2], [0, 80]);
    let (from, to) = if is_reply {
        (server, client)
    } else {
        (client, server)
    };
    let mut frame = [to.0, from.0].concat();
    frame.extend([0x08, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend([from.1, to.1].concat());
    frame.extend([from.2, to.2].concat());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.resize(60, 0);
    frame
}

/// Returns `packets` flow numbers with a Zipf distribution: the nth flow is about 1/n as frequent
/// as the first.
fn zipf(flows: u32, packets: usize) -> impl Iterator<Item = u32> {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let span = f64::from(flows).ln();
    (0..packets).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let fraction = (state >> 11) as f64 / (1_u64 << 53) as f64;
        ((fraction * span).exp() as u32).min(flows) - 1
    })
}

criterion_group!(benches, table, export);
criterion_main!(benches);
