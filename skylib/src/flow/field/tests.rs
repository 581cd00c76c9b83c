use super::*;
use crate::decode::IcmpType;
use crate::filter::Filter;
use crate::flow::{FinishType, FlowLayer, FlowSet, SortOrder};
use crate::flow::{FlowProtocol, Vrrpv2Layer, Wire};
use crate::flow::{IcmpLayer, TcpMetric, TransportLayer};

fn flow() -> Flow {
    Flow {
        uuid: "f1".into(),
        link: Some(FlowLayer {
            a: "02:00:00:00:00:0a".into(),
            id: 5,
            ..FlowLayer::default()
        }),
        network: Some(FlowLayer {
            protocol: FlowProtocol::Ipv4,
            ..FlowLayer::default()
        }),
        transport: Some(TransportLayer {
            a: 1234,
            b: 80,
            ..TransportLayer::default()
        }),
        icmp: Some(IcmpLayer {
            kind: IcmpType::Echo,
            id: 222,
            ..IcmpLayer::default()
        }),
        metric: Some(FlowMetric {
            ab_bytes: 100,
            ..FlowMetric::default()
        }),
        vrrpv2: Some(Box::new(Vrrpv2Layer {
            priority: 7,
            ..Vrrpv2Layer::default()
        })),
        raw_packets_captured: 3,
        finish_type: FinishType::TcpFin,
        ..Flow::default()
    }
}

fn value(name: &str) -> Option<Value> {
    FlowField::parse(name).and_then(|field| flow().value(&field))
}

#[test]
fn names_reach_strings_integers_and_objects() {
    assert_eq!(value("UUID"), Some("f1".into()));
    assert_eq!(value("UUID.x"), Some("f1".into()));
    assert_eq!(value("Link.A"), Some("02:00:00:00:00:0a".into()));
    assert_eq!(value("ETHERNET.A"), Some("02:00:00:00:00:0a".into()));
    assert_eq!(value("Link.ID"), Some(5.into()));
    assert_eq!(value("IPV6.Protocol"), Some("IPV4".into()));
    assert_eq!(value("Transport.B"), Some(80.into()));
    assert_eq!(value("SCTP.Protocol"), Some("ETHERNET".into()));
    assert_eq!(value("ICMP.Type"), Some("ECHO".into()));
    assert_eq!(value("ICMP.ID"), Some(222.into()));
    assert_eq!(value("Metric.ABBytes"), Some(100.into()));
    assert_eq!(value("RawPacketsCaptured"), Some(3.into()));
    assert_eq!(value("RawPacketsCaptured.x"), Some(3.into()));
    assert_eq!(value("FinishType"), Some(2.into()));
    assert_eq!(value("VRRP.Priority"), Some(7.into()));
    assert_eq!(value("VRRPv2.Priority"), Some(7.into()));
    let link = value("Link").unwrap();
    assert_eq!(
        link.as_map().unwrap().get("Protocol"),
        Some(&"ETHERNET".into())
    );
}

#[test]
fn absent_layers_have_no_fields_but_a_null_value() {
    assert_eq!(value("TCPMetric.ABSynTTL"), None);
    assert_eq!(value("LastUpdateMetric.RTT"), None);
    assert_eq!(value("TCPMetric"), Some(Value::Null));
    assert_eq!(
        Flow::default().value(&FlowField::parse("Metric").unwrap()),
        Some(Value::Null)
    );
}

#[test]
fn unknown_names_are_no_fields() {
    for name in [
        "",
        "Nope",
        "ETHERNET.ID",
        "TCP.A",
        "Metric.Nope",
        "Link.",
        "IPMetric",
        "DNS.Nope",
    ] {
        assert!(FlowField::parse(name).is_none(), "{name:?}");
    }
}

#[test]
fn predicates_go_by_the_kind_of_the_field() {
    let has = |name: &str, predicate| Filter::test(name, predicate).matches(&flow());
    assert!(has("Transport.B", Predicate::Int(80)));
    assert!(!has("Transport.B", Predicate::Text("80".into())));
    assert!(!has("UUID", Predicate::Int(0)));
    assert!(!has("TCPMetric.ABSynTTL", Predicate::Lt(5)));
    assert!(has("FinishType", Predicate::Gte(1)));
    assert!(!has("Nope", Predicate::Present));
}

#[test]
fn every_listed_name_parses_to_itself() {
    for name in FlowField::names() {
        // Bookkeeping fields of Go's protobuf generator.
        assert!(!name.starts_with("XXX_"), "{name}");
        let field = FlowField::parse(name);
        assert_eq!(field.map(|field| field.to_string()).as_deref(), Some(*name));
    }
}

