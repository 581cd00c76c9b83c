use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::filter::{Filter, Predicate};
use crate::flow::{FlowField, RawPacket, SortOrder};

fn flow(uuid: &str, start: i64, last: i64) -> Flow {
    let metric = FlowMetric {
        ab_bytes: last,
        start: (last - 10).max(start),
        last,
        ..FlowMetric::default()
    };
    let packet = RawPacket {
        timestamp: last,
        index: last,
        data: vec![1, 2, 3].into(),
        link_type: 1,
        ..RawPacket::default()
    };
    Flow {
        uuid: uuid.into(),
        node_tid: "t1".into(),
        start,
        last,
        metric: Some(FlowMetric { start, ..metric }),
        last_update_metric: Some(metric),
        last_raw_packets: vec![packet],
        ..Flow::default()
    }
}

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn slice(start: i64, last: i64) -> TimeSlice {
    TimeSlice {
        start: ms(start),
        last: ms(last),
    }
}

fn limits() -> FlowStoreLimits {
    FlowStoreLimits::default().with_grace(Duration::from_millis(5))
}

fn found(store: &MemoryFlowStore, query: &FlowQuery) -> Vec<String> {
    let flows = store.query(query).unwrap().flows;
    assert_eq!(store.count(query).unwrap(), flows.len() as u64);
    flows.iter().map(|flow| flow.uuid.to_string()).collect()
}

#[test]
fn flows_are_found_by_time_and_by_filter() {
    let store = MemoryFlowStore::new(limits());
    store.put(vec![flow("a", 100, 200), flow("b", 150, 300)], ms(300));
    store.put(vec![flow("a", 100, 400)], ms(400));
    let at = |start, last| FlowQuery {
        time: Some(slice(start, last)),
        ..FlowQuery::default()
    };
    assert_eq!(found(&store, &at(99, 99)), [""; 0]);
    assert_eq!(found(&store, &at(120, 120)), ["a"]);
    assert_eq!(found(&store, &at(305, 305)), ["b", "a"], "within the grace");
    assert_eq!(found(&store, &at(306, 306)), ["a"]);
    assert_eq!(found(&store, &at(0, 1000)), ["b", "a"]);
    assert_eq!(found(&store, &FlowQuery::default()), ["b", "a"]);
    let by_start = FlowQuery {
        sort: FlowField::parse("Start").map(|field| (field, SortOrder::Ascending)),
        range: Some((0, 1)),
        ..at(0, 1000)
    };
    assert_eq!(found(&store, &by_start), ["a"]);
    let filtered = FlowQuery {
        filter: Filter::test("Last", Predicate::Gt(300)),
        ..at(0, 1000)
    };
    assert_eq!(found(&store, &filtered), ["a"]);
    let elsewhere = FlowQuery {
        node_tids: Some(vec!["t2".into()]),
        ..at(0, 1000)
    };
    assert_eq!(found(&store, &elsewhere), [""; 0]);
}

#[test]
fn metrics_and_packets_of_all_updates_are_stored() {
    let store = MemoryFlowStore::new(limits());
    for last in [200, 210, 210, 220] {
        store.put(vec![flow("a", 100, last)], ms(last));
    }
    assert_eq!(store.status().flows, 1);
    let lasts = |start, last| {
        let metrics = store.metrics(&["a".into(), "b".into()], slice(start, last));
        let one = metrics.into_iter().next().map(|(_, list)| list);
        one.unwrap_or_default()
            .iter()
            .map(|m| m.last)
            .collect::<Vec<_>>()
    };
    assert_eq!(lasts(0, 1000), [200, 210, 220]);
    assert_eq!(lasts(200, 215), [210], "what lies within");
    assert_eq!(lasts(215, 215), [200, 210], "up to an instant");
    let packets = |start, last| {
        let query = FlowQuery {
            time: Some(slice(start, last)),
            ..FlowQuery::default()
        };
        let flows = store.query(&query).unwrap().flows;
        flows[0]
            .last_raw_packets
            .iter()
            .map(|p| p.index)
            .collect::<Vec<_>>()
    };
    assert_eq!(packets(205, 215), [210]);
    assert_eq!(packets(215, 215), [200, 210]);
    let all = store.raw_packets(&["a".into(), "b".into()]);
    assert_eq!(all.len(), 1);
    let indices: Vec<i64> = all[0].1.iter().map(|packet| packet.index).collect();
    assert_eq!((&*all[0].0, &indices[..]), ("a", &[200, 210, 220][..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Compares the store with a model: the newest record of each flow that was not evicted.
    #[test]
    fn limits_hold_and_the_newest_record_is_returned(
        updates in proptest::collection::vec((0..12_u8, 0..40_i64, 0..5_i64), 1..120),
        max_bytes in 300..6000_usize,
        max_age in 20..300_u64,
        window in (0..300_i64, 0..100_i64),
    ) {
        let limits = limits()
            .with_max_bytes(max_bytes)
            .with_max_age(Duration::from_millis(max_age));
        let store = MemoryFlowStore::new(limits);
        let everything = MemoryFlowStore::new(FlowStoreLimits::default());
        let mut model: Vec<(i64, Flow)> = Vec::new();
        let mut now = 0;
        for (id, length, pause) in updates {
            now += pause;
            let flow = flow(&format!("f{id}"), (now - length).max(0), now);
            store.put(vec![flow.clone()], ms(now));
            everything.put(vec![flow.clone()], ms(now));
            model.retain(|(_, known)| known.uuid != flow.uuid);
            model.push((now, flow));
            prop_assert!(store.status().bytes <= max_bytes);
            let sum: usize = store.read().flows.values().map(|stored| stored.bytes()).sum();
            prop_assert_eq!(sum, store.status().bytes);
        }
        prop_assert_eq!(everything.status().evicted, 0);
        let too_old = now - i64::try_from(max_age).unwrap();
        let stored: Vec<String> = found(&store, &FlowQuery::default());
        let newest: Vec<String> = model
            .iter()
            .map(|(_, flow)| flow.uuid.to_string())
            .skip(model.len() - stored.len())
            .collect();
        prop_assert_eq!(&stored, &newest, "the least recently updated flows are evicted first");
        let young = model.iter().all(|(at, flow)| *at >= too_old || !stored.contains(&flow.uuid.to_string()));
        prop_assert!(young);

        let (start, length) = window;
        let query = FlowQuery {
            time: Some(slice(start, start + length)),
            ..FlowQuery::default()
        };
        let wanted: Vec<String> = model
            .iter()
            .map(|(_, flow)| flow)
            .filter(|flow| stored.contains(&flow.uuid.to_string()))
            .filter(|flow| flow.start <= start + length && flow.last >= start - 5)
            .map(|flow| flow.uuid.to_string())
            .collect();
        prop_assert_eq!(found(&store, &query), wanted);
        store.expire(ms(now + 10_000));
        prop_assert_eq!((store.status().flows, store.status().bytes), (0, 0));
    }
}
