//! Checks of the objects that agents and analyzers exchange: tasks, flow queries, and answers.

use skylib::flow::{Flow, FlowSet};
use skylib::proto::{
    Encoding, Object, OnDemandTask, decode_table_query, decode_table_result, table_query,
    table_result,
};

/// Panics if decoding panics, if an answer exceeds its limit, or if a query or an answer changes
/// when it is written and read again. The first byte selects JSON or protobuf.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, object)) = input.split_first() else {
        return;
    };
    let object = object.to_vec().into();
    let object = match kind % 2 {
        0 => Object::Json(object),
        _ => Object::Protobuf(object),
    };
    if let Ok(task) = OnDemandTask::decode(&object) {
        let message = task.message("OnDemandCapture", "StartReply", 200);
        let again = OnDemandTask::decode(&message.object).expect("own output is valid");
        assert_eq!(again.node, task.node);
        assert_eq!(again.resource_id(), task.resource_id());
    }
    if let Ok(Some(query)) = decode_table_query(&object) {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let message = table_query(encoding, "u", &query);
            let again = decode_table_query(&message.object).expect("own output is valid");
            let again = again.expect("a query");
            // The order of an answer is sent only if the answer depends on it.
            let is_ordered = query.range.is_some() || query.dedup.is_some();
            let sort = query.sort.filter(|_| is_ordered);
            assert_eq!((again.sort, again.dedup), (sort, query.dedup));
        }
        drop(query.answer(vec![Flow::default()]));
    }
    if let Ok(sets) = decode_table_result(&object) {
        let flows = sets.iter().flat_map(|set| &set.flows);
        let weight: usize = flows.map(Flow::memory_size).sum();
        assert!(weight <= 64 << 20, "{weight}");
        let sets: Vec<FlowSet> = sets.into_iter().take(4).collect();
        let message = table_result(Encoding::Protobuf, "u", &sets);
        let again = decode_table_result(&message.object).expect("own output is valid");
        assert_eq!(again, sets);
    }
}
