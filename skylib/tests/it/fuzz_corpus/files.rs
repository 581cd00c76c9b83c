//! Capture files.

use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapNgWriter, PcapWriter, Resolution};
use skylib::time::Timestamp;

use super::packets::packet_seeds;
use super::{hex, replay};

#[path = "../../../../fuzz/checks/capture_file.rs"]
mod capture_file;
#[path = "../../../../fuzz/checks/compressed.rs"]
mod compressed;
#[path = "../../../../fuzz/checks/pcapng.rs"]
mod pcapng;
#[cfg(feature = "pcap")]
#[path = "../../../../fuzz/checks/replay.rs"]
mod whole;

#[test]
fn capture_files() {
    replay("capture_file", capture_file::check, &capture_file_seeds());
}

#[test]
fn pcapng_files() {
    replay("pcapng", pcapng::check, &pcapng_seeds());
}

#[test]
fn compressed_files() {
    replay("compressed", compressed::check, &compressed_seeds());
}

#[cfg(feature = "pcap")]
#[test]
fn flows_of_files() {
    replay("replay", whole::check, &replay_seeds());
}

fn capture_file_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let file = |resolution| {
        let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, resolution).unwrap();
        for (index, (_, packet)) in packet_seeds().iter().take(3).enumerate() {
            let data = &packet[2..];
            let timestamp = Timestamp::from_ns(1_600_000_000_123_456_789 + index as i64);
            let wire_len = data.len() as u32;
            let packet = PacketRef {
                link_type: LinkType::ETHERNET,
                timestamp,
                data,
                wire_len,
            };
            writer.write(&packet).unwrap();
        }
        writer.into_inner()
    };
    let plain = file(Resolution::Microseconds);
    let mut long = plain.clone();
    long[32..36].copy_from_slice(&[0xff; 4]);
    let mut version = plain.clone();
    version[6] = 5;
    vec![
        ("nanoseconds", file(Resolution::Nanoseconds)),
        ("cut_record", plain[..plain.len() - 5].to_vec()),
        ("cut_record_header", plain[..30].to_vec()),
        ("cut_header", plain[..20].to_vec()),
        (
            "big_endian",
            hex("a1b2c3d4 0002 0004 00000000 00000000 00040000 00000001 \
            5f5e1000 0001e240 00000003 0000003c 010203"),
        ),
        (
            "pcapng",
            hex("0a0d0d0a 1c000000 4d3c2b1a 01000000 ffffffffffffffff 1c000000"),
        ),
        ("gzip", hex("1f8b0800 00000000 0003")),
        ("long_record", long),
        ("other_version", version),
        ("plain", plain),
    ]
}

fn pcapng_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    for (index, (_, packet)) in packet_seeds().iter().enumerate().skip(15) {
        let data = &packet[2..];
        let packet = PacketRef {
            link_type: LinkType(u16::from_be_bytes([packet[0], packet[1]])),
            timestamp: Timestamp::from_ns(1_600_000_000_123_456_789 + index as i64),
            data,
            wire_len: data.len() as u32,
        };
        writer.write(&packet).unwrap();
    }
    let written = writer.into_inner();
    let section = "0a0d0d0a 1c000000 4d3c2b1a 01000000 ffffffffffffffff 1c000000";
    // An Ethernet interface: snap length of 64 bytes, resolution of 2^-20 s, offset of 1 h.
    let interface = "01000000 2c000000 0100 0000 40000000 \
        0900 0100 94000000 0e00 0800 100e000000000000 00000000 2c000000";
    let with = |blocks: &str| hex(&format!("{section} {interface} {blocks}"));
    vec![
        ("cut_block", written[..written.len() - 9].to_vec()),
        (
            "simple",
            with("03000000 14000000 05000000 0102030405000000 14000000"),
        ),
        (
            "obsolete",
            with(
                "02000000 24000000 0000 0700 00000100 00000000 03000000 05000000 01020300 24000000",
            ),
        ),
        ("unknown", with("ad0b0080 10000000 00000000 10000000")),
        (
            "no_interface",
            with("06000000 20000000 01000000 00000000 00000000 00000000 00000000 20000000"),
        ),
        (
            "big_endian",
            hex(
                "0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c \
                00000001 00000014 0065 0000 00000000 00000014 \
                00000006 00000024 00000000 00050000 00000000 00000002 00000004 45000000 00000024",
            ),
        ),
        ("two_sections", with(section)),
        ("written", written),
    ]
}

/// Timestamps that stop at the maximum, decrease, and jump; alternating link types.
#[cfg(feature = "pcap")]
fn replay_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let file = |times: &[i64]| {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        for (time, (_, packet)) in times.iter().zip(packet_seeds().iter().cycle()) {
            let data = &packet[2..];
            let packet = PacketRef {
                link_type: LinkType(u16::from_be_bytes([packet[0], packet[1]])),
                timestamp: Timestamp::from_ns(*time),
                data,
                wire_len: data.len() as u32,
            };
            writer.write(&packet).unwrap();
        }
        writer.into_inner()
    };
    let (minute, year) = (60_000_000_000, 31_536_000_000_000_000);
    let steady: Vec<i64> = (0..40).map(|number| number * minute).collect();
    let back: Vec<i64> = (0..20).map(|number| year - number * minute).collect();
    vec![
        ("steady", file(&steady)),
        ("back", file(&back)),
        ("leaps", file(&[0, year, 1, 2 * year, 40 * year, year])),
        ("end_of_time", file(&[i64::MAX; 4])),
    ]
}

fn compressed_seeds() -> Vec<(&'static str, Vec<u8>)> {
    // "hello" and similar content, each compressed by the tool of its format.
    let gzip = hex("1f8b0800 00000000 0003 cb48cdc9c907 00 86a61036 05000000");
    let lz4 = hex("04224d18 6440a7 05000080 68656c6c6f 00000000 f97700fb");
    let zstd = hex("28b52ffd 0458 290000 68656c6c6f a36d9f88");
    let mut damaged = gzip.clone();
    damaged[12] ^= 0xff;
    vec![
        ("gzip_cut", gzip[..14].to_vec()),
        ("gzip_damaged", damaged),
        ("gzip_twice", [&gzip[..], &gzip].concat()),
        ("lz4_cut", lz4[..14].to_vec()),
        ("lz4", lz4),
        (
            "zstd_skipped",
            [&hex("532a4d18 03000000 616263")[..], &zstd].concat(),
        ),
        ("zstd_cut", zstd[..12].to_vec()),
        ("zstd", zstd),
        ("gzip", gzip),
    ]
}
