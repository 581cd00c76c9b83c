//! Benchmark of reading capture files and decoding packets: time per packet, each stage separately.
//!
//! `BENCH_PCAP=big.pcap cargo bench --bench decode` measures a given file (classic pcap). Without
//! this variable, the benchmark generates 20 000 packets: TCP, UDP, and DNS over IPv4 and IPv6,
//! with tags and tunnels.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skylib::decode::{Decoder, DecoderOptions, Encapsulations};
use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapNgReader, PcapNgWriter, PcapReader, PcapWriter, Resolution};
use skylib::time::Timestamp;

fn decode(criterion: &mut Criterion) {
    let file = file();
    let packets = owned_packets(&file);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(packets.len() as u64));

    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut reader = PcapReader::new(file.as_slice()).expect("a capture file");
            let mut bytes = 0;
            while let Some(batch) = reader.next_batch().expect("an undamaged file") {
                bytes += batch
                    .headers
                    .iter()
                    .map(|header| u64::from(header.wire_len))
                    .sum::<u64>();
            }
            black_box(bytes)
        });
    });

    let blocks = pcapng(&file);
    group.bench_function("read_pcapng", |bencher| {
        bencher.iter(|| {
            let mut reader = PcapNgReader::new(blocks.as_slice()).expect("a capture file");
            let mut bytes = 0;
            while let Some(batch) = reader.next_batch().expect("an undamaged file") {
                bytes += batch
                    .headers
                    .iter()
                    .map(|header| u64::from(header.wire_len))
                    .sum::<u64>();
            }
            black_box(bytes)
        });
    });

    let decoder = Decoder::new(DecoderOptions::default());
    let mut encapsulations = Encapsulations::new();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let (mut count, mut failures) = (0, 0);
            for packet in &packets {
                failures += usize::from(
                    decoder
                        .decode(packet.borrow(), &mut encapsulations)
                        .is_err(),
                );
                count += black_box(&encapsulations).len();
            }
            black_box((count, failures))
        });
    });

    // Packets whose original length is unknown take the general path.
    group.bench_function("decode_generally", |bencher| {
        bencher.iter(|| {
            let (mut count, mut failures) = (0, 0);
            for packet in &packets {
                let packet = PacketRef {
                    wire_len: 0,
                    ..packet.borrow()
                };
                failures += usize::from(decoder.decode(packet, &mut encapsulations).is_err());
                count += black_box(&encapsulations).len();
            }
            black_box((count, failures))
        });
    });

    group.bench_function("read_and_decode", |bencher| {
        bencher.iter(|| {
            let mut reader = PcapReader::new(file.as_slice()).expect("a capture file");
            let (mut count, mut failures) = (0, 0);
            while let Some(batch) = reader.next_batch().expect("an undamaged file") {
                for packet in batch.iter() {
                    failures += usize::from(decoder.decode(packet, &mut encapsulations).is_err());
                    count += black_box(&encapsulations).len();
                }
            }
            black_box((count, failures))
        });
    });
    group.finish();
}

struct OwnedPacket {
    link_type: LinkType,
    data: Vec<u8>,
    wire_len: u32,
}

impl OwnedPacket {
    fn borrow(&self) -> PacketRef<'_> {
        PacketRef {
            link_type: self.link_type,
            timestamp: Timestamp::ZERO,
            data: &self.data,
            wire_len: self.wire_len,
        }
    }
}

fn file() -> Vec<u8> {
    match std::env::var_os("BENCH_PCAP") {
        Some(path) => std::fs::read(path).expect("BENCH_PCAP names a readable file"),
        None => mixed_file(20_000),
    }
}

/// Converts a file to pcapng.
fn pcapng(file: &[u8]) -> Vec<u8> {
    let mut reader = PcapReader::new(file).expect("a capture file");
    let mut writer = PcapNgWriter::new(Vec::new()).expect("a vector accepts all bytes");
    while let Some(batch) = reader.next_batch().expect("an undamaged file") {
        writer
            .write_batch(&batch)
            .expect("a vector accepts all bytes");
    }
    writer.into_inner()
}

