//! Links of one namespace in the graph.

use std::collections::HashSet;

use super::super::address::{Address, AddressMessage};
use super::super::neighbor::NeighborMessage;
use super::super::stats::Counters;
use super::*;
use crate::sys::pci::PciDevice;

fn packets(rx: u64) -> Counters {
    Counters::packets(rx, 0)
}

fn address(index: u32, ip: &str, prefix: u8) -> AddressMessage {
    AddressMessage {
        index,
        address: Address {
            ip: ip.parse().unwrap(),
            prefix,
        },
    }
}

#[test]
fn a_new_link_is_owned_and_signed() {
    let mut f = Fixture::new();
    let ns = f.namespace("blue");
    f.facts.insert(
        2,
        LinkFacts {
            driver: "ixgbe".into(),
            bus_info: Some("0000:03:00.1".into()),
            speed: Some(10_000),
            features: Some(Map::from_iter([("highdma", true)]).into()),
            pci: PciDevice::default(),
        },
    );
    f.notify(ns, link_events([link(2, "eth0", "")]));
    assert_eq!(
        serde_json::to_string(&f.node("eth0").unwrap().metadata).unwrap(),
        concat!(
            r#"{"BusInfo":"0000:03:00.1","Driver":"ixgbe","EncapType":"ether","#,
            r#""Features":{"highdma":true},"IfIndex":2,"LinkFlags":["UP"],"MTU":1500,"#,
            r#""Name":"eth0","Speed":10000,"State":"UNKNOWN","Type":"device"}"#
        )
    );
    let events = f.graph.take_events();
    let [GraphEvent::NodeAdded(node), GraphEvent::EdgeAdded(edge)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (node.host.as_str(), node.origin.as_str()),
        ("edge-01", "agent.edge-01")
    );
    assert_eq!(
        edge.metadata,
        Metadata::from_iter([("RelationType", "ownership")])
    );
    let (parent, child) = (&edge.parent, &node.id);
    let wanted = crate::graph::EdgeId::derived(&format!("{parent}{child}ownership"));
    assert_eq!(edge.id, wanted);
    assert_eq!(
        f.graph.node(parent),
        f.graph.node(&f.node("blue").unwrap().id)
    );
}

#[test]
fn an_unchanged_link_causes_no_event() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let all = || {
        let mut events = link_events([
            link(1, "br0", "bridge"),
            LinkMessage {
                master: 1,
                ..veth(2, "va", 3, None)
            },
            veth(3, "vb", 2, None),
        ]);
        events.push(NetlinkEvent::Address(address(3, "192.0.2.7", 24)));
        events
    };
    f.notify(ns, all());
    f.graph.take_events();
    f.notify(ns, all());
    f.table
        .replace_state(&mut f.graph, ns, all(), &f.facts, f.now);
    let present = HashSet::from([1, 2, 3]);
    f.table.retain(&mut f.graph, ns, &present, f.now);
    assert_eq!(f.graph.take_events(), []);
    assert_eq!(f.edges(), ["br0>va -", "vb>va veth"]);
}

#[test]
fn a_burst_changes_a_link_once_and_removes_obsolete_keys() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let slave = Map::from_iter([("State", "ACTIVE")]);
    let bonded = LinkMessage {
        master: 9,
        bond_slave: Some(slave),
        ..link(2, "eth0", "")
    };
    f.notify(ns, link_events([link(9, "bond0", "bond"), bonded.clone()]));
    assert_eq!(f.edges(), ["bond0>eth0 -"]);
    f.graph.take_events();
    let renamed = LinkMessage {
        mtu: 1400,
        ..link(2, "lan0", "")
    };
    f.notify(
        ns,
        link_events([
            LinkMessage {
                mtu: 1300,
                ..bonded
            },
            renamed,
        ]),
    );
    let events = f.graph.take_events();
    let [
        GraphEvent::NodeUpdated {
            node,
            ops: Some(ops),
        },
        GraphEvent::EdgeDeleted(_),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(ops.len(), 4, "{ops:?}");
    assert_eq!(node.revision, 2);
    assert_eq!(
        (f.json("lan0", "MasterIndex"), f.json("lan0", "BondSlave")),
        ("".into(), "".into())
    );
    assert_eq!(f.edges(), [""; 0]);
}

