//! Tests of the steps on flows and raw packets.

use super::*;
use crate::flow::{PacketFilter, RawPacket};
use crate::packet::{LinkType, PacketRef};

/// Compiler of filters that match packets beginning with the first byte of the text.
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
