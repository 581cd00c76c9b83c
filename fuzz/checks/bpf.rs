//! Checks of filter expressions and filter programs.
//!
//! The first byte selects a link type; the second is the number of words of the expression. Each
//! following byte selects a word; the rest is a packet. Only words of the filter language are used,
//! because libpcap would resolve any other word as a host name. If the first byte is 255, the rest
//! is a program with eight bytes for each instruction.

use pcap::{Capture, Linktype};
use skylib::capture::{BpfInstruction, BpfProgram, CaptureError};
use skylib::packet::LinkType;

/// Panics if the compiler or the interpreter panics, or if the result for a packet differs from
/// that of libpcap.
pub(crate) fn check(input: &[u8]) {
    match input.split_first() {
        Some((255, lines)) => check_program(lines),
        Some((kind, [count, rest @ ..])) => {
            let (words, packet) = rest.split_at(usize::from(*count).min(rest.len()));
            check_text(*kind, &text(words), packet);
        }
        _ => {}
    }
}

/// Returns the filter expression for these bytes.
pub(crate) fn text(words: &[u8]) -> String {
    let words = words
        .iter()
        .map(|word| WORDS[usize::from(*word) % WORDS.len()]);
    words.collect::<Vec<_>>().join(" ")
}

fn check_text(kind: u8, text: &str, packet: &[u8]) {
    let (link_type, dlt) = LINK_TYPES[usize::from(kind) % LINK_TYPES.len()];
    let ours = BpfProgram::compile(text, link_type, 0);
    let handle = Capture::dead(Linktype(dlt)).expect("libpcap knows this type");
    let oracle = handle.compile(text, true);
    match (&ours, &oracle) {
        (Ok(ours), Ok(oracle)) => {
            let wire_len = packet.len() as u32;
            let answer = ours.run(packet, wire_len) != 0;
            assert_eq!(answer, oracle.filter(packet), "{text:?}");
            // A truncated packet must not cause a panic either.
            for len in 0..packet.len().min(64) {
                assert!(ours.run(&packet[..len], wire_len) <= MAX_PACKET);
            }
        }
        (Err(error), Err(_)) => assert!(!error.to_string().is_empty()),
        // The program reads uninitialized memory or is longer than the kernel accepts.
        (Err(CaptureError::Program { .. }), Ok(_)) => {}
        _ => panic!("{text:?}: {:?}, libpcap says otherwise", ours.err()),
    }
}

fn check_program(bytes: &[u8]) {
    let (lines, packet) = bytes.split_at(bytes.len() / 16 * 8);
    let lines = lines.as_chunks::<8>().0.iter();
    let instructions = lines.map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| BpfInstruction {
        code: u16::from_be_bytes([c0 & 1, c1]),
        jt,
        jf,
        k: u32::from_be_bytes([k0, k1, k2, k3]),
    });
    match BpfProgram::from_instructions(instructions.collect(), LinkType::ETHERNET) {
        Ok(program) => {
            let wire_len = packet.len() as u32;
            assert_eq!(
                program.run(packet, wire_len),
                program.run(packet, wire_len),
                "the same packet, the same answer"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Snap length, in bytes: programs return packets untruncated.
const MAX_PACKET: u32 = 262_144;

/// Link types with their numbers in libpcap.
const LINK_TYPES: &[(LinkType, i32)] = &[
    (LinkType::ETHERNET, 1),
    (LinkType::RAW, 12),
    (LinkType::LINUX_SLL, 113),
    (LinkType::LINUX_SLL2, 276),
    (LinkType::NULL, 0),
    (LinkType::PPP, 9),
    (LinkType::IPV6, 229),
];

/// Words of the filter expressions.
const WORDS: &[&str] = &[
    "",
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "]",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "=",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "src",
    "dst",
    "host",
    "net",
    "port",
    "portrange",
    "proto",
    "ether",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "vlan",
    "mpls",
    "pppoes",
    "geneve",
    "len",
    "less",
    "greater",
    "broadcast",
    "multicast",
    "mask",
    "gateway",
    "inbound",
    "outbound",
    "link",
    "llc",
    "igmp",
    "pim",
    "vrrp",
    "ah",
    "esp",
    "type",
    "tcp[tcpflags]",
    "tcp-syn",
    "tcp-rst",
    "icmp[icmptype]",
    "icmp-echo",
    "ip[6:2]",
    "ether[0]",
    "ip6[40]",
    "udp[8:4]",
    "0",
    "1",
    "2",
    "4",
    "5",
    "53",
    "80",
    "255",
    "4095",
    "65535",
    "65536",
    "1-1024",
    "0x0800",
    "0x86dd",
    "0xffffffff",
    "4294967296",
    "10.0.0.1",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "192.168",
    "255.255.255.0",
    "::1",
    "2001:db8::/32",
    "fe80::/129",
    "02:00:00:00:00:01",
    "\\udp",
    "\\",
    "'",
    "\"",
    "!",
    "&&",
    "||",
    "\u{e9}",
    "\n",
    "#",
    ";",
];