/// Returns a flow with a DNS message and two stored packets.
fn dns_flow() -> Flow {
    serde_json::from_value(serde_json::json!({
        "DNS": {
            "ID": 7, "op_code": "Query", "AA": true, "q_d_count": 1,
            "questions": [{"name": "a.example.org", "type": "A", "class": "IN"}],
            "answers": [
                {"name": "a.example.org", "TTL": 60, "IP": "192.0.2.1"},
                {"name": "a.example.org", "TTL": 30, "IP": "192.0.2.2", "SRV": {"port": 443}},
            ],
            "timestamp": {"seconds": 1_700_000_000, "nanos": 5_000_000},
        },
        "DHCPv4": {"hardware_len": 6, "file": "Ym9vdA=="},
        "VRRPv2": {"virtual_rtrID": 9, "count_ipaddr": 1},
        "LastRawPackets": [{"Timestamp": 5, "Index": 1}, {"Timestamp": 6, "Index": 2}],
    }))
    .unwrap()
}

#[test]
fn extra_layers_have_the_names_of_the_list_and_of_the_record() {
    let flow = dns_flow();
    let value = |name: &str| flow.value(&FlowField::parse(name)?);
    let ips = Value::list(["192.0.2.1", "192.0.2.2"]);
    for (listed, in_json, wanted) in [
        (
            "DNS.Questions.Name",
            "DNS.questions.name",
            "a.example.org".into(),
        ),
        ("DNS.Answers.IP", "DNS.answers.IP", ips),
        ("DNS.Answers.SRV.Port", "DNS.answers.SRV.port", 443.into()),
        ("DNS.QDCount", "DNS.q_d_count", 1.into()),
        ("DNS.OpCode", "DNS.op_code", "Query".into()),
        ("DNS.AA", "DNS.AA", true.into()),
        ("DNS.QR", "DNS.QR", false.into()),
        (
            "DNS.Timestamp",
            "DNS.timestamp",
            1_700_000_000_005_i64.into(),
        ),
        ("DHCPv4.HardwareLen", "DHCPv4.hardware_len", 6.into()),
        ("DHCPv4.File", "DHCPv4.file", "Ym9vdA==".into()),
        ("VRRPv2.VirtualRtrID", "VRRPv2.virtual_rtrID", 9.into()),
        ("VRRPv2.CountIPAddr", "VRRPv2.count_ipaddr", 1.into()),
        (
            "LastRawPackets.Index",
            "LastRawPackets.Index",
            Value::list([1, 2]),
        ),
    ] {
        assert_eq!(value(listed), Some(wanted), "{listed}");
        assert_eq!(value(in_json), value(listed), "{in_json}");
    }
    assert_eq!(value("DNS.Answers.MX.Name"), None);
    let has = |name: &str, predicate| Filter::test(name, predicate).matches(&flow);
    assert!(has(
        "DNS.questions.name",
        Predicate::Text("a.example.org".into())
    ));
    assert!(has("DNS.Answers.IP", Predicate::Text("192.0.2.2".into())));
    assert!(has("DNS.Answers.TTL", Predicate::Lt(60)));
    assert!(has("DNS.RD", Predicate::Bool(false)) && !has("DNS.AA", Predicate::Bool(false)));
    assert!(!has("DNS.Answers.IP", Predicate::Text("192.0.2.3".into())));
}

#[test]
fn flows_are_sorted_by_extra_layers() {
    let mut set = FlowSet::from_flows(vec![Flow::default(), dns_flow()]);
    let by: FlowField = "DNS.Answers.TTL".parse().unwrap();
    set.sort(by, SortOrder::Ascending).unwrap();
    assert_eq!(set.flows, [dns_flow(), Flow::default()]);
}

#[test]
fn tcp_metric_fields_are_listed_in_full() {
    let flow = Flow {
        tcp_metric: Some(TcpMetric::default()),
        ..Flow::default()
    };
    for key in TcpMetricField::all() {
        let name = format!("TCPMetric.{}", key.name());
        assert!(FlowField::names().contains(&name.as_str()), "{name}");
        assert_eq!(flow.int(IntField::TcpMetric(key)), Some(0));
    }
}

#[test]
fn details_are_found_by_their_paths_and_lists_match_by_element() {
    let mut flow = Flow::default();
    let wire = Wire {
        vlan: vec![100, 20],
        gre_key: Some(0),
        ..Wire::default()
    };
    flow.wire = Some(Box::new(wire));
    let matches = |name: &str, value: i64| Filter::test(name, Predicate::Int(value)).matches(&flow);
    assert!(matches("Wire.VLAN", 20) && !matches("Wire.VLAN", 30));
    assert!(matches("Wire.GREKey", 0) && !matches("Wire.SPI", 0));
    for field in DetailField::all() {
        assert_eq!(DetailField::parse(field.name()), Some(field));
        assert!(FlowField::parse(field.name()).is_some());
    }
    let bytes = prost::Message::encode_to_vec(&flow);
    assert_eq!(<Flow as prost::Message>::decode(&bytes[..]).unwrap(), flow);
    let json = serde_json::to_string(&flow).unwrap();
    assert!(
        json.contains(r#""Wire":{"VLAN":[100,20],"GREKey":0}"#),
        "{json}"
    );
}
