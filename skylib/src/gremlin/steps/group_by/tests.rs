//! Tests of grouping, most against a model that compares every pair of flows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::flow::{Flow, FlowLayer, FlowMetric, FlowProtocol, FlowQuery, FlowQueryError, FlowSet};
use crate::flow::{FlowSource, TransportLayer};
use crate::graph::history::{HistoryLimits, MemoryHistory};
use crate::graph::{Edge, Graph, GraphView, Metadata, Node};
use crate::gremlin::{Answer, Context, Limits, Query, QueryError};
use crate::time::Timestamp;

const SLACK_MS: i64 = 5_000;

/// Returns a flow of `bytes` bytes in each direction, captured on a node.
fn flow(traffic: &str, node: &str, times: (i64, i64), ends: (&str, &str), bytes: i64) -> Flow {
    let network = FlowLayer {
        protocol: FlowProtocol::Ipv4,
        a: ends.0.into(),
        b: ends.1.into(),
        id: 0,
    };
    let metric = FlowMetric {
        ab_bytes: bytes,
        ba_bytes: bytes,
        ab_packets: bytes / 10,
        ba_packets: bytes / 10,
        ..FlowMetric::default()
    };
    Flow::default()
        .with_uuid(format!("{traffic}-{node}-{}", times.0))
        .with_l3_tracking_id(traffic)
        .with_node_tid(node)
        .with_times(times.0, times.1)
        .with_network(network)
        .with_metric(metric)
}