#[test]
fn keys_of_others_are_not_changed() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(ns, link_events([link(2, "eth0", "")]));
    let id = f.node("eth0").unwrap().id.clone();
    let ops = [
        MetadataOp::set("TID", "t"),
        MetadataOp::set("Type", "internal"),
    ];
    f.graph.patch_node(&id, &ops, f.now).unwrap();
    f.notify(
        ns,
        link_events([LinkMessage {
            mtu: 9000,
            ..link(2, "eth0", "")
        }]),
    );
    assert_eq!(f.json("eth0", "TID"), r#""t""#);
    assert_eq!(f.json("eth0", "Type"), r#""internal""#);
    assert_eq!(f.json("eth0", "MTU"), "9000");
}

#[test]
fn a_port_finds_its_bridge_whichever_comes_first() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(
        ns,
        link_events([LinkMessage {
            master: 7,
            ..link(2, "p0", "tun")
        }]),
    );
    assert_eq!(f.edges(), [""; 0]);
    f.notify(ns, link_events([link(7, "br0", "bridge")]));
    assert_eq!(f.edges(), ["br0>p0 -"]);
    f.notify(ns, vec![NetlinkEvent::LinkDeleted(7)]);
    assert_eq!(f.edges(), [""; 0]);
    f.notify(ns, link_events([link(7, "br1", "bridge")]));
    assert_eq!(f.edges(), ["br1>p0 -"]);
}

#[test]
fn the_datapath_of_open_vswitch_has_no_ports() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(
        ns,
        link_events([
            link(1, "ovs-system", "openvswitch"),
            LinkMessage {
                master: 1,
                ..link(2, "p0", "tun")
            },
        ]),
    );
    assert_eq!(f.edges(), [""; 0]);
}

#[test]
fn a_vlan_hangs_on_its_lower_device_and_other_upper_devices_do_not() {
    let mut f = Fixture::new();
    let (host, pod) = (f.namespace(""), f.namespace("pod"));
    let vlan = LinkMessage {
        link: 2,
        vlan: Some(10),
        ..link(3, "eth0.10", "vlan")
    };
    f.notify(
        host,
        link_events([
            vlan.clone(),
            LinkMessage {
                link: 2,
                ..link(4, "mv", "macvlan")
            },
            link(2, "eth0", ""),
        ]),
    );
    assert_eq!(f.edges(), ["eth0>eth0.10 vlan"]);
    // Index 2 in the pod is another link than index 2 of the host.
    let inside = LinkMessage {
        link_netnsid: Some(0),
        name: "net1".into(),
        ..vlan
    };
    let follow_up = f.notify(pod, link_events([link(2, "other", "veth"), inside]));
    assert!(follow_up.unresolved.contains(&pod));
    assert_eq!(f.edges().len(), 1);
    f.table.set_nsids(&mut f.graph, pod, &[(0, host)], f.now);
    assert_eq!(f.edges(), ["eth0>eth0.10 vlan", "eth0>net1 vlan"]);
    f.notify(host, vec![NetlinkEvent::LinkDeleted(2)]);
    f.notify(host, link_events([link(2, "eth9", "")]));
    assert_eq!(f.edges(), ["eth9>eth0.10 vlan", "eth9>net1 vlan"]);
}

#[test]
fn an_edge_of_another_writer_is_not_duplicated() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(
        ns,
        link_events([link(1, "br0", "bridge"), link(2, "p0", "tun")]),
    );
    let (bridge, port) = (
        f.node("br0").unwrap().id.clone(),
        f.node("p0").unwrap().id.clone(),
    );
    let layer2 = Metadata::from_iter([("RelationType", "layer2")]);
    let edge = Edge::new("mine", port, bridge, layer2, f.now);
    f.graph.add_edge(edge).unwrap();
    f.notify(
        ns,
        link_events([LinkMessage {
            master: 1,
            ..link(2, "p0", "tun")
        }]),
    );
    assert_eq!(f.edges(), ["p0>br0 -"]);
    f.notify(ns, link_events([link(2, "p0", "tun")]));
    assert_eq!(f.edges(), ["p0>br0 -"], "and not taken away");
}

#[test]
fn a_link_that_takes_over_an_index_is_another_node() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(ns, link_events([link(2, "one", "tun")]));
    f.notify(ns, vec![NetlinkEvent::Address(address(2, "192.0.2.1", 24))]);
    let first = f.node("one").unwrap().id.clone();
    f.notify(ns, link_events([link(2, "two", "bridge")]));
    assert!(f.graph.node(&first).is_none());
    assert_eq!(f.json("two", "IPV4"), "");
}

