//! The corpus of the fuzz targets, replayed without a fuzzer.
//!
//! `UPDATE_CORPUS=1` writes the seeds below into the corpus; what a fuzzer finds is added by hand.

use std::fs;
use std::path::PathBuf;

use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapNgWriter, PcapWriter, Resolution};
use skylib::time::Timestamp;

#[cfg(feature = "pcap")]
#[path = "../../../fuzz/checks/bpf.rs"]
mod bpf;
#[path = "../../../fuzz/checks/capture_file.rs"]
mod capture_file;
#[path = "../../../fuzz/checks/compressed.rs"]
mod compressed;
#[path = "../../../fuzz/checks/contents.rs"]
mod contents;
#[path = "../../../fuzz/checks/graph_query.rs"]
mod graph_query;
#[path = "../../../fuzz/checks/gremlin.rs"]
mod gremlin;
#[path = "../../../fuzz/checks/joining.rs"]
mod joining;
#[path = "../../../fuzz/checks/packet.rs"]
mod packet;
#[path = "../../../fuzz/checks/pcapng.rs"]
mod pcapng;
#[cfg(feature = "spp")]
#[path = "../../../fuzz/checks/spp.rs"]
mod spp;

#[test]
fn packets() {
    replay("packet", packet::check, &packet_seeds());
}

#[test]
fn capture_files() {
    replay("capture_file", capture_file::check, &capture_file_seeds());
}

#[test]
fn queries() {
    replay("gremlin", gremlin::check, &query_seeds());
}

#[test]
fn queries_of_small_graphs() {
    replay("graph_query", graph_query::check, &graph_query_seeds());
}

#[test]
fn pcapng_files() {
    replay("pcapng", pcapng::check, &pcapng_seeds());
}

#[test]
fn compressed_files() {
    replay("compressed", compressed::check, &compressed_seeds());
}

#[test]
fn fragments_and_segments() {
    replay("joining", joining::check, &joining_seeds());
}

#[cfg(feature = "spp")]
#[test]
fn requests_and_replies_of_spp() {
    replay("spp", spp::check, &spp_seeds());
}

#[test]
fn contents_of_extra_layers() {
    replay("contents", contents::check, &contents_seeds());
}

#[cfg(feature = "pcap")]
#[test]
fn filter_texts_and_programs() {
    assert_eq!(bpf::text(&[38, 29, 77]), "udp port 53");
    replay("bpf", bpf::check, &bpf_seeds());
}