fn run(graph: &Graph, flows: Vec<Flow>, query: &str) -> Result<String, QueryError> {
    let view = GraphView::open(graph);
    let flows = FlowSet::from_flows(flows);
    let answer = Query::parse(query)?.run(&Context::new(&view, &flows, Timestamp::ZERO))?;
    Ok(answer
        .to_string()
        .replace(r#""CountedBy":"L3TrackingID","#, ""))
}

/// Returns the answer, without the constant column.
fn answer(flows: Vec<Flow>, query: &str) -> String {
    run(&Graph::new(), flows, query).unwrap()
}

#[test]
fn a_connection_counts_once_however_often_it_was_captured() {
    let ends = ("10.0.0.1", "10.0.0.2");
    let flows = vec![
        flow("c1", "veth", (0, 100), ends, 500),
        flow("c1", "bridge", (3, 103), ends, 700),
        flow("c1", "eth0", (900, 950), ends, 100),
        flow("c2", "veth", (0, 10), ends, 40),
    ];
    assert_eq!(
        answer(
            flows.clone(),
            "G.Flows().GroupBy('Network.A','Network.B').Sum('Metric.ABBytes')"
        ),
        r#"[{"Connections":2,"Flows":4,"Metric.ABBytes":740,"Network.A":"10.0.0.1","Network.B":"10.0.0.2"}]"#
    );
    // A key of the capture point counts it once for each point.
    assert_eq!(
        answer(flows, "G.Flows().GroupBy('NodeTID').Sum('Bytes')"),
        concat!(
            r#"[{"Bytes":1400,"Connections":1,"Flows":1,"NodeTID":"bridge"},"#,
            r#"{"Bytes":1080,"Connections":2,"Flows":2,"NodeTID":"veth"},"#,
            r#"{"Bytes":200,"Connections":1,"Flows":1,"NodeTID":"eth0"}]"#
        )
    );
}

#[test]
fn successive_connections_between_the_same_ports_all_count() {
    let ends = ("a", "b");
    let flows = vec![
        flow("c", "n1", (0, 100), ends, 10),
        flow("c", "n1", (101, 200), ends, 20),
        // The other point missed the first one.
        flow("c", "n2", (102, 201), ends, 20),
        // Much later, seen only elsewhere.
        flow("c", "n2", (100_000, 100_001), ends, 40),
    ];
    assert_eq!(
        answer(
            flows,
            "G.Flows().GroupBy('Network.A').Sum('Metric.ABBytes')"
        ),
        r#"[{"Connections":3,"Flows":4,"Metric.ABBytes":70,"Network.A":"a"}]"#
    );
}

#[test]
fn rows_are_sorted_and_paged() {
    let flows = |n: i64| -> Vec<Flow> {
        let one = |i: i64| {
            let a = format!("10.0.0.{}", i % 4);
            flow(&format!("c{i}"), "n", (i, i), (a.as_str(), "b"), 10 * i)
        };
        (0..n).map(one).collect()
    };
    let values = |query: &str| answer(flows(10), query);
    let by_a = "G.Flows().GroupBy('Network.A')";
    // Bytes are 120, 150, 80, 100; connections are 3, 3, 2, 2.
    for (query, wanted) in [
        (
            ".Sum('Metric.ABBytes').Limit(2).Values('Network.A')",
            r#"["10.0.0.1","10.0.0.0"]"#,
        ),
        (
            ".Limit(2).Sum('Metric.ABBytes').Values('Metric.ABBytes')",
            "[150,120]",
        ),
        (
            ".Sort('Network.A').Range(1, 3).Values('Network.A')",
            r#"["10.0.0.1","10.0.0.2"]"#,
        ),
        (".Count().Values('Connections')", "[3,3,2,2]"),
        (
            ".Sum('Packets').Sort('Packets').Values('Packets')",
            "[16,20,24,30]",
        ),
        (
            ".Sum('Metric.ABBytes').Has('Metric.ABBytes', Gt(100)).Count()",
            "2",
        ),
        (".Has('Network.A', '10.0.0.3').Values('Connections')", "[2]"),
        (".Count().Count()", "4"),
        (".Limit(3).Count()", "3"),
        (".Limit(0)", "null"),
        (".Range(3, 100).Values('Network.A')", r#"["10.0.0.3"]"#),
        (".Range(7, 3)", "null"),
    ] {
        assert_eq!(values(&format!("{by_a}{query}")), wanted, "{query}");
    }
    assert_eq!(
        values("G.Flows().Sort(DESC,'Start').Limit(2).GroupBy('Network.B').Sum('Metric.ABBytes')"),
        r#"[{"Connections":2,"Flows":2,"Metric.ABBytes":170,"Network.B":"b"}]"#
    );
}

#[test]
fn either_end_counts_a_connection_for_both_hosts() {
    let flows = vec![
        flow("c1", "n", (0, 1), ("10.0.0.1", "10.0.0.2"), 10),
        flow("c2", "n", (0, 1), ("10.0.0.3", "10.0.0.1"), 20),
        flow("c3", "n", (0, 1), ("10.0.0.1", "10.0.0.1"), 40),
    ];
    assert_eq!(
        answer(
            flows.clone(),
            "G.Flows().GroupBy('Network').Sum('Metric.ABBytes')"
        ),
        concat!(
            r#"[{"Connections":3,"Flows":3,"Metric.ABBytes":70,"Network":"10.0.0.1"},"#,
            r#"{"Connections":1,"Flows":1,"Metric.ABBytes":20,"Network":"10.0.0.3"},"#,
            r#"{"Connections":1,"Flows":1,"Metric.ABBytes":10,"Network":"10.0.0.2"}]"#
        )
    );
    assert_eq!(
        answer(
            flows,
            "G.Flows().GroupBy('Network/24').Sum('Metric.ABBytes')"
        ),
        r#"[{"Connections":3,"Flows":3,"Metric.ABBytes":70,"Network/24":"10.0.0.0/24"}]"#
    );
}

#[test]
fn wrong_keys_measures_and_columns_are_rejected() {
    let error = |steps: &str| {
        let query = format!("G.Flows().GroupBy{steps}");
        run(&Graph::new(), Vec::new(), &query)
            .unwrap_err()
            .to_string()
    };
    for (steps, wanted) in [
        ("()", "GroupBy requires at least one string key : []"),
        ("(1)", "GroupBy requires at least one string key : [1]"),
        ("('Network.X')", "did you mean"),
        ("('Network.A').Sum()", "Sum requires string keys"),
        (
            "('Network.A').Sum('Application')",
            "cannot add up \"Application\"",
        ),
        ("('Network.A').Rate('RTT')", "no rate of \"RTT\""),
        (
            "('Network.A').Sum('Bytes').Sort('Metric.ABBytes')",
            "the columns are Network.A, Bytes, Connections, Flows",
        ),
    ] {
        let error = error(steps);
        assert!(error.contains(wanted), "{steps}: {error}");
    }
}

/// Returns a host with an interface, and a namespace with another one and a container.
fn lab() -> Graph {
    let mut graph = Graph::new();
    let mut add = |owner: &str, id: &str, json: &str| {
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        let node = Node::new(id, metadata, Timestamp::ZERO);
        let origin = crate::graph::Origin::default().with_host("edge-01");
        graph.add_node(node.with_origin(origin)).unwrap();
        let ownership = Metadata::from_iter([("RelationType", "ownership")]);
        // The host has no owner.
        let _owned = graph.add_edge(Edge::between(owner, id, ownership, Timestamp::ZERO));
    };
    add("", "host", r#"{"Type":"host","Name":"edge-01"}"#);
    add("host", "ns", r#"{"Type":"netns","Name":"web"}"#);
    add("ns", "c", r#"{"Type":"container","Name":"nginx"}"#);
    add(
        "host",
        "eth0",
        r#"{"Type":"device","Name":"eth0","TID":"t1","MAC":"02:00:00:00:00:01","IPV4":["192.0.2.1/24"]}"#,
    );
    add(
        "host",
        "lo",
        r#"{"Type":"device","Name":"lo","TID":"t2","IPV4":["127.0.0.1/8"]}"#,
    );
    add(
        "ns",
        "eth1",
        r#"{"Type":"veth","Name":"eth1","TID":"t3","MAC":"02:00:00:00:00:02","IPV4":["192.0.2.2/24"]}"#,
    );
    add(
        "ns",
        "lo1",
        r#"{"Type":"device","Name":"lo-web","TID":"t4","IPV4":["127.0.0.1/8"]}"#,
    );
    graph
}

#[test]
fn ends_have_the_names_of_their_nodes() {
    let graph = lab();
    let one = |key: &str, node: &str, ends: (&str, &str)| {
        let flows = vec![flow("c", node, (0, 1), ends, 10)];
        let query = format!("G.Flows().GroupBy('{key}').Values('{key}')");
        run(&graph, flows, &query).unwrap()
    };
    let ends = ("192.0.2.1", "192.0.2.2");
    for (key, wanted) in [
        ("Node", r#"["eth0"]"#),
        ("Node.A", r#"["eth0"]"#),
        ("Node.B", r#"["eth1"]"#),
        ("Namespace", "[null]"),
        ("Namespace.A", "[null]"),
        ("Namespace.B", r#"["web"]"#),
        ("Container.B", r#"["nginx"]"#),
        ("Container.A", "[null]"),
        ("Host.A", r#"["edge-01"]"#),
        ("Host", r#"["edge-01"]"#),
    ] {
        assert_eq!(one(key, "t1", ends), wanted, "{key}");
    }
    assert_eq!(one("Node.B", "t1", ("192.0.2.1", "198.51.100.1")), "[null]");
    // An address of several interfaces belongs to the one beside the capture.
    let loopback = ("127.0.0.1", "127.0.0.1");
    assert_eq!(one("Node.A", "t2", loopback), r#"["lo"]"#);
    assert_eq!(one("Node.A", "t4", loopback), r#"["lo-web"]"#);
}

/// Live and stored flows.
struct Both {
    live: FlowSet,
    stored: FlowSet,
}

impl FlowSource for Both {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        match query.time {
            None => self.live.query(query),
            Some(_) => self.stored.query(query),
        }
    }
}

#[test]
fn a_slice_until_now_covers_live_and_ended_flows() {
    let ends = ("a", "b");
    let both = Both {
        live: FlowSet::from_flows(vec![
            flow("c1", "n", (1_000, 9_000), ends, 100),
            flow("c3", "n", (9_500, 9_600), ends, 1_000),
        ]),
        // The stored record of the first flow is older.
        stored: FlowSet::from_flows(vec![
            flow("c1", "n", (1_000, 5_000), ends, 60),
            flow("c2", "n", (2_000, 3_000), ends, 10),
        ]),
    };
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    let history = MemoryHistory::new(HistoryLimits::default());
    let now = Timestamp::from_ms(10_000);
    let context = Context::new(&view, &both, now).with_history(&history);
    let sum = |query: &str| {
        let query = format!("{query}.Flows().GroupBy('Network.A').Sum('Metric.ABBytes')");
        let query = format!("{query}.Values('Metric.ABBytes')");
        Query::parse(&query)
            .unwrap()
            .run(&context)
            .unwrap()
            .to_string()
    };
    assert_eq!(sum("G"), "[1100]");
    assert_eq!(sum("G.At(NOW, 60)"), "[1110]");
    assert_eq!(
        sum("G.At('-1s', 60)"),
        "[70]",
        "the past is only in the store"
    );
}

#[test]
fn a_router_between_two_captures_makes_no_second_connection() {
    let ports = |a, b| TransportLayer {
        protocol: FlowProtocol::Tcp,
        a,
        b,
        id: 0,
    };
    // The MAC addresses order the ends differently, so that the identifiers differ.
    let flows = vec![
        flow("x", "inside", (0, 100), ("10.0.0.1", "192.0.2.1"), 500)
            .with_transport(ports(4000, 80)),
        flow("y", "outside", (1, 101), ("10.0.0.1", "192.0.2.1"), 500)
            .with_transport(ports(4000, 80)),
        flow("z", "outside", (1, 101), ("10.0.0.1", "192.0.2.1"), 10)
            .with_transport(ports(4001, 80)),
    ];
    assert_eq!(
        answer(flows, "G.Flows().GroupBy('Network.A').Count()"),
        r#"[{"Connections":2,"Flows":3,"Network.A":"10.0.0.1"}]"#
    );
}

/// A row: connections, flows, and bytes.
type Row = (u64, u64, i64);

/// Returns the rows by address pair, by comparing all flows of a connection with each other.
fn model(flows: &[Flow]) -> BTreeMap<(String, String), Row> {
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    let key = |flow: &Flow| {
        let network = flow.network.as_ref().unwrap();
        (network.a.to_string(), network.b.to_string())
    };
    let near = |a: &Flow, b: &Flow| {
        a.l3_tracking_id == b.l3_tracking_id
            && a.start <= b.last + SLACK_MS
            && b.start <= a.last + SLACK_MS
    };
    // Components of flows that are near each other, directly or through others.
    let mut component: Vec<usize> = (0..flows.len()).collect();
    for _ in 0..flows.len() {
        for a in 0..flows.len() {
            for b in 0..flows.len() {
                if near(&flows[a], &flows[b]) {
                    let least = component[a].min(component[b]);
                    (component[a], component[b]) = (least, least);
                }
            }
        }
    }
    for (at, flow) in flows.iter().enumerate() {
        rows.entry(key(flow)).or_default().1 += 1;
        let packets_at = |node: &str| -> i64 {
            let members = flows.iter().enumerate();
            members
                .filter(|(other, f)| component[*other] == component[at] && f.node_tid == *node)
                .map(|(_, f)| f.metric.map_or(0, |m| m.ab_packets + m.ba_packets))
                .sum()
        };
        let nodes = flows.iter().enumerate();
        let nodes = nodes.filter(|(other, _)| component[*other] == component[at]);
        let best = nodes
            .map(|(_, f)| {
                (
                    packets_at(&f.node_tid),
                    std::cmp::Reverse(f.node_tid.to_string()),
                )
            })
            .max()
            .unwrap();
        if best.1.0 == flow.node_tid.as_str() {
            let row = rows.entry(key(flow)).or_default();
            row.0 += 1;
            row.2 += flow.metric.map_or(0, |m| m.ab_bytes);
        }
    }
    rows.retain(|_, row| row.0 > 0);
    rows
}

fn random_flow() -> impl Strategy<Value = Flow> {
    let ends = prop::sample::select(vec![("a", "b"), ("b", "a"), ("a", "c")]);
    (0..6_u8, 0..3_u8, 0..40_i64, 0..8_i64, ends, 0..50_i64).prop_map(
        |(traffic, node, start, length, ends, bytes)| {
            let times = (start * 1_000, (start + length) * 1_000);
            let node = format!("n{node}");
            flow(&format!("c{traffic}"), &node, times, ends, bytes)
        },
    )
}

proptest! {
    #[test]
    fn groups_equal_those_of_a_model(flows in prop::collection::vec(random_flow(), 0..40)) {
        let wanted = model(&flows);
        let query = "G.Flows().GroupBy('Network.A','Network.B').Sum('Metric.ABBytes')";
        let set = FlowSet::from_flows(flows);
        let graph = Graph::new();
        let view = GraphView::open(&graph);
        let context = Context::new(&view, &set, Timestamp::ZERO);
        let answer = Query::parse(query).unwrap().run(&context).unwrap();
        let Answer::Value(rows) = answer else { panic!("{answer:?}") };
        let rows = rows.as_list().unwrap_or_default().iter().map(|row| {
            let row = row.as_map().unwrap();
            let text = |key: &str| row.get(key).unwrap().as_text().unwrap().to_owned();
            let number = |key: &str| row.get(key).unwrap().as_int().unwrap();
            let counts = (number("Connections") as u64, number("Flows") as u64);
            ((text("Network.A"), text("Network.B")), (counts.0, counts.1, number("Metric.ABBytes")))
        });
        let rows: Vec<_> = rows.collect();
        prop_assert!(rows.is_sorted_by(|a, b| a.1.2 >= b.1.2));
        prop_assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), wanted);
    }
}

#[test]
fn rates_and_ports_are_columns() {
    let transport = TransportLayer {
        protocol: FlowProtocol::Tcp,
        a: 40_000,
        b: 443,
        id: 0,
    };
    let last = FlowMetric {
        ab_bytes: 3_000,
        start: 10_000,
        last: 40_000,
        ..FlowMetric::default()
    };
    let flows = vec![
        flow("c", "n", (0, 40_000), ("a", "b"), 10)
            .with_transport(transport)
            .with_last_update_metric(last),
    ];
    assert_eq!(
        answer(flows, "G.Flows().GroupBy('Port').Rate().Rate('ABBytes')"),
        r#"[{"ABBytes/s":100,"Bytes/s":100,"Connections":1,"Flows":1,"Port":443}]"#
    );
}

#[test]
fn totals_are_charged_for_each_group_and_measure() {
    const GROUPS: usize = 2_000;
    let flows = (0..GROUPS).map(|n| {
        let (a, traffic) = (format!("10.0.{}.{}", n / 250, n % 250), format!("c{n}"));
        flow(&traffic, "veth", (0, 10), (&a, "10.1.0.1"), 40)
    });
    let flows = FlowSet::from_flows(flows.collect::<Vec<_>>());
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    // Returns the number of bytes that the query needs.
    let bytes_of = |query: &str| {
        let query = Query::parse(query).unwrap();
        let is_enough = |bytes: usize| {
            let limits = Limits::default().with_max_bytes(bytes);
            let context = Context::new(&view, &flows, Timestamp::ZERO).with_limits(limits);
            query.run(&context).is_ok()
        };
        let (mut too_few, mut enough) = (0, 100 << 20);
        assert!(is_enough(enough));
        while enough - too_few > 1_000 {
            let middle = usize::midpoint(too_few, enough);
            match is_enough(middle) {
                true => enough = middle,
                false => too_few = middle,
            }
        }
        enough
    };
    let one = bytes_of("G.Flows().GroupBy('Network.A').Sum('Metric.ABBytes').Limit(1)");
    let two =
        bytes_of("G.Flows().GroupBy('Network.A').Sum('Metric.ABBytes','Metric.BABytes').Limit(1)");
    // Each group has one connection with one more value, and one more total.
    let least = GROUPS * (size_of::<i64>() + size_of::<i64>());
    assert!(two >= one + least - 2_000, "{one} {two}");
}
