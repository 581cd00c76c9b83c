//! Benchmark of the decoders of flow exports: time per record or sample.
//!
//! The datagrams are generated: NetFlow 9 and IPFIX with 24 records of 20 fields, sFlow with 7
//! samples of 128 bytes. Templates are repeated every 20 datagrams.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skylib::export::{Export, Intake, IntakeLimits};
use skylib::time::Timestamp;

fn export(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("export");
    for (name, datagrams, records) in [
        ("netflow9", template_datagrams(9), RECORDS),
        ("ipfix", template_datagrams(10), RECORDS),
        ("sflow", vec![sflow_datagram(); DATAGRAMS], SAMPLES),
    ] {
        group.throughput(Throughput::Elements((DATAGRAMS * records) as u64));
        group.bench_function(name, |bencher| {
            let from: SocketAddr = "192.0.2.1:2055".parse().expect("an address");
            let mut intake = Intake::new(IntakeLimits::default());
            bencher.iter(|| {
                let mut bytes = 0;
                for datagram in &datagrams {
                    intake.datagram(from, datagram, Timestamp::ZERO, &mut |_, export| {
                        bytes += match export {
                            Export::Flow(flow) => flow.counters.bytes.unwrap_or(0),
                            Export::Sample(sample) => u64::from(sample.rate),
                            _ => 0,
                        };
                    });
                }
                assert!(bytes > 0, "records were read");
                black_box(bytes)
            });
            assert_eq!(intake.stats().malformed, 0);
        });
    }
    group.finish();
}

/// Elements and lengths of the 20 fields of a record.
const FIELDS: [(u16, u16); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 8),
    (1, 8),
    (152, 8),
    (153, 8),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (61, 1),
    (136, 1),
];
const DATAGRAMS: usize = 200;
const RECORDS: usize = 24;
const SAMPLES: usize = 7;

/// Returns messages of NetFlow 9 or IPFIX.
fn template_datagrams(version: u16) -> Vec<Vec<u8>> {
    (0..DATAGRAMS as u32)
        .map(|number| {
            let mut message = version.to_be_bytes().to_vec();
            message.extend([0, 0]);
            if version == 9 {
                message.extend(1_000_u32.to_be_bytes());
            }
            message.extend(1_700_000_000_u32.to_be_bytes());
            let sequence = if version == 9 {
                number
            } else {
                number * RECORDS as u32
            };
            message.extend(sequence.to_be_bytes());
            message.extend(1_u32.to_be_bytes());
            if number % 20 == 0 {
                let id: u16 = if version == 9 { 0 } else { 2 };
                let mut words = vec![id, 8 + 4 * FIELDS.len() as u16, 256, FIELDS.len() as u16];
                words.extend(
                    FIELDS
                        .iter()
                        .flat_map(|(element, length)| [*element, *length]),
                );
                message.extend(words.into_iter().flat_map(u16::to_be_bytes));
            }
            let record: usize = FIELDS.iter().map(|(_, length)| usize::from(*length)).sum();
            message.extend(256_u16.to_be_bytes());
            message.extend((4 + (record * RECORDS) as u16).to_be_bytes());
            for number in 0..record * RECORDS {
                message.push(number as u8 | 1);
            }
            if version == 10 {
                let length = (message.len() as u16).to_be_bytes();
                message[2..4].copy_from_slice(&length);
            }
            message
        })
        .collect()
}

/// Returns a datagram of sFlow whose samples have 128 bytes of a frame.
fn sflow_datagram() -> Vec<u8> {
    let header: Vec<u32> = [1, 1_518, 4, 128]
        .into_iter()
        .chain([0x0102_0304; 32])
        .collect();
    let mut words = vec![5, 1, 0xc000_0201, 0, 1, 1_000, SAMPLES as u32];
    for number in 0..SAMPLES as u32 {
        words.extend([1, 4 * (8 + 2 + header.len() as u32)]);
        words.extend([number, 1, 1_000, 1_000, 0, 1, 2, 1]);
        words.extend([1, 4 * header.len() as u32]);
        words.extend(&header);
    }
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

criterion_group!(benches, export);
criterion_main!(benches);