#[test]
fn a_node_that_another_writer_deletes_is_added_again_with_the_next_message() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let port = LinkMessage {
        master: 1,
        ..link(2, "p0", "tun")
    };
    f.notify(ns, link_events([link(1, "br0", "bridge"), port.clone()]));
    let id = f.node("br0").unwrap().id.clone();
    f.graph.delete_node(&id, f.now).unwrap();
    f.notify(ns, link_events([port]));
    assert_eq!(f.edges(), [""; 0]);
    f.notify(ns, link_events([link(1, "br0", "bridge")]));
    assert_ne!(f.node("br0").unwrap().id, id);
    assert_eq!(f.edges(), ["br0>p0 -"]);
    f.notify(
        ns,
        vec![
            NetlinkEvent::LinkDeleted(1),
            NetlinkEvent::LinkDeleted(1),
            NetlinkEvent::LinkDeleted(77),
        ],
    );
    assert!(f.node("br0").is_none());
}

#[test]
fn addresses_are_added_once_and_the_key_is_removed_with_the_last() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(ns, link_events([link(2, "eth0", "")]));
    let (a, b) = (address(2, "192.0.2.7", 24), address(2, "2001:db8::1", 64));
    let follow_up = f.notify(
        ns,
        vec![
            NetlinkEvent::Address(a),
            NetlinkEvent::Address(b),
            NetlinkEvent::Address(a),
        ],
    );
    assert!(follow_up.routes, "routes come with addresses");
    assert_eq!(f.json("eth0", "IPV4"), r#"["192.0.2.7/24"]"#);
    assert_eq!(f.json("eth0", "IPV6"), r#"["2001:db8::1/64"]"#);
    f.notify(
        ns,
        vec![
            NetlinkEvent::AddressDeleted(a),
            NetlinkEvent::Address(address(9, "192.0.2.8", 24)),
        ],
    );
    assert!(f.node("eth0").unwrap().metadata.get("IPV4").is_none());
}

#[test]
fn metrics_are_deltas_of_two_samples() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let counted = |rx| Some(packets(rx));
    f.notify(
        ns,
        link_events([
            LinkMessage {
                stats: counted(5),
                ..link(1, "busy", "")
            },
            LinkMessage {
                stats: counted(0),
                ..link(2, "quiet", "")
            },
            LinkMessage {
                stats: None,
                ..link(3, "mute", "")
            },
        ]),
    );
    assert_eq!(
        f.json("busy", "Metric"),
        r#"{"RxPackets":5}"#,
        "no time at first"
    );
    assert_eq!(
        (f.json("quiet", "Metric"), f.json("mute", "Metric")),
        ("{}".into(), "".into())
    );
    let sample = |f: &mut Fixture, ms, rx: [u64; 2]| {
        f.graph.take_events();
        f.now = Timestamp::from_ms(ms);
        let samples = [(1, packets(rx[0])), (2, packets(rx[1])), (99, packets(1))];
        f.table
            .sample(&mut f.graph, ns, &samples, HashMap::new(), f.now);
        f.graph.take_events().len()
    };
    assert_eq!(sample(&mut f, 2000, [8, 0]), 1, "one transaction, one link");
    assert_eq!(f.json("busy", "Metric"), r#"{"Last":2000,"RxPackets":8}"#);
    let delta = r#"{"Last":2000,"RxPackets":3,"Start":1000}"#;
    assert_eq!(f.json("busy", "LastUpdateMetric"), delta);
    assert_eq!(
        sample(&mut f, 3000, [8, 0]),
        0,
        "nothing counted, nothing touched"
    );
    assert_eq!(sample(&mut f, 4000, [2, 1]), 2);
    let reset = r#"{"Last":4000,"RxPackets":2,"Start":3000}"#;
    assert_eq!(
        f.json("busy", "LastUpdateMetric"),
        reset,
        "after a reset counts start at zero"
    );
    assert_eq!(
        f.json("quiet", "LastUpdateMetric"),
        r#"{"Last":4000,"RxPackets":1,"Start":3000}"#
    );
    // Counters in a link message are not a sample.
    f.notify(
        ns,
        link_events([LinkMessage {
            stats: counted(70),
            mtu: 9,
            ..link(1, "busy", "")
        }]),
    );
    assert_eq!(f.json("busy", "Metric"), r#"{"Last":4000,"RxPackets":2}"#);
}

#[test]
fn tables_are_shown_on_request() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(ns, link_events([link(3, "eth0", "")]));
    let message = |text| NeighborMessage::parse(&hex(text)).unwrap();
    let arp = message("02000000030000008000000108000100c00002420a00020002005e1000010000");
    let fdb = message("0700000003000000800002000a0002003333000000010000");
    let follow_up = f.notify(
        ns,
        vec![
            NetlinkEvent::Neighbor(arp.clone()),
            NetlinkEvent::Neighbor(fdb.clone()),
        ],
    );
    assert!(follow_up.tables);
    assert_eq!(
        f.json("eth0", "Neighbors"),
        "",
        "later, with all that comes until then"
    );
    f.table.show_tables(&mut f.graph, ns, f.now);
    assert!(f.json("eth0", "Neighbors").contains("192.0.2.66"));
    assert!(f.json("eth0", "FDB").contains("33:33:00:00:00:01"));
    f.notify(ns, vec![NetlinkEvent::NeighborDeleted(arp)]);
    f.table.show_tables(&mut f.graph, ns, f.now);
    assert_eq!(f.json("eth0", "Neighbors"), "");
    f.graph.take_events();
    f.table
        .set_forwarding(&mut f.graph, ns, &[NetlinkEvent::Neighbor(fdb)], f.now);
    assert_eq!(f.graph.take_events(), [], "the same again");
    f.table.set_forwarding(&mut f.graph, ns, &[], f.now);
    assert_eq!(f.json("eth0", "FDB"), "");
    let routes = HashMap::from([(3, Value::from("r")), (9, Value::from("nobody's"))]);
    f.table.set_routes(&mut f.graph, ns, routes, f.now);
    assert_eq!(f.json("eth0", "RoutingTables"), r#""r""#);
    f.table.set_routes(&mut f.graph, ns, HashMap::new(), f.now);
    assert_eq!(f.json("eth0", "RoutingTables"), "");
}

#[test]
fn links_missing_in_a_complete_list_are_removed() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(ns, link_events([link(1, "stays", ""), link(2, "goes", "")]));
    f.notify(ns, vec![NetlinkEvent::Address(address(1, "192.0.2.7", 24))]);
    f.table
        .retain(&mut f.graph, ns, &HashSet::from([1, 3]), f.now);
    assert!(f.node("goes").is_none());
    let events = link_events([link(1, "stays", ""), link(3, "comes", "")]);
    f.table
        .replace_state(&mut f.graph, ns, events, &f.facts, f.now);
    assert!(f.node("comes").is_some());
    assert_eq!(
        f.json("stays", "IPV4"),
        "",
        "an address that the kernel did not repeat"
    );
}

#[test]
fn setting_a_link_down_invalidates_routes() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    let follow_up = f.notify(ns, link_events([link(1, "a", "")]));
    assert!(follow_up.forwarding && !follow_up.routes);
    let follow_up = f.notify(
        ns,
        link_events([LinkMessage {
            flags: 0,
            ..link(1, "a", "")
        }]),
    );
    assert!(follow_up.forwarding && follow_up.routes);
    assert!(f.notify(ns, vec![NetlinkEvent::Routes]).routes);
    let follow_up = f.notify(ns, vec![NetlinkEvent::LinkStale(1)]);
    assert_eq!(follow_up.refresh, [(ns, 1)].into());
}

