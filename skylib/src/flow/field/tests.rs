use super::*;
use crate::decode::IcmpType;
use crate::filter::Filter;
use crate::flow::{FinishType, FlowLayer, IcmpLayer, TcpMetric, TransportLayer};
use crate::flow::{FlowProtocol, Vrrpv2Layer, Wire};

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
        "DNS.QR",
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
fn every_listed_leaf_that_queries_reach_parses_to_its_own_name() {
    let mut reached = 0;
    for name in FlowField::names() {
        // Bookkeeping fields of Go's protobuf generator.
        assert!(!name.starts_with("XXX_"), "{name}");
        if let Some(field) = FlowField::parse(name) {
            assert_eq!(field.to_string(), *name);
            reached += 1;
        }
    }
    // Only byte strings, booleans, and repeated and nested messages of the list are not fields.
    assert_eq!((FlowField::names().len(), reached), (182, 88));
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
