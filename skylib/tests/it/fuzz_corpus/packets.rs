//! Packets, their payloads, fragments and segments, and the filters applied to them.

use super::{hex, replay};

#[path = "../../../../fuzz/checks/app_message.rs"]
mod app_message;
#[cfg(feature = "pcap")]
#[path = "../../../../fuzz/checks/bpf.rs"]
mod bpf;
#[cfg(feature = "pcap")]
#[path = "../../../../fuzz/checks/bpf_text.rs"]
mod bpf_text;
#[path = "../../../../fuzz/checks/packet.rs"]
mod packet;
#[path = "../../../../fuzz/checks/reassembly.rs"]
mod reassembly;

#[test]
fn packets() {
    replay("packet", packet::check, &packet_seeds());
}

#[test]
fn fragments_and_segments() {
    replay("reassembly", reassembly::check, &reassembly_seeds());
}

#[test]
fn application_messages() {
    replay("app_message", app_message::check, &app_message_seeds());
}

#[cfg(feature = "pcap")]
#[test]
fn filter_texts_and_programs() {
    assert_eq!(bpf::text(&[38, 29, 77]), "udp port 53");
    replay("bpf", bpf::check, &bpf_seeds());
}

#[cfg(feature = "pcap")]
#[test]
fn arbitrary_filter_texts() {
    let texts = [
        (
            "ports",
            "tcp port 80 or portrange 1000-2000 and not port http".to_owned(),
        ),
        (
            "addresses",
            "host 192.0.2.1 or net 2001:db8::/32 or ether host 0:1:2:3:4:5".to_owned(),
        ),
        ("flags", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0".to_owned()),
        ("name", "host example.com".to_owned()),
        ("proto", "ether proto \\ip and ip proto \\udp".to_owned()),
        ("wlan", "type mgt subtype beacon".to_owned()),
        ("expensive", "port 1 or ".repeat(900)),
        (
            "deep",
            format!("{}tcp{}", "(".repeat(2000), ")".repeat(2000)),
        ),
        ("vlans", "vlan and ".repeat(30) + "tcp"),
    ];
    let seeds = texts.map(|(name, text)| (name, [b"\0", text.as_bytes()].concat()));
    replay("bpf_text", bpf_text::check, &seeds);
}

/// Link type and packet, in hexadecimal.
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

pub(super) fn packet_seeds() -> Vec<(&'static str, Vec<u8>)> {
    PACKETS
        .iter()
        .map(|(name, text)| (*name, hex(text)))
        .collect()
}

/// Six bytes per packet: kind and time, datagram and port, offset, length, content, damage.
fn reassembly_seeds() -> Vec<(&'static str, Vec<u8>)> {
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

/// The first byte selects the protocol: 0 DNS, 1 DHCPv4, 2 VRRP.
fn app_message_seeds() -> Vec<(&'static str, Vec<u8>)> {
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

/// Link type, number of words, words, packet; or 255 and a program.
#[cfg(feature = "pcap")]
fn bpf_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let packet = &packet_seeds()[0].1[2..];
    let text =
        |link_type: u8, words: &[u8]| [&[link_type, words.len() as u8][..], words, packet].concat();
    vec![
        ("everything", text(0, &[])),
        ("port", text(0, &[38, 29, 77])),
        (
            "host_or_flags",
            text(0, &[27, 88, 2, 63, 14, 4, 64, 15, 65, 5, 20, 72]),
        ),
        ("vlan_twice", text(0, &[42, 73, 1, 42, 1, 46, 22, 78])),
        ("raw_net6", text(1, &[34, 1, 28, 94])),
        ("cooked", text(2, &[37, 30, 83])),
        ("syntax_error", text(0, &[29, 1, 4])),
        (
            "program",
            hex(
                "ff 0028 00 00 0000000c 0015 00 01 00000800 0006 00 00 00000040 0006 00 00 00000000 \
                0102030405060708090a0b0c 0800 000000000000000000000000000000000000",
            ),
        ),
        ("unset_memory", text(4, &[45, 2, 33])),
        (
            "program_without_end",
            hex("ff 0005 00 00 ffffffff 0000000000000000"),
        ),
    ]
}
