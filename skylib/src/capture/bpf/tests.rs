use super::*;

fn program(instructions: &[(u16, u8, u8, u32)]) -> Result<BpfProgram, CaptureError> {
    let instructions = instructions
        .iter()
        .map(|&(code, jt, jf, k)| BpfInstruction { code, jt, jf, k })
        .collect();
    BpfProgram::from_instructions(instructions, LinkType::ETHERNET)
}

fn refused(instructions: &[(u16, u8, u8, u32)]) -> String {
    program(instructions).unwrap_err().to_string()
}

#[test]
fn programs_that_do_not_end_or_leave_their_bounds_are_refused() {
    assert_eq!(refused(&[]), "invalid BPF program: instruction 0: missing");
    assert!(
        refused(&[(0x28, 0, 0, 12)]).ends_with("instruction 0: is the last and does not return")
    );
    assert!(
        refused(&[(0x15, 1, 0, 0), (6, 0, 0, 1)]).ends_with("instruction 0: jumps beyond the end")
    );
    assert!(refused(&[(0x05, 0, 0, u32::MAX), (6, 0, 0, 1)]).ends_with("jumps beyond the end"));
    assert!(refused(&[(0x02, 0, 0, 16), (6, 0, 0, 1)]).ends_with("scratch memory beyond its end"));
    assert!(refused(&[(0x60, 0, 0, 16), (6, 0, 0, 1)]).ends_with("scratch memory beyond its end"));
    assert!(refused(&[(0x34, 0, 0, 0), (6, 0, 0, 1)]).ends_with("divides by zero"));
    let unset = "reads scratch memory that may not be set";
    assert!(refused(&[(0x60, 0, 0, 1), (6, 0, 0, 1)]).ends_with(unset));
    // Only one of two paths sets the slot.
    let stores = [
        (0x15, 0, 1, 0),
        (0x02, 0, 0, 3),
        (0x61, 0, 0, 3),
        (6, 0, 0, 1),
    ];
    assert!(refused(&stores).ends_with(unset));
    assert!(program(&stores[1..]).is_ok());
    for code in [0x38, 0xb4, 0x8c, 0xa8, 0x0d, 0x1e, 0x27, 0xffff, 0x10, 0x21] {
        assert!(
            refused(&[(code, 0, 0, 0), (6, 0, 0, 1)]).ends_with("unknown code"),
            "{code:#x}"
        );
    }
    let long = vec![(6, 0, 0, 1); 4097];
    assert!(refused(&long).contains("instruction 4096: exceeds the limit of 4096"));
}

#[test]
fn arithmetic_is_that_of_the_kernel() {
    let result = |operation: u16, a: u32, k: u32| {
        program(&[
            (0x00, 0, 0, a),
            (0x04 | operation, 0, 0, k),
            (0x16, 0, 0, 0),
        ])
        .unwrap()
        .run(&[], 0)
    };
    assert_eq!(result(0x00, u32::MAX, 3), 2, "add");
    assert_eq!(result(0x10, 1, 3), u32::MAX - 1, "subtract");
    assert_eq!(result(0x20, 1 << 31, 3), 1 << 31, "multiply");
    assert_eq!(result(0x30, 7, 2), 3, "divide");
    assert_eq!(result(0x60, 1, 33), 0, "shift left");
    assert_eq!(result(0x70, 8, 2), 2, "shift right");
    assert_eq!(result(0x80, 1, 0), u32::MAX, "negate");
    assert_eq!(result(0x90, 7, 4), 3, "modulo");
    assert_eq!(result(0xa0, 6, 3), 5, "exclusive or");
    let by_zero = program(&[(0x00, 0, 0, 7), (0x3c, 0, 0, 0), (6, 0, 0, 9)]).unwrap();
    assert_eq!(by_zero.run(&[], 0), 0, "division by X = 0 ends the program");
}

#[test]
fn a_load_beyond_the_captured_bytes_is_no_match() {
    let reads = |offset| {
        program(&[(0x28, 0, 0, offset), (6, 0, 0, 1)])
            .unwrap()
            .run(&[0; 10], 100)
    };
    assert_eq!((reads(8), reads(9), reads(u32::MAX)), (1, 0, 0));
    let length = program(&[(0x80, 0, 0, 0), (0x16, 0, 0, 0)]).unwrap();
    assert_eq!(
        length.run(&[0; 10], 100),
        100,
        "the length is that on the wire"
    );
}

#[test]
fn a_program_matches_only_its_own_link_type() {
    let program = BpfProgram::everything(LinkType::ETHERNET, 64);
    let packet = |link_type| PacketRef {
        link_type,
        timestamp: crate::time::Timestamp::ZERO,
        data: &[0; 60],
        wire_len: 60,
    };
    assert!(program.matches(&packet(LinkType::ETHERNET)));
    assert!(!program.matches(&packet(LinkType::RAW)));
    assert_eq!(program.run(&[], 0), 64);
}

#[cfg(feature = "pcap")]
mod with_libpcap {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::tests::frames::{frame, tagged, udp};

