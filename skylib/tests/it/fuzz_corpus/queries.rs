//! Queries as strings, and queries of small graphs.

use super::replay;

#[path = "../../../../fuzz/checks/graph_query.rs"]
mod graph_query;
#[path = "../../../../fuzz/checks/gremlin.rs"]
mod gremlin;

#[test]
fn queries() {
    replay("gremlin", gremlin::check, &query_seeds());
}

#[test]
fn queries_of_small_graphs() {
    replay("graph_query", graph_query::check, &graph_query_seeds());
}

/// Queries that are short enough for a list; code below generates the long ones.
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

/// Queries of the changes to a graph, in addition to the queries above.
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

/// A graph whose elements are added, changed, and deleted, followed by a query.
fn graph_query_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut state = 7_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let queries = QUERIES.iter().chain(GRAPH_QUERIES);
    let seed = |(name, text): &(&'static str, &str)| {
        let mut seed = vec![40];
        // First nodes, then edges, then elements of any kind.
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
