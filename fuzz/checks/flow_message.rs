//! Checks of a `flow.Message` of an agent.

use prost::Message;
use skylib::flow::{Flow, FlowQuery};
use skylib::proto::decode_flow_message;
use skylib::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};
use skylib::time::{TimeSlice, Timestamp};

/// Panics if parsing, storing, or querying panics, if a short message causes huge flows, or if
/// flows change when they are written and read again.
pub(crate) fn check(input: &[u8]) {
    let Ok(message) = decode_flow_message(input) else {
        return;
    };
    let again = decode_flow_message(&message.encode_to_vec());
    assert_eq!(again.expect("own output is valid"), message);
    let weight: usize = message.flows.iter().map(Flow::memory_size).sum();
    assert!(weight <= 64 << 20, "{weight}");
    for flow in &message.flows {
        serde_json::to_vec(flow).expect("a flow is JSON");
    }
    let store = MemoryFlowStore::new(FlowStoreLimits::default().with_max_bytes(1 << 20));
    store.put(message.flows.clone(), Timestamp::from_ms(1_000));
    store.put(message.flows, Timestamp::from_ms(2_000));
    let then = Timestamp::from_ms(1_600_000_000_000);
    for time in [
        None,
        Some(TimeSlice {
            start: then,
            last: then,
        }),
    ] {
        let mut query = FlowQuery::default();
        query.time = time;
        let set = store.query(&query).expect("a query without sort key");
        assert_eq!(
            store.count(&query).expect("a query without sort key"),
            set.flows.len() as u64
        );
    }
    let status = store.status();
    assert!(status.bytes <= 1 << 20, "{status:?}");
}
