use super::*;
use crate::filter::Predicate;
use crate::flow::IcmpLayer;

fn flow(tracking_id: &str, node_tid: &str, start: i64, last: i64) -> Flow {
    Flow {
        tracking_id: tracking_id.into(),
        node_tid: node_tid.into(),
        start,
        last,
        ..Flow::default()
    }
}

fn ids(set: &FlowSet) -> Vec<(&str, &str)> {
    set.flows
        .iter()
        .map(|flow| (flow.tracking_id.as_str(), flow.node_tid.as_str()))
        .collect()
}

fn node_tid() -> FlowField {
    "NodeTID".parse().unwrap()
}

#[test]
fn dedup_uses_the_given_field() {
    let flows = vec![
        flow("aaa", "111", 0, 0),
        flow("bbb", "111", 0, 0),
        flow("aaa", "222", 0, 0),
    ];
    let mut set = FlowSet {
        flows,
        ..FlowSet::default()
    };
    let mut by_node = set.clone();
    set.dedup(FlowField::TRACKING_ID).unwrap();
    assert_eq!(ids(&set), [("aaa", "111"), ("bbb", "111")]);
    by_node.dedup(node_tid()).unwrap();
    assert_eq!(ids(&by_node), [("aaa", "111"), ("aaa", "222")]);
}

#[test]
fn merge_with_dedup_adds_only_new_values() {
    let first = vec![
        flow("aaa", "111", 0, 1),
        flow("bbb", "111", 2, 3),
        flow("aaa", "222", 0, 1),
    ];
    let second = vec![
        flow("aaa", "111", 0, 1),
        flow("bbb", "111", 4, 6),
        flow("aaa", "222", 7, 8),
        flow("ccc", "333", 0, 1),
    ];
    let mut first = FlowSet {
        flows: first,
        ..FlowSet::default()
    };
    let mut second = FlowSet {
        flows: second,
        ..FlowSet::default()
    };
    first.dedup(node_tid()).unwrap();
    second.dedup(node_tid()).unwrap();
    let options = MergeOptions {
        dedup: Some(node_tid()),
        ..MergeOptions::default()
    };
    first.merge(second, &options).unwrap();
    assert_eq!(
        ids(&first),
        [("aaa", "111"), ("aaa", "222"), ("ccc", "333")]
    );
    assert_eq!((first.start, first.end), (0, 0));
}

