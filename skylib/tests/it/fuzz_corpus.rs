//! The corpus of the fuzz targets, replayed without a fuzzer.
//!
//! `UPDATE_CORPUS=1` writes the seeds below into the corpus; what a fuzzer finds is added by hand.

use std::fs;
use std::path::PathBuf;

use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapWriter, Resolution};
use skylib::time::Timestamp;

#[path = "../../../fuzz/checks/capture_file.rs"]
mod capture_file;
#[path = "../../../fuzz/checks/contents.rs"]
mod contents;
#[path = "../../../fuzz/checks/joining.rs"]
mod joining;
#[path = "../../../fuzz/checks/packet.rs"]
mod packet;

#[test]
fn packets() {
    replay("packet", packet::check, &packet_seeds());
}

#[test]
fn capture_files() {
    replay("capture_file", capture_file::check, &capture_file_seeds());
}

#[test]
fn fragments_and_segments() {
    replay("joining", joining::check, &joining_seeds());
}

#[test]
fn contents_of_extra_layers() {
    replay("contents", contents::check, &contents_seeds());
}

/// Seeds of a target by name.
type Seeds = [(&'static str, Vec<u8>)];

fn replay(target: &str, check: fn(&[u8]), seeds: &Seeds) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for (name, bytes) in seeds {
        assert_eq!(
            &fs::read(folder.join(name)).unwrap(),
            bytes,
            "{target}/{name} is as written"
        );
    }
    for entry in fs::read_dir(&folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
    }
}

/// Link type and packet, as hexadecimal text.
const PACKETS: &[(&str, &str)] = &[
    (
        "ethernet_tcp",
        "0001 02000000 0b02 02000000 0a01 0800 \
        45000028 00014000 40060000 0a010009 0a010002 9c40 0050 000003e8 00000000 5002 0200 0000 0000",
    ),
    (
        "qinq_dns6",
        "0001 02000000 0b02 02000000 0a01 88a8 0005 8100 0006 86dd \
        60000000 0014 11 40 20010db8000000000000000000000009 20010db8000000000000000000000002 \
        9c40 0035 0014 0000 000101000001000000000000",
    ),
    (
        "arp",
        "0001 ffffffffffff 02000000 0a01 0806 \
        0001 0800 06 04 0001 020000000a01 0a010001 000000000000 0a010002",
    ),
    (
        "vxlan_icmp",
        "0001 02000000 0b02 02000000 0a01 0800 \
        4500004e 00010000 40110000 0a010009 0a010002 d903 12b5 003a 0000 08000000 00002a00 \
        02000000 0d04 02000000 0c03 0800 4500001c 00010000 40010000 c0a80101 c0a80102 0800 0000 1234 0001",
    ),
    (
        "geneve_ip6",
        "0001 02000000 0b02 02000000 0a01 0800 \
        45000058 00010000 40110000 0a010009 0a010002 d903 17c1 0044 0000 0100 86dd 000007 00 0102 0300 \
        60000000 0008 3a 40 fe800000000000000000000000000001 fe800000000000000000000000000002 8000 0000 0309 0001",
    ),
    (
        "gre_key_mpls",
        "0001 02000000 0b02 02000000 0a01 0800 \
        45000040 00010000 402f0000 0a010009 0a010002 2000 8847 00000063 00010040 00020140 \
        4500001c 00010000 40010000 c0a80101 c0a80102 0800 0000 1234 0001",
    ),
    (
        "erspan",
        "0001 02000000 0b02 02000000 0a01 0800 \
        4500004e 00010000 402f0000 0a010009 0a010002 1000 88be 00000001 1001000000000000 \
        02000000 0d04 02000000 0c03 0800 4500001c 00010000 40010000 c0a80101 c0a80102 0000 0000 1234 0001",
    ),
    (
        "extensions",
        "0001 02000000 0b02 02000000 0a01 86dd \
        60000000 0020 00 40 20010db8000000000000000000000009 20010db8000000000000000000000002 \
        2b00 0104 00000000 3c00 0000 00000000 2c00 0104 00000000 1100 0001 00000001",
    ),
    (
        "neighbour",
        "0001 02000000 0b02 02000000 0a01 86dd \
        60000000 0020 3a ff fe800000000000000000000000000001 fe800000000000000000000000000002 \
        8700 0000 00000000 fe800000000000000000000000000002 0101 020000000a01",
    ),
    (
        "sctp",
        "0001 02000000 0b02 02000000 0a01 0800 \
        45000044 00010000 40840000 0a010009 0a010002 0001 0002 00000000 00000000 \
        03000010 00000001 00000000 00000000 00030014 00000001 0000 0000 00000000 61626364",
    ),
    (
        "gtp",
        "0001 02000000 0b02 02000000 0a01 0800 \
        45000048 00010000 40110000 0a010009 0a010002 9c41 0868 0034 0000 34ff 0024 00000001 0001 00 85 01 100900 \
        4500001c 00010000 40010000 c0a80101 c0a80102 0800 0000 1234 0001",
    ),
    (
        "mpls_udp",
        "0001 02000000 0b02 02000000 0a01 0800 \
        4500003c 00010000 40110000 0a010009 0a010002 ca6e c822 0028 0000 00010140 \
        4500001c 00010000 40010000 c0a80101 c0a80102 0800 0000 1234 0001",
    ),
    (
        "stp",
        "0001 0180c2000000 02000000 0a01 0026 424203 0000000000 \
        8000020000000a01 00000000 8000020000000a01 8001 0000 1400 0200 0f00",
    ),
    (
        "lldp",
        "0001 0180c200000e 02000000 0a01 88cc 0207 04 020000000a01 0405 05 65746830 0602 0078 0000",
    ),
    (
        "cdp",
        "0001 01000ccccccc 02000000 0a01 0014 aaaa03 00000c 2000 02b4 0000 0001 0008 61626364",
    ),
    (
        "pppoe",
        "0001 02000000 0b02 02000000 0a01 8864 1100 0001 001e 0021 \
        4500001c 00010000 40010000 c0a80101 c0a80102 0800 0000 1234 0001",
    ),
    (
        "fragment",
        "0001 02000000 0b02 02000000 0a01 0800 \
        4500001c 00012000 40110000 0a010009 0a010002 9c40 0035 0008 0000",
    ),
    (
        "raw_ip",
        "0065 4500001c 00010000 40110000 0a010009 0a010002 9c40 0035 0008 0000",
    ),
    (
        "linux_sll",
        "0071 0000 0001 0006 020000000a010000 0800 \
        4500001c 00010000 40110000 0a010009 0a010002 9c40 0035 0008 0000",
    ),
    (
        "linux_sll2",
        "0114 0800 0000 00000002 0001 00 06 020000000a010000 \
        4500001c 00010000 40110000 0a010009 0a010002 9c40 0035 0008 0000",
    ),
    (
        "loopback",
        "0000 02000000 4500001c 00010000 40110000 0a010009 0a010002 9c40 0035 0008 0000",
    ),
    (
        "ppp",
        "0009 ff03 0021 4500001c 00010000 40110000 0a010009 0a010002 9c40 0035 0008 0000",
    ),
    (
        "short_tcp",
        "0001 02000000 0b02 02000000 0a01 0800 \
        45000028 00014000 40060000 0a010009 0a010002 9c40",
    ),
];

fn packet_seeds() -> Vec<(&'static str, Vec<u8>)> {
    PACKETS
        .iter()
        .map(|(name, text)| (*name, hex(text)))
        .collect()
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

/// Six bytes a packet: kind and time, datagram and port, place, length, content, damage.
fn joining_seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "fragments",
            hex("000100220900 000103220900 000102210900 000106850900"),
        ),
        (
            "overlaps",
            hex("000102240900 000100260500 000101240700 000106040900"),
        ),
        (
            "teardrop",
            hex("0001002a0900 000103020900 00010a040900 000100220900"),
        ),
        ("timeout", hex("000100220900 f80000000000 f80102040900")),
        (
            "connection",
            hex("010000000900 030000001200 01000a0a1000 030000011000 010000001100 030008001100"),
        ),
        (
            "gaps",
            hex("010000000200 01003a201000 01001a201000 01005a041100 f90000000000 010099020400"),
        ),
        ("mid_stream", hex("0100804010c5 0100a0401000 010060401400")),
        ("damaged", hex("0001002209c9 0001022209d1 0500000509ff")),
    ]
}