fn owned_packets(file: &[u8]) -> Vec<OwnedPacket> {
    let mut reader = PcapReader::new(file).expect("a capture file");
    let mut packets = Vec::new();
    while let Some(batch) = reader.next_batch().expect("an undamaged file") {
        packets.extend(batch.iter().map(|packet| OwnedPacket {
            link_type: packet.link_type,
            data: packet.data.to_vec(),
            wire_len: packet.wire_len,
        }));
    }
    packets
}

/// Returns a file of generated packets, the same for every run.
fn mixed_file(count: u32) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Microseconds)
        .expect("a vector accepts all bytes");
    let mut random = 1_u32;
    for index in 0..count {
        // Linear congruential generator of Numerical Recipes: good enough to mix kinds and sizes.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let data = packet(random);
        let timestamp = Timestamp::from_ms(i64::from(index));
        let wire_len = data.len() as u32;
        writer
            .write(&PacketRef {
                link_type: LinkType::ETHERNET,
                timestamp,
                data: &data,
                wire_len,
            })
            .expect("a vector accepts all bytes");
    }
    writer.into_inner()
}

fn packet(random: u32) -> Vec<u8> {
    let payload = vec![0; [12, 12, 550, 1400][(random >> 16 & 3) as usize]];
    let port = 1024 + (random >> 18 & 0xfff) as u16;
    match random >> 8 & 0x7f {
        0..64 => ethernet(&[], 0x0800, &ipv4(6, &tcp(port, &payload))),
        64..79 => ethernet(&[], 0x0800, &ipv4(17, &udp(port, 443, &payload))),
        79..92 => ethernet(&[], 0x0800, &ipv4(17, &udp(port, 53, &payload))),
        92..105 => ethernet(&[], 0x86dd, &ipv6(6, &tcp(port, &payload))),
        105..110 => ethernet(&[], 0x86dd, &ipv6(17, &udp(port, 443, &payload))),
        110..117 => ethernet(&[5], 0x0800, &ipv4(6, &tcp(port, &payload))),
        117..119 => ethernet(&[5, 6], 0x0800, &ipv4(6, &tcp(port, &payload))),
        119..126 => {
            let inner = ethernet(&[], 0x0800, &ipv4(6, &tcp(port, &payload)));
            let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &inner].concat();
            ethernet(&[], 0x0800, &ipv4(17, &udp(port, 4789, &vxlan)))
        }
        _ => {
            let inner = ipv4(6, &tcp(port, &payload));
            let gre = [&[0x20, 0, 8, 0, 0, 0, 0, 99][..], &inner].concat();
            ethernet(&[], 0x0800, &ipv4(47, &gre))
        }
    }
}

fn ethernet(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0x0b, 2, 2, 0, 0, 0, 0x0a, 1];
    for tag in tags {
        frame.extend([0x81, 0x00]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = (20 + payload.len() as u16).to_be_bytes();
    let head = [
        0x45, 0, l0, l1, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 1, 0, 9, 10, 1, 0, 2,
    ];
    [&head[..], payload].concat()
}

fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = (payload.len() as u16).to_be_bytes();
    let mut head = vec![0x60, 0, 0, 0, l0, l1, protocol, 64];
    for last in [9, 2] {
        head.extend([
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last,
        ]);
    }
    head.extend(payload);
    head
}

fn tcp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut head = port.to_be_bytes().to_vec();
    head.extend([
        0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x18, 2, 0, 0, 0, 0, 0,
    ]);
    head.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
    head.extend(payload);
    head
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut head = source.to_be_bytes().to_vec();
    head.extend(destination.to_be_bytes());
    head.extend((8 + payload.len() as u16).to_be_bytes());
    head.extend([0, 0]);
    head.extend(payload);
    head
}

criterion_group!(benches, decode);
criterion_main!(benches);