#[test]
fn merge_preserves_the_order_and_widens_the_span() {
    let mut a = FlowSet::from_flows(vec![flow("a", "", 5, 10), flow("c", "", 6, 30)]);
    let b = FlowSet::from_flows(vec![flow("b", "", 2, 20), flow("a", "", 7, 40)]);
    let sort = Some((FlowField::LAST, SortOrder::Ascending));
    a.merge(
        b,
        &MergeOptions {
            sort,
            dedup: Some(FlowField::TRACKING_ID),
        },
    )
    .unwrap();
    let names: Vec<_> = a.flows.iter().map(|f| f.tracking_id.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!((a.start, a.end), (2, 40));
    a.merge(FlowSet::default(), &MergeOptions::default())
        .unwrap();
    assert_eq!((a.start, a.end), (2, 40), "an empty set has no start");
}

#[test]
fn merged_sets_are_as_one_sorted_set() {
    let flows: Vec<Flow> = (0..40)
        .map(|i| flow(&i.to_string(), "", i, i * 7 % 5))
        .collect();
    for order in [SortOrder::Ascending, SortOrder::Descending] {
        for cut in [0, 1, 20, 40] {
            let (left, right) = flows.split_at(cut);
            let mut set = FlowSet::from_flows(left.to_vec());
            let mut other = FlowSet::from_flows(right.to_vec());
            set.sort(FlowField::LAST, order).unwrap();
            other.sort(FlowField::LAST, order).unwrap();
            let sort = Some((FlowField::LAST, order));
            set.merge(other, &MergeOptions { sort, dedup: None })
                .unwrap();
            let mut whole = FlowSet::from_flows(flows.clone());
            whole.sort(FlowField::LAST, order).unwrap();
            assert_eq!(set.flows, whole.flows, "{order:?} {cut}");
        }
    }
}

#[test]
fn equal_flows_stay_in_order_ascending_and_are_reversed_descending() {
    let flows = vec![
        flow("x", "1", 0, 5),
        flow("y", "2", 0, 5),
        flow("z", "3", 0, 4),
    ];
    let mut set = FlowSet::from_flows(flows);
    set.sort(FlowField::LAST, SortOrder::Ascending).unwrap();
    assert_eq!(ids(&set), [("z", "3"), ("x", "1"), ("y", "2")]);
    set.sort(FlowField::LAST, SortOrder::Descending).unwrap();
    assert_eq!(ids(&set), [("y", "2"), ("x", "1"), ("z", "3")]);
}

#[test]
fn flows_without_the_field_are_last_in_both_directions() {
    let with = |tracking: &str, id: Option<u32>| Flow {
        icmp: id.map(|id| IcmpLayer {
            id,
            ..IcmpLayer::default()
        }),
        ..flow(tracking, "", 0, 0)
    };
    let flows = [("a", None), ("b", Some(1)), ("c", None), ("d", Some(9))];
    let field: FlowField = "ICMP.ID".parse().unwrap();
    for (order, wanted) in [
        (SortOrder::Ascending, ["b", "d", "a", "c"]),
        (SortOrder::Descending, ["d", "b", "c", "a"]),
    ] {
        for cut in 0..=flows.len() {
            let [mut left, mut right] = [&flows[..cut], &flows[cut..]].map(|part| {
                let flows = part.iter().map(|(tracking, id)| with(tracking, *id));
                FlowSet::from_flows(flows.collect())
            });
            left.sort(field, order).unwrap();
            right.sort(field, order).unwrap();
            let options = MergeOptions::default().with_sort(field, order);
            left.merge(right, &options).unwrap();
            let found: Vec<&str> = ids(&left).iter().map(|(tracking, _)| *tracking).collect();
            assert_eq!(found, wanted, "{order:?} {cut}");
        }
    }
}

#[test]
fn a_missing_field_leaves_the_set_as_it_was() {
    let mut set = FlowSet::from_flows(vec![flow("x", "1", 0, 5), flow("y", "2", 0, 3)]);
    let before = set.clone();
    let field: FlowField = "ICMP.ID".parse().unwrap();
    let error = FlowQueryError::FieldNotFound {
        field: "ICMP.ID".to_owned(),
    };
    assert_eq!(set.dedup(field), Err(error));
    let options = MergeOptions::default().with_dedup(field);
    let mut merged = set.clone();
    merged.merge(before.clone(), &options).unwrap();
    assert_eq!(merged.flows.len(), 4, "no flow is removed");
    let object: FlowField = "Metric".parse().unwrap();
    assert!(set.sort(object, SortOrder::Ascending).is_err());
    let options = MergeOptions::default().with_sort(object, SortOrder::Ascending);
    assert!(set.merge(before.clone(), &options).is_err());
    assert_eq!(set, before);
}

#[test]
fn slices_are_cut_at_the_length() {
    let all = FlowSet::from_flows((0..5).map(|i| flow("", "", i, i)).collect());
    for (from, to, wanted) in [
        (0, 2, 2),
        (3, 99, 2),
        (7, 9, 0),
        (4, 2, 0),
        (0, u64::MAX, 5),
    ] {
        let mut set = all.clone();
        set.slice(from, to);
        assert_eq!(set.flows.len(), wanted, "{from}..{to}");
    }
}

#[test]
fn a_filter_preserves_the_order() {
    let mut set = FlowSet::from_flows((0..5).map(|i| flow("", "", i, i)).collect());
    set.filter(&Filter::test("Start", Predicate::Gte(3)));
    assert_eq!(
        set.flows.iter().map(|f| f.start).collect::<Vec<_>>(),
        [3, 4]
    );
    set.filter(&Filter::test("Nope", Predicate::Present));
    assert!(set.flows.is_empty());
}

#[test]
fn an_empty_set_says_so_in_json() {
    let json = serde_json::to_string(&FlowSet::default()).unwrap();
    assert_eq!(json, r#"{"Start":0,"End":0}"#);
}
