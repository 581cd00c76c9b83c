//! Tests of the steps on flows and raw packets.

use super::*;
use crate::flow::{PacketFilter, PacketsByFlow, RawPacket};
use crate::packet::{LinkType, PacketRef};
use crate::value::Text;

/// Compiler of filters that match packets beginning with the first byte of the expression.
struct FirstByte;

impl PacketFilterCompiler for FirstByte {
    fn compile(
        &self,
        text: &str,
        link_type: LinkType,
        _: &dyn Fn() -> bool,
    ) -> Result<Box<dyn PacketFilter>, String> {
        struct Filter(Option<u8>, LinkType);
        impl PacketFilter for Filter {
            fn matches(&self, packet: &PacketRef<'_>) -> bool {
                assert_eq!(packet.link_type, self.1);
                self.0.is_none() || packet.data.first() == self.0.as_ref()
            }
        }
        match text {
            "wrong" => Err("syntax error".to_owned()),
            text => Ok(Box::new(Filter(text.bytes().next(), link_type))),
        }
    }
}

/// Live flows, and packets that have left their tables.
struct WithStore(Table, PacketsByFlow);

impl FlowSource for WithStore {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.0.query(query)
    }

    fn stored_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        let is_wanted = |(uuid, _): &&(Text, _)| uuids.contains(uuid);
        self.1.iter().filter(is_wanted).cloned().collect()
    }
}

#[test]
fn packets_of_a_running_flow_are_live_and_stored_ones() {
    let packets = |indices: &[i64]| -> Vec<RawPacket> {
        let packet = |index: &i64| RawPacket {
            index: *index,
            ..RawPacket::default()
        };
        indices.iter().map(packet).collect()
    };
    let flow = |uuid: &str, captured, live: &[i64]| Flow {
        uuid: uuid.into(),
        raw_packets_captured: captured,
        last_raw_packets: packets(live),
        ..Flow::default()
    };
    let flows = vec![
        flow("both", 4, &[3, 4]),
        flow("only_stored", 2, &[]),
        flow("only_live", 1, &[1]),
        flow("none", 0, &[]),
    ];
    let stored = [("both", &[1, 2, 3][..]), ("only_stored", &[1, 2])]
        .map(|(uuid, indices)| (Text::from(uuid), packets(indices)));
    let source = WithStore(Table(flows), stored.to_vec());
    let graph = graph(&[], &[]);
    let view = GraphView::open(&graph);
    let context = Context::new(&view, &source, Timestamp::ZERO);
    let query = Query::parse("G.Flows().RawPackets()").unwrap();
    let Answer::RawPackets(found) = query.run(&context).unwrap() else {
        panic!("no packets");
    };
    let wanted: [(&str, &[i64]); 3] = [
        ("both", &[1, 2, 3, 4]),
        ("only_stored", &[1, 2]),
        ("only_live", &[1]),
    ];
    assert_eq!(
        found,
        wanted.map(|(uuid, indices)| (Text::from(uuid), packets(indices)))
    );
    let limits = Limits::default().with_max_elements(6);
    let context = Context::new(&view, &source, Timestamp::ZERO).with_limits(limits);
    assert!(query.run(&context).is_err(), "packets count as elements");
}