/// Seeds of a target by name.
pub(crate) type Seeds = [(&'static str, Vec<u8>)];

pub(crate) fn replay(target: &str, check: fn(&[u8]), seeds: &Seeds) {
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

/// Queries, as far as they can be written down; the long ones are made below.
const QUERIES: &[(&str, &str)] = &[
    ("g", "G"),
    ("v", "G.V()"),
    ("v_id", "G.V('br0')"),
    ("v_missing", "G.V('nope').Has(1)"),
    ("e", "G.E()"),
    ("e_id", "G.E('e4').BothV('MTU', 1500)"),
    ("at", "G.At('-1m').V()"),
    ("at_duration", "G.Context(1700000030000, '30s').V()"),
    ("at_forever", "G.At(NOW, FOREVER).Flows()"),
    ("has", "G.V().Has('Type', 'bridge')"),
    ("has_pairs", "G.V().Has('S','abc','I',42,'B',true,'F',44.5)"),
    (
        "has_dotted",
        "G.V().Has('Nest.k.n',Gte(5)).Has('Ifs.0.Name','p0')",
    ),
    ("has_at", "G.V().Has('@Host','h1').Has('@Revision',1)"),
    (
        "has_number_as_text",
        "G.V().HasEither('Num',42,'Hex',16,'Oct',8)",
    ),
    ("has_key", "G.V().HasKey('ArrE')"),
    ("has_not", "G.V().HasNot('MTU').Limit(1)"),
    ("ne", "G.V().Has('MTU', Ne(1500))"),
    ("nee", "G.V().Has('MTU', Nee(1500), 'B', Nee(true))"),
    ("lt", "G.V().Has('MTU', Lt(9000), 'Neg', Lte(-3))"),
    ("gt", "G.V().Has('Big', Gt(9007199254740990))"),
    ("inside", "G.V().Has('I', Inside(40, 44))"),
    ("outside", "G.V().Has('I', Outside(50, 60))"),
    ("between", "G.V().Has('I', Between(42, 42.9))"),
    ("within", "G.V().Has('Name', Within('br0', 1, true, 2.5))"),
    ("without", "G.V().Has('Ifs.Tags', Without('a'))"),
    ("regex", "G.V().Has('S', Regex('(?i)AB.'))"),
    (
        "ipv4range",
        "G.V().Has('IPV4', IPV4Range('192.168.0.0/24'))",
    ),
    (
        "predicate_in_metadata",
        "G.V().ShortestPathTo(Metadata('MTU', Gt(1)), Metadata())",
    ),
    ("out", "G.V('br0').Out('RelationType', 'layer2').Limit(1)"),
    ("in", "G.V('eth0').In().In()"),
    ("both", "G.V().Both('MTU').Both().Dedup()"),
    ("out_e", "G.V().OutE('W', Gt(3)).OutV()"),
    ("in_e", "G.V().InE().InV()"),
    ("both_e", "G.V().BothE('RelationType', 'layer2').BothV()"),
    ("dedup", "G.V().Dedup('Type', '@Host').Count()"),
    ("range", "G.V().Range(2, 4).Limit(1)"),
    ("sort", "G.V().Sort(DESC, 'MTU').Limit(2)"),
    ("sort_flows", "G.Flows().Sort('Start').Dedup('TrackingID')"),
    ("values", "G.V().Values('Ifs.Name').Dedup()"),
    (
        "values_filter",
        "G.V().Values('Nest').Has('k.n', 5).Limit(1)",
    ),
    ("value_map", "G.V().ValueMap('Name', 'S').Has('S')"),
    ("keys", "G.V().Keys()"),
    ("sum", "G.V().Sum('Metric.TxBytes')"),
    (
        "as_select",
        "G.V().Has('MTU').As('a').Out().As('b').Select('a', 'b')",
    ),
    (
        "sub_graph",
        "G.E().Has('RelationType', 'layer2').SubGraph().V('br0').Out()",
    ),
    (
        "sub_graph_filter",
        "G.V().SubGraph('RelationType', Without('layer2')).E()",
    ),
    (
        "path",
        "G.V('host').ShortestPathTo(Metadata('I', 42), Metadata('RelationType', 'layer2'))",
    ),
    (
        "path_dedup",
        "G.V().ShortestPathTo(Metadata('Type', 'host')).Dedup().SubGraph()",
    ),
    (
        "descendants",
        "G.V('host').Descendants('RelationType', 'ownership', 'RelationType', 'layer2', 3)",
    ),
    ("ascendants", "G.V('odd1').Ascendants(0)"),
    (
        "neighbors",
        "G.V('br0').Neighbors('RelationType', 'layer2')",
    ),
    ("flows", "G.Flows('Application', 'TCP')"),
    (
        "flows_has",
        "G.Flows().Has('Network', Ipv4Range('10.0.0.0/24'), 'Transport', 80)",
    ),
    (
        "flows_either",
        "G.Flows().HasEither('ICMP.ID', 222, 'Link', Ne('x')).Count()",
    ),
    (
        "flows_of_nodes",
        "G.V().Has('Type', 'bridge').Flows().Limit(1)",
    ),
    ("flows_sum", "G.Flows().Sum('Metric.ABBytes')"),
    (
        "flows_values",
        "G.Flows().Values('LastUpdateMetric.ABBytes')",
    ),
    ("flows_keys", "G.Flows().Keys()"),
    ("hops", "G.Flows().Hops().Has('Type', 'bridge')"),
    ("nodes", "G.Flows().Nodes('PeerIntfMAC').Dedup()"),
    ("capture_node", "G.Flows().CaptureNode().Out()"),
    (
        "flow_ends",
        "G.Flows().Has('UUID', 'f1').Both('Type', 'veth')",
    ),
    ("group", "G.Flows().Group('TrackingID').MoreThan(1)"),
    ("metrics", "G.Flows().Metrics().Sum()"),
    (
        "metrics_of_nodes",
        "G.V().Metrics('LastUpdateMetric').Aggregates(10).Sum('RxBytes')",
    ),
    ("raw_packets", "G.Flows().RawPackets()"),
    ("bpf", "G.Flows().RawPackets().BPF('tcp port 80')"),
    ("sockets", "G.V().Sockets().Has('Pid', 12).Values('Name')"),
    ("flow_sockets", "G.Flows().Has('UUID', 'f1').Sockets()"),
    ("next_hop", "G.V().NextHop('10.16.0.3')"),
    ("workflow", "G.Workflow('CheckMTU', 'a', 1)"),
    ("back_to_g", "G.V().Count().G.E().Dedup('RelationType')"),
    ("misplaced", "G.V().Count().Has('a', 'b')"),
    (
        "no_commas",
        r#"g . v( ).HAS(,'Type',,"bridge'  'Name' "br0") .coUNT(,)"#,
    ),
    ("mistyped", "G.V().Hass('Type')"),
    (
        "too_large",
        "G.V().Range(9223372036854775807, 9223372036854775808)",
    ),
    (
        "floats",
        "G.V().Has('F', Within(1., 0.1, 44.50, -0.0, 4.9E1))",
    ),
    ("negative_page", "G.V().Limit(-9223372036854775808)"),
    ("letters_in_number", "G.V().Has('I', 0x2a)"),
    ("dangling_dot", "G.V()."),
    ("open_parenthesis", "G.V().Has('a', Ne("),
    ("open_string", "G.V('host"),
    ("open_string_in_predicate", r#"G.V().Has('a', Regex("x"#),
    (
        "bad_regex",
        "G.V().Has('S', Regex('(((')).Has('S', Regex('a{1000}{1000}'))",
    ),
    ("other_alphabet", "G.V().Has('Näme', '主机')"),
];

fn query_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |depth| {
        format!(
            "G.V().Has('a', {}1{})",
            "Ne(".repeat(depth),
            ")".repeat(depth)
        )
    };
    let long = |step: &str, times| format!("G.V(){}", step.repeat(times)).into_bytes();
    let written = QUERIES
        .iter()
        .map(|(name, text)| (*name, text.as_bytes().to_vec()));
    let made = [
        ("nested", nested(15).into_bytes()),
        ("nested_too_deep", nested(500).into_bytes()),
        ("many_steps", long(".Both()", 100)),
        ("many_edges", long(".BothE().BothV()", 50)),
        ("too_many_steps", long(".Out()", 600)),
        (
            "many_patterns",
            format!("G.V().HasEither({})", "'S',Regex('(a|b)+c'),".repeat(32)).into_bytes(),
        ),
        (
            "huge_pattern",
            format!("G.V().Has('S', Regex('{}'))", "(a|b)*[c-z]{9}".repeat(70)).into_bytes(),
        ),
        (
            "nested_pattern",
            format!(
                "G.V().Has('S', Regex('{}a{}'))",
                "(".repeat(300),
                ")*".repeat(300)
            )
            .into_bytes(),
        ),
        (
            "long_string",
            format!("G.V().Has('{}', '{}')", "a.".repeat(400), "b".repeat(400)).into_bytes(),
        ),
        (
            "long_number",
            format!("G.V().Limit({}.5)", "9".repeat(308)).into_bytes(),
        ),
        (
            "many_keys",
            format!("G.V().Dedup({})", "'Name' ".repeat(100)).into_bytes(),
        ),
        ("lines", b"G\n\t.V( )\r\n .Hass(\t)".to_vec()),
        ("nul", b"G.V('h\0ost').Out(".to_vec()),
        ("no_utf8", b"G.V().Has('Name', '\xff\xfe\xc3')".to_vec()),
        ("only_no_utf8", vec![0xf0, 0x9f, 0x92]),
        ("empty", Vec::new()),
    ];
    written.chain(made).collect()
}

/// Queries of what changed in the graph they are asked of; the others are those above.
const GRAPH_QUERIES: &[(&str, &str)] = &[
    ("then", "G.At(1700000005000).V().Has('Name', 'br0')"),
    (
        "then_count",
        "G.At(1700000005000).V().Has('Type', 'veth').Count()",
    ),
    ("ago", "G.At('-3s').V().Out().Dedup()"),
    ("slice", "G.At(NOW, '5s').V().Has('MTU', Gt(0))"),
    (
        "slice_walk",
        "G.At('-1s', 4).V().BothE().BothV().Dedup('Type')",
    ),
    (
        "slice_edges",
        "G.Context(NOW, FOREVER).E().Has('RelationType', 'layer2').Count()",
    ),
    (
        "past_either",
        "G.At('-2s').V().HasEither('Name', 'a', 'Name', 42, 'TID', 'n1')",
    ),
    ("past_id", "G.At('-2s').V().Has('@ID', 'n3')"),
    (
        "past_path",
        "G.At('-1s').V().ShortestPathTo(Metadata('Type', 'bridge'))",
    ),
    (
        "past_subgraph",
        "G.At('-1s').V().Has('Type', 'veth').SubGraph()",
    ),
    ("past_flows", "G.At('-1s').V().Flows().Count()"),
    ("by_id", "G.V().Has('@ID', 'n3', 'Type', 'bridge')"),
    ("by_parent", "G.E().Has('Parent', 'n1').OutV()"),
    ("by_child", "G.E().Has('Child', 'n2').Count()"),
    ("edge_by_id", "G.E().Has('@ID', 'e3')"),
    ("largest", "G.V().Sort(DESC, 'MTU').Limit(3).Values('Name')"),
    ("latest", "G.V().Sort(DESC, '@UpdatedAt').Range(1, 4)"),
    ("revised", "G.V().Has('@Revision', Gt(1)).Count()"),
    ("gone", "G.V('n3').Values('Name')"),
    ("filtered", "G.Flows().RawPackets().BPF('a')"),
    ("whole", "G.V().Has('Type', 'bridge').G"),
    (
        "nested",
        "G.V().Has('Nest.k.n', 5).ValueMap('Nest', 'Metric')",
    ),
];

/// A graph that comes, changes and goes, and a query behind it.
fn graph_query_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut state = 7_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let queries = QUERIES.iter().chain(GRAPH_QUERIES);
    let seed = |(name, text): &(&'static str, &str)| {
        let mut seed = vec![40];
        // First nodes, then edges, then anything.
        for change in 0..40 {
            let kind = match change {
                0..8 => random() & 0xf8,
                8..16 => random() & 0xf8 | 2,
                _ => random(),
            };
            seed.extend([kind, random(), random()]);
        }
        seed.extend(text.as_bytes());
        (*name, seed)
    };
    queries.map(seed).collect()
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
    // An Ethernet interface of 64 bytes, 2 to the power of -20 seconds, an hour ahead.
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

fn compressed_seeds() -> Vec<(&'static str, Vec<u8>)> {
    // "hello" and so on, each as its own tool makes it.
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

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

#[cfg(feature = "spp")]
fn spp_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let launch = br#"{"client_id":"4","proc_name":"spp_pcap","eal":{"-l":"1-3","--proc-type":"x"},"app":{"-c":"phy:0"}}"#;
    let outside = br#"{"client_id":4,"proc_name":"spp_pcap","eal":{"-c":"0xe","--proc-type":"x"},"app":{"-c":"phy:0","--out-dir":"../../.."}}"#;
    let reply = br#"{"results":[{"result":"error","error_details":{"message":"Invalid value (command)"}}]}"#;
    let status =
        br#"{"results":[{"result":"success"}],"info":{"client-id":1,"status":"idle","core":[]}}"#;
    let seed = |kind: u8, body: &[u8]| [&[kind], body].concat();
    vec![
        ("start", seed(0, br#"{"action":"start"}"#)),
        (
            "no_action",
            seed(0, br#"{"action":["start"],"action":null}"#),
        ),
        ("launch", seed(1, launch)),
        ("launch_outside", seed(1, outside)),
        ("refusal", seed(2, reply)),
        ("status", seed(2, status)),
        ("array", seed(2, br#"[[{"result":"error"}],1,"pcap"]"#)),
        ("port", seed(3, b"phy:0 nq 1")),
        ("no_port", seed(3, "phy:\u{661} nq".as_bytes())),
    ]
}
