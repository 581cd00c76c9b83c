//! Pairs of virtual Ethernet devices, in and across namespaces.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_end_with_the_larger_index_is_the_parent() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let follow_up = f.notify(
        ns,
        link_events([veth(4, "va", 3, None), veth(3, "vb", 4, None)]),
    );
    assert_eq!(f.edges(), ["va>vb veth"]);
    assert_eq!(follow_up.unresolved, BTreeSet::new());
    let events = f.graph.take_events();
    let layer2 = |e: &&GraphEvent| matches!(e, GraphEvent::EdgeAdded(edge) if edge.metadata.get("Type").is_some());
    assert_eq!(events.iter().filter(layer2).count(), 1);
}

#[test]
fn an_end_reported_without_its_peer_is_requested() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    // The kernel announces the first end before the two ends refer to each other.
    let follow_up = f.notify(ns, link_events([veth(3, "vb", 0, None)]));
    assert_eq!(follow_up.refresh, [(ns, 3)].into());
    let follow_up = f.notify(ns, link_events([veth(4, "va", 3, None)]));
    assert_eq!(follow_up.refresh, [(ns, 3), (ns, 4)].into());
    assert_eq!(f.edges(), [""; 0]);
    let follow_up = f.reply(ns, link_events([veth(3, "vb", 4, None)]));
    assert_eq!(f.edges(), ["va>vb veth"]);
    assert_eq!(follow_up, FollowUp::default());
}

#[test]
fn replies_never_cause_more_requests() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let follow_up = f.reply(
        ns,
        link_events([veth(3, "a", 4, None), veth(4, "b", 9, None)]),
    );
    assert_eq!(follow_up.refresh, BTreeSet::new());
    assert_eq!(f.edges(), [""; 0], "both must agree");
}