#[test]
fn packets_are_filtered_by_the_compiled_program() {
    let packet = |data: &'static str, link_type| RawPacket {
        data: data.as_bytes().into(),
        link_type,
        ..RawPacket::default()
    };
    let flow = |uuid: &str, packets: Vec<RawPacket>| Flow {
        uuid: uuid.into(),
        last_raw_packets: packets,
        ..Flow::default()
    };
    let flows = Table(vec![
        flow(
            "f1",
            vec![packet("abc", 1), packet("xyz", 1), packet("a", 101)],
        ),
        flow("f2", vec![packet("x", 1)]),
        flow("f3", Vec::new()),
    ]);
    let graph = graph(&[], &[]);
    let view = GraphView::open(&graph);
    let context = Context::new(&view, &flows, Timestamp::ZERO);
    let run = |text: &str, context: &Context<'_>| Query::parse(text)?.run(context);
    let filtered = context.with_packet_filters(&FirstByte);
    let answer = run("G.Flows().RawPackets().BPF('a')", &filtered).unwrap();
    let Answer::RawPackets(matching) = &answer else {
        panic!("{answer:?}")
    };
    let matching: Vec<(&str, usize)> = matching
        .iter()
        .map(|(id, list)| (id.as_str(), list.len()))
        .collect();
    assert_eq!(matching, [("f1", 2), ("f2", 0)]);
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json[0]["f2"], serde_json::Value::Null);
    let all = run("G.Flows().RawPackets()", &filtered);
    assert_eq!(run("G.Flows().RawPackets().BPF('')", &filtered), all);
    let twice = run("G.Flows().RawPackets().BPF('a').BPF('x')", &filtered).unwrap();
    assert_eq!(
        serde_json::to_string(&twice).unwrap(),
        r#"[{"f1":null,"f2":null}]"#
    );
    for text in [
        "G.Flows().RawPackets().BPF('wrong')",
        "G.Flows().Limit(0).RawPackets().BPF('wrong')",
    ] {
        let error = run(text, &filtered).unwrap_err();
        assert_eq!(error.message(), "syntax error", "{text}");
        assert_eq!(error.offset(), text.find("BPF"), "{text}");
    }
    let error = run("G.Flows().RawPackets().BPF('a')", &context).unwrap_err();
    assert_eq!(error.message(), "BPF is not supported by this program");
}

#[test]
fn flows_lead_back_to_nodes() {
    let mut graph = Graph::new();
    for (id, json) in [
        ("port", r#"{"TID":"t1","Type":"veth"}"#),
        ("host", r#"{"TID":"t2","Type":"host"}"#),
        ("a", r#"{"MAC":["x","02:00:00:00:00:0a"]}"#),
        ("b", r#"{"PeerIntfMAC":"02:00:00:00:00:0b"}"#),
    ] {
        graph
            .add_node(Node::new(id, metadata(json), Timestamp::ZERO))
            .unwrap();
    }
    let flow = |uuid: &str, tid: &str| -> Flow {
        let json = format!(
            r#"{{"UUID":"{uuid}","NodeTID":"{tid}","TrackingID":"same","Link":
            {{"Protocol":"ETHERNET","A":"02:00:00:00:00:0a","B":"02:00:00:00:00:0b"}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    };
    let bare = Flow {
        uuid: "3".into(),
        ..Flow::default()
    };
    let table = Table(vec![flow("1", "t1"), flow("2", "t2"), bare]);
    let view = GraphView::open(&graph);
    let run = |query: &str| {
        let context = Context::new(&view, &table, Timestamp::ZERO);
        let answer = Query::parse(query).unwrap().run(&context).unwrap();
        match answer {
            Answer::Nodes(nodes) => nodes.iter().map(|n| n.id.to_string()).collect::<Vec<_>>(),
            Answer::Flows(set) => set.flows.iter().map(|f| f.uuid.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(run("G.Flows().Both()"), ["a", "b", "a", "b"]);
    assert_eq!(run("G.Flows().Out()"), ["b", "b"]);
    assert_eq!(run("G.Flows().In().Limit(1)"), ["a"]);
    assert_eq!(run("G.Flows().Hops()"), ["port", "host"]);
    assert_eq!(run("G.Flows().Nodes().Dedup()"), ["port", "a", "host"]);
    assert_eq!(
        run("G.Flows().Hops('Type','veth').Has('TID','t2')"),
        [""; 0]
    );
    assert_eq!(run("G.V().Flows()"), ["1"], "nothing is captured on a host");
    assert_eq!(run("G.V('host').Flows()"), [""; 0]);
}