/// The first byte tells the layer: 0 DNS, 1 DHCPv4, 2 VRRP.
fn contents_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let question = "0007 0100 0001 0000 0000 0000 01 61 02 696f 00 0001 0001";
    let mut dhcp = vec![0; 245];
    (dhcp[0], dhcp[3], dhcp[10]) = (1, 6, 3);
    dhcp[237..241].copy_from_slice(&[99, 130, 83, 99]);
    vec![
        ("dns_question", hex(&format!("00 {question}"))),
        (
            "dns_answer",
            hex("00 0007 8180 0001 0003 0000 0001 01 61 00 00ff 0001 \
                c00c 0005 0001 00000009 0004 01 62 c00c \
                c00c 0006 0001 00000009 001a 01 6d 00 01 72 00 00000001 00000002 00000003 00000004 00000005 \
                c00c 0010 0001 00000009 0004 03 616263 \
                00 0029 1000 00000000 0006 000a 0002 ff79"),
        ),
        (
            "dns_pointer_to_itself",
            hex("00 0007 0100 0001 0000 0000 0000 c00c 0001 0001"),
        ),
        (
            "dns_cut",
            hex("00 0007 0100 0005 0005 0005 0005 01 61 00 00"),
        ),
        ("dhcp", dhcp),
        (
            "vrrp",
            hex("02 21 07 64 01 00 01 ba52 0a0100fe 0000000000000000"),
        ),
        ("short", hex("02 21")),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}
