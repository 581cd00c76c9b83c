//! Messages of the WebSocket interface.

use super::replay;

#[path = "../../../../fuzz/checks/agent_message.rs"]
mod agent_message;
#[path = "../../../../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../../../../fuzz/checks/flow_message.rs"]
mod flow_message;
#[path = "../../../../fuzz/checks/ws_message.rs"]
mod ws_message;
#[path = "../../../../fuzz/checks/ws_session.rs"]
mod ws_session;

#[test]
fn messages_of_publishers() {
    replay("ws_message", ws_message::check, &ws_message_seeds());
}

#[test]
fn protobuf_envelopes() {
    replay("envelope", envelope::check, &envelope_seeds());
}

#[test]
fn flows_of_agents() {
    replay("flow_message", flow_message::check, &flow_message_seeds());
}

#[test]
fn requests_and_replies_of_agents() {
    replay(
        "agent_message",
        agent_message::check,
        &agent_message_seeds(),
    );
}

#[test]
fn sessions_of_clients() {
    replay("ws_session", ws_session::check, &ws_session_seeds());
}

/// Endpoint and encoding, and messages after their length.
fn ws_session_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let session = |kind: u8, messages: &[&[u8]]| {
        let mut bytes = vec![kind];
        for message in messages {
            bytes.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
            bytes.extend(*message);
        }
        bytes
    };
    let json = |kind: &str, object: &str| {
        format!(r#"{{"Namespace":"Graph","Type":"{kind}","Obj":{object}}}"#).into_bytes()
    };
    let node = r#"{"ID":"a","Metadata":{"Name":"a","Type":"host"},"Origin":"x.y"}"#;
    let add = json("NodeAdded", node);
    let delete = json("NodeDeleted", node);
    let filter = json(
        "SyncRequest",
        r#"{"GremlinFilter":"G.V().Has('Type','host').SubGraph()"}"#,
    );
    let origin = json("OriginGraphDeleted", r#""x.y""#);
    let live = br#"{"Namespace":"Live","Type":"Query","UUID":"q","Obj":{"GremlinQuery":"G.V()"}}"#;
    let protobuf = [
        &b"\x0a\x05Graph\x12\x09NodeAdded\x32"[..],
        &[u8::try_from(node.len()).unwrap()],
    ]
    .concat();
    let protobuf = [&protobuf, node.as_bytes()].concat();
    let flow = b"\x0a\x06\x0a\x04abcd";
    vec![
        ("publisher", session(0, &[&filter, &add, &delete])),
        ("agent", session(2, &[&add, &origin, &delete])),
        ("protobuf", session(1, &[&protobuf, &protobuf])),
        ("agent_protobuf", session(3, &[&protobuf])),
        ("live", session(0, &[live, &add])),
        ("flows", session(4, &[flow, flow])),
    ]
}

/// Envelopes, one per line.
fn ws_message_seeds() -> [(&'static str, Vec<u8>); 8] {
    let a = r#"{"Namespace":"Graph","Type":"NodeAdded","Obj":{"ID":"a","Metadata":{"Name":"a","Type":"device"},"Revision":1}}"#;
    let b = a.replace(r#""a""#, r#""b""#);
    let edge = r#"{"Namespace":"Graph","Type":"EdgeAdded","Obj":{"ID":"e","Parent":"a","Child":"b","Metadata":{"RelationType":"layer2"}}}"#;
    let both = format!("{a}\n{b}\n{edge}\n");
    let with = |more: &str| format!("{both}{more}").into_bytes();
    [
        ("adds", both.clone().into_bytes()),
        (
            "updates",
            with(
                r#"{"Namespace":"Graph","Type":"NodeUpdated","Obj":{"ID":"a","Metadata":{"Name":"x","Type":"y"},"Revision":2}}
{"Namespace":"Graph","Type":"EdgeUpdated","Obj":{"ID":"e","Parent":"a","Child":"b","Metadata":{"RelationType":"x"},"Revision":2}}"#,
            ),
        ),
        (
            "partial",
            with(
                r#"{"Namespace":"Graph","Type":"NodePartiallyUpdated","Obj":{"ID":"a","UpdatedAt":5,"Revision":3,"Ops":[{"Type":1,"Key":"A.B","Value":{"C":[1,null,"x"]}},{"Type":2,"Key":"Name"}]}}
{"Namespace":"Graph","Type":"EdgePartiallyUpdated","Obj":{"ID":"e","Revision":3,"Ops":null}}"#,
            ),
        ),
        (
            "deletes",
            with(
                r#"{"Namespace":"Graph","Type":"EdgeDeleted","Obj":{"ID":"e","Parent":"a","Child":"b"}}
{"Namespace":"Graph","Type":"NodeDeleted","Obj":{"ID":"a","DeletedAt":7}}"#,
            ),
        ),
        (
            "sync",
            with(
                r#"{"Namespace":"Graph","Type":"Sync","Obj":{"Nodes":[{"ID":"c"},{"ID":"c"}],"Edges":null}}
{"Namespace":"Graph","Type":"SyncRequest","UUID":"u","Obj":{"Time":5,"GremlinFilter":"G.V()"}}"#,
            ),
        ),
        (
            "nulls",
            with(
                r#"{"Namespace":"Graph","Type":"Sync","Obj":null}
{"namespace":null,"type":null,"uuid":null,"status":null,"obj":null}"#,
            ),
        ),
        (
            "edges_of_numbers",
            with(
                r#"{"Namespace":"Graph","Type":"NodeAdded","Obj":{"ID":"m","CreatedAt":-9223372036854775808,"UpdatedAt":9223372036854775807,"Revision":-1,"Metadata":{"N":18446744073709551615,"F":1e308}}}"#,
            ),
        ),
        (
            "not_utf8",
            b"{\"Namespace\":\"Graph\",\"Type\":\"NodeAdded\",\"Obj\":{\"ID\":\"\xff\"}}".to_vec(),
        ),
    ]
}

/// Encoding, and an object.
fn agent_message_seeds() -> [(&'static str, Vec<u8>); 6] {
    let json = |text: &str| [b"\x00", text.as_bytes()].concat();
    let task = r#"{"NodeID":"n","Resource":{"UUID":"c","GremlinQuery":"G.V()"}}"#;
    let query = r#"{"Type":"SearchQuery","query":{"Filter":{"BoolFilter":{"Op":1,"Filters":[{"TermStringFilter":{"Key":"NodeTID","Value":"t"}},{"NullFilter":{"Key":"ICMP"}},{"RegexFilter":{"Key":"Application","Value":"D.*"}},{"IPV4RangeFilter":{"Key":"Network.A","Value":"10.0.0.0/8"}},{"BoolFilter":{"Op":2,"Filters":[{"GteInt64Filter":{"Key":"Last","Value":5}}]}}]}},"PaginationRange":{"From":1,"To":9},"Sort":true,"SortBy":"Last","SortOrder":2,"Dedup":true,"DedupBy":"TrackingID"}}"#;
    let protobuf = "01 0a0b5365617263685175657279 1229 0a1d421b080112170a150a0b4170706c69636174696f6e\
                    120649434d507634180132044c6173743801";
    [
        ("task", json(task)),
        ("query", json(query)),
        ("query_protobuf", super::hex(protobuf)),
        (
            "result",
            json(r#"{"Status":200,"FlowSetBytes":["CgQKAmYx","EAEYAg=="]}"#),
        ),
        (
            "result_protobuf",
            super::hex("01 08c801 1206 0a04 0a026631 1204 1001 1802"),
        ),
        ("failed", json(r#"{"Status":404,"FlowSetBytes":null}"#)),
    ]
}

/// Fields in their wire encoding.
fn envelope_seeds() -> [(&'static str, Vec<u8>); 6] {
    let head = b"\x0a\x05Graph\x12\x0bSyncRequest";
    let with = |more: &[u8]| [head, more].concat();
    [
        ("bare", with(b"")),
        ("whole", with(b"\x1a\x01u\x20\xc8\x01\x32\x02{}")),
        ("format", with(b"\x28\x01\x32\x03\x0a\x01x")),
        ("format_of_json", with(b"\x28\x01\x32\x02[]")),
        (
            "negative",
            with(b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x28\x7f"),
        ),
        ("cut", with(b"\x32\x05{}")),
    ]
}

/// Messages encoded by the library, and a truncated one.
fn flow_message_seeds() -> [(&'static str, Vec<u8>); 5] {
    use prost::Message;
    use skylib::flow::{DnsLayer, DnsRecord, Flow, FlowMessage, FlowMetric, FlowStats, RawPacket};

    let metric = FlowMetric::default()
        .with_ab_packets(3)
        .with_ba_bytes(-1)
        .with_interval(i64::MIN, i64::MAX);
    let mut dns = DnsLayer::default();
    dns.answers = vec![DnsRecord::default(); 3];
    let flow = Flow::default()
        .with_uuid("f")
        .with_layers_path("Ethernet/IPv4/UDP/DNS")
        .with_times(1_600_000_000_000, 1_600_000_001_000)
        .with_metric(metric)
        .with_last_update_metric(metric)
        .with_dns(dns)
        .with_last_raw_packets(vec![RawPacket {
            timestamp: 5,
            index: -1,
            data: vec![0; 10].into(),
            link_type: 1,
            ..RawPacket::default()
        }]);
    let wire = |flows, stats| FlowMessage { flows, stats }.encode_to_vec();
    let stats = FlowStats::default().with_packets_received(-1);
    let one = wire(vec![flow.clone()], None);
    [
        ("cut", one[..one.len() - 3].to_vec()),
        ("one", one),
        (
            "several",
            wire(vec![flow.clone(), Flow::default(), flow], None),
        ),
        ("statistics", wire(Vec::new(), Some(stats.clone()))),
        ("both", wire(vec![Flow::default()], Some(stats))),
    ]
}