/// Facts of a link at a PCI address; a virtual function names its physical function.
fn at_address(address: &str, function: Option<(&str, u32)>) -> LinkFacts {
    LinkFacts {
        driver: "ixgbe".into(),
        bus_info: Some(address.into()),
        pci: PciDevice {
            numa_node: Some(1),
            virtual_function: function.map(|(physical, number)| (physical.to_owned(), number)),
        },
        ..LinkFacts::default()
    }
}

#[test]
fn a_virtual_function_is_linked_to_its_physical_function_in_any_order() {
    for order in [[2, 3], [3, 2]] {
        let mut f = Fixture::new();
        let ns = f.namespace("blue");
        f.facts.insert(2, at_address("0000:03:00.0", None));
        f.facts
            .insert(3, at_address("0000:03:10.0", Some(("0000:03:00.0", 4))));
        for index in order {
            f.notify(ns, link_events([link(index, &format!("eth{index}"), "")]));
        }
        let (physical, function) = (f.node("eth2").unwrap(), f.node("eth3").unwrap());
        assert_eq!(function.metadata.get("VfID"), Some(&4.into()));
        assert_eq!(physical.metadata.get("NUMANode"), Some(&1.into()));
        let edges: Vec<_> = f
            .graph
            .edges()
            .filter(|edge| edge.metadata.get("RelationType") == Some(&"vf".into()))
            .collect();
        assert_eq!(edges.len(), 1, "{order:?}");
        assert_eq!(
            (&edges[0].parent, &edges[0].child),
            (&physical.id, &function.id)
        );
    }
}

