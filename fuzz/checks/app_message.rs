//! Checks of application messages (DNS, DHCPv4, VRRP) that are stored with flows. The first byte
//! selects the protocol, the rest is a message.

use prost::Message;
use skylib::decode::DnsMessage;
use skylib::flow::{ExtraLayers, Flow, FlowQuery, FlowTable, FlowTableOptions};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use skylib::time::Timestamp;

/// Panics if parsing panics, if a small message causes a huge record, or if the record changes when
/// it is written to JSON or protobuf and read again.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, message)) = input.split_first() else {
        return;
    };
    let message = message.get(..4096).unwrap_or(message);
    check_dns(message);
    let (protocol, ports) = match kind % 3 {
        0 => (17, Some([16, 0, 0, 53])),
        1 => (17, Some([0, 68, 0, 67])),
        _ => (112, None),
    };
    let mut payload = Vec::new();
    if let Some(ports) = ports {
        payload.extend(ports);
        payload.extend((8 + message.len() as u16).to_be_bytes());
        payload.extend([0, 0]);
    }
    payload.extend(message);
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(payload);
    let headers = [PacketHeader {
        timestamp: Timestamp::from_ms(1),
        offset: 0,
        captured_len: frame.len() as u32,
        wire_len: frame.len() as u32,
        point: CapturePoint::ONLY,
    }];
    let mut table = FlowTable::new(FlowTableOptions::default().with_extra_layers(ExtraLayers::ALL));
    table.process(&PacketBatch {
        link_type: LinkType::ETHERNET,
        buffer: &frame,
        headers: &headers,
    });
    let set = table
        .query(&FlowQuery::default())
        .expect("a query without sort key");
    for flow in set.flows {
        let json = serde_json::to_vec(&flow).expect("a flow is JSON");
        assert!(json.len() < 1 << 20, "{} bytes of JSON", json.len());
        let again: Flow = serde_json::from_slice(&json).expect("own output is valid");
        assert_eq!(again, flow);
        let again = Flow::decode(&*flow.encode_to_vec()).expect("own output is valid");
        assert_eq!(again, flow);
    }
}

fn check_dns(bytes: &[u8]) {
    let Some(mut message) = DnsMessage::new(bytes) else {
        return;
    };
    let mut name_bytes = 0;
    while let Some(question) = message.question() {
        name_bytes += question.name.len();
    }
    assert_eq!(message.record(), None, "nothing follows the end");
    let mut message = DnsMessage::new(bytes).expect("the header is complete");
    while let Some(record) = message.record() {
        name_bytes += record.name.len();
    }
    // Each byte that is not UTF-8 becomes three.
    assert!(name_bytes <= 2 * 3 * (32 << 10));
}