    const EXPRESSIONS: [&str; 24] = [
        "",
        "ip",
        "not ip",
        "arp or rarp",
        "udp port 53",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "host 10.0.0.1 and not port 80",
        "net 10.0.0.0/24",
        "ip6 and udp",
        "vlan",
        "vlan 5 and udp",
        "not vlan 5",
        "vlan and vlan 7",
        "mpls",
        "ether proto 0x88cc",
        "ether host 02:00:00:00:00:01",
        "ether multicast",
        "greater 100",
        "less 64",
        "ip[2:2] > 40",
        "ip[6:2] & 0x1fff = 0",
        "icmp[icmptype] = icmp-echo",
        "udp[8] = 0xaa or sctp",
        "ether[15] % 3 = 1 or len / 2 > 40",
    ];

    fn packets() -> Vec<Vec<u8>> {
        let plain = frame(0x0800, &udp(53, 4000, 30));
        vec![
            plain.clone(),
            frame(0x0800, &udp(1, 2, 200)),
            frame(0x0806, &[0; 46]),
            frame(0x88cc, &[1; 46]),
            tagged(&plain, 0x8100, 5),
            tagged(&plain, 0x88a8, 0x2005),
            tagged(&tagged(&plain, 0x8100, 7), 0x8100, 5),
            plain[..20].to_vec(),
            Vec::new(),
        ]
    }

    #[test]
    fn every_expression_gives_what_libpcap_gives() {
        let handle = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
        for text in EXPRESSIONS {
            let oracle = handle.compile(text, true).unwrap();
            let ours = BpfProgram::compile(text, LinkType::ETHERNET, 96).unwrap();
            for packet in packets() {
                let wire_len = u32::try_from(packet.len()).unwrap();
                let accepted = if oracle.filter(&packet) { 96 } else { 0 };
                assert_eq!(
                    ours.run(&packet, wire_len),
                    accepted,
                    "{text:?} on {packet:02x?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_packets_give_what_libpcap_gives(
            which in 0..EXPRESSIONS.len(),
            packet in 0..8_usize,
            changes in proptest::collection::vec((0..64_usize, any::<u8>()), 0..6),
            cut in 0..64_usize,
        ) {
            let mut packet = packets().swap_remove(packet);
            for (offset, byte) in changes {
                if let Some(slot) = packet.get_mut(offset) {
                    *slot = byte;
                }
            }
            packet.truncate(packet.len().saturating_sub(cut));
            let handle = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
            let oracle = handle.compile(EXPRESSIONS[which], true).unwrap();
            let ours = BpfProgram::compile(EXPRESSIONS[which], LinkType::ETHERNET, 0).unwrap();
            let wire_len = u32::try_from(packet.len()).unwrap();
            prop_assert_eq!(ours.run(&packet, wire_len) != 0, oracle.filter(&packet));
        }

        #[test]
        fn no_program_panics_or_runs_for_ever(
            lines in proptest::collection::vec((0..0x100_u16, 0..4_u8, 0..4_u8, 0..24_u32), 1..20),
            data in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(program) = program(&lines) {
                prop_assert!(program.run(&data, 40) == program.run(&data, 40));
            }
        }
    }

    #[test]
    fn the_error_of_a_bad_text_is_that_of_libpcap() {
        let error = |text: &str| BpfFilter::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("port"),
            r#"invalid BPF filter "port": can't parse filter expression: syntax error"#
        );
        assert_eq!(
            error("vlan 5000"),
            r#"invalid BPF filter "vlan 5000": VLAN tag 5000 greater than maximum 4095"#
        );
        assert!(error("ip\0").ends_with("contains a zero byte"));
        let long = "ip or ".repeat(4000) + "ip";
        assert!(error(&long).ends_with("longer than 16384 bytes"));
    }

    #[test]
    fn a_program_of_libpcap_that_reads_unset_memory_is_refused() {
        let compile = |text| BpfProgram::compile(text, LinkType::NULL, 0);
        let error = compile("geneve or ip").unwrap_err().to_string();
        assert!(error.contains("reads scratch memory"), "{error}");
        assert!(compile("ip or geneve").is_ok());
    }

    #[test]
    fn raw_ip_has_its_own_offsets() {
        for link_type in [
            LinkType::RAW,
            LinkType::RAW_DLT,
            LinkType::IPV4,
            LinkType::RAW_OPENBSD,
        ] {
            let program = BpfProgram::compile("udp port 53", link_type, 0).unwrap();
            assert_eq!(program.run(&udp(53, 1, 0), 28), 262_144, "{link_type:?}");
            assert_eq!(program.run(&udp(54, 1, 0), 28), 0, "{link_type:?}");
        }
    }

    #[test]
    fn a_filter_text_follows_the_link_type_and_the_snap_length() {
        let filter = BpfFilter::parse("udp").unwrap();
        let program = filter.program(LinkType::RAW, 40).unwrap();
        assert_eq!(
            (program.link_type(), program.run(&udp(1, 2, 0), 28)),
            (LinkType::RAW, 40)
        );
    }
}