#[test]
fn ends_in_two_namespaces_are_joined_once_both_numbers_are_known() {
    let mut f = Fixture::new();
    let (host, blue) = (f.namespace(""), f.namespace("blue"));
    let follow_up = f.notify(host, link_events([veth(7, "near", 7, Some(3))]));
    assert_eq!(follow_up.unresolved, [host].into());
    assert_eq!(f.table.unresolved(host), [3].into());
    assert_eq!(f.json("near", "LinkNetNsID"), "3");
    assert_eq!(f.json("near", "LinkNetNsName"), r#""""#, "not known yet");
    f.notify(blue, link_events([veth(7, "far", 7, Some(0))]));
    f.table.set_nsids(&mut f.graph, host, &[(3, blue)], f.now);
    assert_eq!(f.json("near", "LinkNetNsName"), r#""blue""#);
    assert_eq!(f.edges(), [""; 0], "the other side has not agreed");
    f.table.set_nsids(&mut f.graph, blue, &[(0, host)], f.now);
    assert_eq!(
        f.edges(),
        ["far>near veth"],
        "of equal indexes, the later namespace"
    );
    assert_eq!(
        f.json("far", "LinkNetNsName"),
        r#""""#,
        "the host's namespace has no name"
    );
    assert_eq!(f.table.unresolved(host), BTreeSet::new());
}

#[test]
fn many_ends_of_one_index_are_distinguished() {
    let mut f = Fixture::new();
    let host = f.namespace("");
    for i in 0..50 {
        let pod = f.namespace(&format!("pod{i}"));
        let index = 10 + u32::try_from(i).unwrap();
        f.notify(
            host,
            link_events([veth(index, &format!("v{i:02}"), 2, Some(i))]),
        );
        f.notify(
            pod,
            link_events([veth(2, &format!("e{i:02}"), index, Some(0))]),
        );
        f.table.set_nsids(&mut f.graph, host, &[(i, pod)], f.now);
        f.table.set_nsids(&mut f.graph, pod, &[(0, host)], f.now);
    }
    let wanted: Vec<String> = (0..50).map(|i| format!("v{i:02}>e{i:02} veth")).collect();
    assert_eq!(f.edges(), wanted);
}

/// Returns a host and two namespaces that have nsids for each other: 0 is the host, 1 red, 2 blue,
/// everywhere.
fn three() -> (Fixture, [NamespaceKey; 3]) {
    let mut f = Fixture::new();
    let all = [f.namespace(""), f.namespace("red"), f.namespace("blue")];
    for key in all {
        let ids: Vec<_> = (0..).zip(all).filter(|(_, other)| *other != key).collect();
        f.table.set_nsids(&mut f.graph, key, &ids, f.now);
    }
    (f, all)
}

#[test]
fn a_moved_end_is_linked_again_in_any_order_of_events() {
    for order in [true, false] {
        let (mut f, [host, red, blue]) = three();
        f.notify(host, link_events([veth(5, "stay", 6, Some(1))]));
        f.notify(red, link_events([veth(6, "roam", 5, Some(0))]));
        assert_eq!(f.edges(), ["roam>stay veth"]);
        let arrived = link_events([veth(9, "roam", 5, Some(0))]);
        let mut refresh = BTreeSet::new();
        if order {
            refresh.extend(f.notify(red, vec![NetlinkEvent::LinkDeleted(6)]).refresh);
            assert!(
                refresh.contains(&(host, 5)),
                "the remaining end receives no change"
            );
            refresh.extend(f.notify(blue, arrived).refresh);
        } else {
            refresh.extend(f.notify(blue, arrived).refresh);
            assert!(refresh.contains(&(host, 5)), "the two do not agree");
            refresh.extend(f.notify(red, vec![NetlinkEvent::LinkDeleted(6)]).refresh);
        }
        assert_eq!(f.edges(), [""; 0]);
        f.reply(host, link_events([veth(5, "stay", 9, Some(2))]));
        assert_eq!(f.edges(), ["roam>stay veth"]);
        assert_eq!(f.json("stay", "LinkNetNsName"), r#""blue""#);
    }
}

#[test]
fn a_message_that_was_already_old_is_corrected() {
    let (mut f, [host, _, blue]) = three();
    f.reply(host, link_events([veth(5, "stay", 9, Some(2))]));
    f.reply(blue, link_events([veth(9, "roam", 5, Some(0))]));
    // This message was queued before the move.
    let follow_up = f.notify(host, link_events([veth(5, "stay", 6, Some(1))]));
    assert_eq!(f.edges(), [""; 0]);
    assert!(follow_up.refresh.contains(&(host, 5)));
    f.reply(host, link_events([veth(5, "stay", 9, Some(2))]));
    assert_eq!(f.edges(), ["roam>stay veth"]);
}

#[test]
fn moving_back_removes_the_nsids() {
    let (mut f, [host, red, _]) = three();
    f.notify(host, link_events([veth(5, "stay", 6, Some(1))]));
    f.notify(red, link_events([veth(6, "roam", 5, Some(0))]));
    f.notify(red, vec![NetlinkEvent::LinkDeleted(6)]);
    f.notify(host, link_events([veth(6, "roam", 5, None)]));
    f.reply(host, link_events([veth(5, "stay", 6, None)]));
    assert_eq!(f.edges(), ["roam>stay veth"]);
    for key in ["LinkNetNsID", "LinkNetNsName"] {
        assert_eq!(
            (f.json("stay", key), f.json("roam", key)),
            ("".into(), "".into())
        );
    }
}

#[test]
fn a_removed_namespace_leaves_no_trace() {
    let (mut f, [host, red, blue]) = three();
    f.notify(
        host,
        link_events([veth(5, "stay", 6, Some(1)), veth(7, "near", 2, Some(2))]),
    );
    f.notify(red, link_events([veth(6, "roam", 5, Some(0))]));
    f.notify(blue, link_events([veth(2, "far", 7, Some(0))]));
    assert_eq!(f.edges(), ["near>far veth", "roam>stay veth"]);
    let follow_up = f.table.remove_namespace(&mut f.graph, red, f.now);
    assert!(f.node("roam").is_none());
    assert_eq!(follow_up.refresh, [(host, 5)].into());
    assert_eq!(f.json("stay", "LinkNetNsName"), r#""""#);
    assert_eq!(
        f.table.unresolved(host),
        [1].into(),
        "the number may mean another one next"
    );
    let green = f.namespace("green");
    f.table
        .set_nsids(&mut f.graph, green, &[(0, host), (1, red)], f.now);
    f.notify(green, link_events([veth(6, "new", 5, Some(0))]));
    f.table.set_nsids(&mut f.graph, host, &[(1, green)], f.now);
    assert_eq!(f.edges(), ["near>far veth", "new>stay veth"]);
    assert_eq!(f.json("stay", "LinkNetNsName"), r#""green""#);
    f.notify(red, link_events([link(1, "ghost", "")]));
    assert!(
        f.node("ghost").is_none(),
        "late messages of a deleted namespace"
    );
}

#[test]
fn an_end_that_is_no_pair_any_more_loses_its_edge() {
    let (mut f, [host, _, _]) = three();
    f.notify(
        host,
        link_events([veth(4, "va", 3, None), veth(3, "vb", 4, None)]),
    );
    f.graph.take_events();
    f.notify(host, vec![NetlinkEvent::LinkDeleted(4)]);
    let events = f.graph.take_events();
    let kinds: Vec<bool> = events
        .iter()
        .map(|e| matches!(e, GraphEvent::EdgeDeleted(_)))
        .collect();
    assert_eq!(kinds, [true, true, false], "both edges before the node");
    // A new link under the old number is no end of the pair.
    f.notify(host, link_events([link(4, "br0", "bridge")]));
    assert_eq!(f.edges(), [""; 0]);
    let edges = f
        .graph
        .edges_of(&f.node("vb").unwrap().id, Direction::Both)
        .count();
    assert_eq!(edges, 1, "ownership");
}
