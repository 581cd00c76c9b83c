use prost::Message;

use super::*;

fn full() -> Flow {
    Flow {
        uuid: "650ae6e46b29f27b".into(),
        layers_path: "Ethernet/IPv4/TCP".into(),
        application: "TCP".into(),
        link: Some(FlowLayer {
            a: "02:00:00:00:0a:01".into(),
            b: "02:00:00:00:0b:02".into(),
            ..FlowLayer::default()
        }),
        network: Some(FlowLayer {
            protocol: FlowProtocol::Ipv4,
            a: "10.1.0.9".into(),
            b: "10.1.0.2".into(),
            id: 42,
        }),
        transport: Some(TransportLayer {
            protocol: FlowProtocol::Tcp,
            a: 40000,
            b: 80,
            id: 0,
        }),
        icmp: Some(IcmpLayer {
            kind: IcmpType::Echo,
            code: 0,
            id: 7,
        }),
        metric: Some(FlowMetric {
            ab_packets: 1,
            rtt: 33_000,
            ..FlowMetric::default()
        }),
        start: 1_600_000_000_000,
        last: 1_600_000_000_001,
        tracking_id: "d24eb3b293ffd4c4".into(),
        l3_tracking_id: "6567d7b560dc8760".into(),
        node_tid: "node-1".into(),
        last_raw_packets: vec![RawPacket {
            timestamp: 5,
            index: 1,
            data: Bytes::from_static(&[0xde, 0xad]),
            link_type: 1,
            ..RawPacket::default()
        }],
        raw_packets_captured: 1,
        finish_type: FinishType::TcpFin,
        ..Flow::default()
    }
}

#[test]
fn json_has_the_keys_of_the_original_in_record_order() {
    let wanted = concat!(
        r#"{"UUID":"650ae6e46b29f27b","LayersPath":"Ethernet/IPv4/TCP","Application":"TCP","#,
        r#""Link":{"Protocol":"ETHERNET","A":"02:00:00:00:0a:01","B":"02:00:00:00:0b:02","ID":0},"#,
        r#""Network":{"Protocol":"IPV4","A":"10.1.0.9","B":"10.1.0.2","ID":42},"#,
        r#""Transport":{"Protocol":"TCP","A":40000,"B":80,"ID":0},"ICMP":{"Type":"ECHO","ID":7},"#,
        r#""Metric":{"ABPackets":1,"ABBytes":0,"BAPackets":0,"BABytes":0,"Start":0,"Last":0,"#,
        r#""RTT":33000},"Start":1600000000000,"Last":1600000000001,"#,
        r#""TrackingID":"d24eb3b293ffd4c4","L3TrackingID":"6567d7b560dc8760","ParentUUID":"","#,
        r#""NodeTID":"node-1","RawPacketsCaptured":1,"FinishType":2}"#,
    );
    let flow = full();
    let json = serde_json::to_string(&flow).unwrap();
    assert_eq!(json, wanted);
    let back: Flow = serde_json::from_str(&json).unwrap();
    assert_eq!(
        back,
        Flow {
            last_raw_packets: Vec::new(),
            ..flow
        }
    );
}

#[test]
fn an_empty_flow_has_the_keys_that_are_always_there() {
    let json = serde_json::to_string(&Flow::default()).unwrap();
    assert_eq!(
        json,
        r#"{"Start":0,"Last":0,"ParentUUID":"","RawPacketsCaptured":0}"#
    );
    let layer = serde_json::to_string(&FlowLayer::default()).unwrap();
    assert_eq!(layer, r#"{"Protocol":"ETHERNET","ID":0}"#);
    let icmp = serde_json::to_string(&IcmpLayer::default()).unwrap();
    assert_eq!(icmp, r#"{"Type":"UNKNOWN"}"#);
    let raw = serde_json::to_string(&RawPacket::default()).unwrap();
    assert_eq!(raw, r#"{"Timestamp":0,"Index":0}"#);
}

#[test]
fn unknown_enum_names_are_refused_in_words() {
    let error = serde_json::from_str::<FlowLayer>(r#"{"Protocol":"IPX"}"#).unwrap_err();
    assert!(
        error.to_string().starts_with("FlowProtocol invalid"),
        "{error}"
    );
    let error = serde_json::from_str::<IcmpLayer>(r#"{"Type":"PING"}"#).unwrap_err();
    assert!(error.to_string().starts_with("ICMPType invalid"), "{error}");
    assert!(serde_json::from_str::<Flow>(r#"{"FinishType":9}"#).is_err());
}

#[test]
fn a_flow_survives_protobuf() {
    let flow = full();
    let bytes = flow.encode_to_vec();
    assert_eq!(bytes.len(), flow.encoded_len());
    assert_eq!(Flow::decode(&bytes[..]).unwrap(), flow);
}

#[test]
fn protobuf_has_the_field_numbers_of_the_original() {
    let flow = Flow {
        uuid: "a".into(),
        network: Some(FlowLayer {
            protocol: FlowProtocol::Ipv6,
            b: "b".into(),
            id: 1,
            ..FlowLayer::default()
        }),
        finish_type: FinishType::Timeout,
        vrrpv2: Some(Box::new(Vrrpv2Layer {
            adver_int: 1,
            ..Vrrpv2Layer::default()
        })),
        ..Flow::default()
    };
    let wanted = [
        &[0x0a, 1, b'a'][..],                           // 1: "a"
        &[0xaa, 0x01, 7, 8, 5, 0x22, 1, b'b', 0x28, 1], // 21: { 1: 5, 4: "b", 5: 1 }
        &[0xe0, 0x03, 1],                               // 60: 1
        &[0xd2, 0x3e, 2, 0x38, 1],                      // 1002: { 7: 1 }
    ];
    assert_eq!(flow.encode_to_vec(), wanted.concat());
}

#[test]
fn protobuf_of_a_newer_sender_is_read_as_far_as_known() {
    // Field 999 and number 77 of FlowProtocol are unknown.
    let bytes = [
        &[0xb8, 0x3e, 5][..],
        &[0xa2, 1, 4, 8, 77, 0x28, 3],
        &[0x0a, 1, b'x'],
    ]
    .concat();
    let flow = Flow::decode(&bytes[..]).unwrap();
    assert_eq!(flow.uuid.as_str(), "x");
    assert_eq!(
        flow.link,
        Some(FlowLayer {
            id: 3,
            ..FlowLayer::default()
        })
    );
}

#[test]
fn damaged_protobuf_says_which_field() {
    let error = Flow::decode(&[0x0a, 1, 0xff][..]).unwrap_err();
    assert!(error.to_string().contains("Flow.uuid"), "{error}");
    assert!(Flow::decode(&[0x0a, 200][..]).is_err());
}