#[test]
fn settings_of_virtual_functions_survive_notifications() {
    let mut f = Fixture::new();
    let ns = f.namespace("blue");
    let settings = Value::list([Map::from_iter([("ID", 2)])]);
    let reply = LinkMessage {
        function_count: Some(3),
        functions: Some(settings.clone()),
        ..link(2, "eth2", "")
    };
    f.notify(ns, link_events([reply]));
    let follow_up = f.notify(ns, link_events([link(2, "eth2", "")]));
    assert_eq!(f.node("eth2").unwrap().metadata.get("Vfs"), Some(&settings));
    assert!(
        follow_up.refresh.contains(&(ns, 2)),
        "the kernel must be asked"
    );
    let none = LinkMessage {
        function_count: Some(0),
        ..link(2, "eth2", "")
    };
    f.notify(ns, link_events([none]));
    assert_eq!(f.node("eth2").unwrap().metadata.get("Vfs"), None);
}

#[test]
fn queues_are_shown_and_their_drops_followed() {
    let mut f = Fixture::new();
    let ns = f.namespace("blue");
    f.notify(ns, link_events([link(2, "eth2", "")]));
    // Returns the number of changed keys of each event.
    let sample = |f: &mut Fixture, drops: u32, backlog: u32, received: u64| {
        let queue = Map::from_iter([("Drops", drops), ("Backlog", backlog)]);
        let queues = HashMap::from([(2, Value::list([queue]))]);
        let samples = [(2, packets(received))];
        f.table.sample(&mut f.graph, ns, &samples, queues, f.now);
        let events = f.graph.take_events().into_iter();
        let keys = |event| match event {
            GraphEvent::NodeUpdated { ops: Some(ops), .. } => {
                let keys = ops.iter().map(|op| op.key().to_owned());
                keys.collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        };
        events.map(keys).collect::<Vec<_>>()
    };
    f.graph.take_events();
    assert_eq!(sample(&mut f, 1, 5, 0), ["Queues"]);
    assert_eq!(sample(&mut f, 1, 5, 0), [""; 0], "no change");
    assert_eq!(sample(&mut f, 1, 6, 0), [""; 0], "only the load");
    assert_eq!(sample(&mut f, 2, 7, 0), ["Queues"]);
    assert_eq!(f.json("eth2", "Queues"), r#"[{"Backlog":7,"Drops":2}]"#);
    assert_eq!(
        sample(&mut f, 3, 7, 9),
        ["LastUpdateMetric Metric", "Queues"],
        "the counters are a change of their own"
    );
}

#[test]
fn new_names_that_the_kernel_does_not_report_are_found_in_a_list() {
    let mut f = Fixture::new();
    let ns = f.namespace("");
    f.notify(ns, link_events([link(2, "eth2", ""), link(3, "eth3", "")]));
    let alias = |index, name, alias: &str| LinkMessage {
        alias: Some(alias.into()),
        ..link(index, name, "")
    };
    let alternative = LinkMessage {
        alt_names: vec!["uplink".into()],
        ..link(3, "eth3", "")
    };
    let unknown = alias(4, "eth4", "new");
    let events = link_events([alias(2, "eth2", "lab"), alternative, unknown]);
    let renamed = f.table.renamed(ns, events.clone());
    assert_eq!(renamed, events[..2]);
    f.reply(ns, renamed);
    assert_eq!(f.json("eth2", "Alias"), r#""lab""#);
    assert_eq!(f.table.renamed(ns, events[..2].to_vec()), []);
}
