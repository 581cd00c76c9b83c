//! Links of one namespace.

use skylib::topology::netlink::NetlinkOptions;

use super::lab::run;
use crate::support::{ip, sh};

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_pair_is_two_nodes_and_one_edge_from_the_larger_index() {
    run(|mut lab| {
        ip("link add va type veth peer name vb");
        lab.start();
        lab.wait("both ends", |g| g.layer2(g.node("va")).len() == 1);
        ip("link add vc type veth peer name vd");
        lab.wait("a later pair", |g| g.layer2(g.node("vc")).len() == 1);
        lab.look(|g| {
            for (one, other) in [("va", "vb"), ("vc", "vd")] {
                let (one, other) = (g.node(one), g.node(other));
                let index = |n: Option<&skylib::graph::Node>| {
                    n.unwrap()
                        .metadata
                        .get("IfIndex")
                        .unwrap()
                        .as_int()
                        .unwrap()
                };
                let (small, large) = if index(one) < index(other) {
                    (one, other)
                } else {
                    (other, one)
                };
                assert!(g.linked(large, small));
                assert_eq!(
                    serde_json::to_string(&g.layer2(one)[0].metadata).unwrap(),
                    r#"{"RelationType":"layer2","Type":"veth"}"#
                );
            }
            let index = g.int("vb", "IfIndex");
            assert_eq!(
                (g.int("va", "PeerIfIndex"), g.int("va", "ParentIndex")),
                (index, index)
            );
            assert_eq!(g.text("va", "Driver"), "veth");
            assert_eq!(g.int("va", "Speed"), Some(10_000));
            assert_eq!(g.text("va", "State"), "DOWN");
            assert_eq!(g.text("va", "EncapType"), "ether");
            assert_eq!(g.json("va", "LinkFlags"), r#"["BROADCAST","MULTICAST"]"#);
            assert_eq!(g.json("va", "BusInfo"), r#""""#);
            assert_eq!(g.json("va", "LinkNetNsID"), "", "both ends are here");
            assert!(g.text("va", "MAC").len() == 17);
            assert!(g.json("va", "Features").contains(r#""highdma":true"#));
            assert!(g.json("va", "Metric").starts_with('{'));
            assert_eq!(g.text("lo", "EncapType"), "loopback");
            assert_eq!(g.text("lo", "MAC"), "00:00:00:00:00:00");
            assert_eq!(g.text("lo", "Driver"), "");
            assert_eq!(g.json("lo", "Features"), "");
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn changes_of_a_link_are_shown_and_owned_by_the_host() {
    run(|mut lab| {
        lab.start();
        ip("link add vb0 type veth peer name vb1");
        lab.wait("the pair", |g| g.node("vb1").is_some());
        let tid = lab.look(|g| g.text("vb1", "TID"));
        assert!(!tid.is_empty());
        lab.take_events();
        ip("link set vb1 name vb2");
        ip("link set vb2 address 02:00:00:00:0a:0b mtu 1400");
        lab.wait("new name and address", |g| {
            g.text("vb2", "MAC") == "02:00:00:00:0a:0b" && g.int("vb2", "MTU") == Some(1400)
        });
        lab.look(|g| {
            assert!(g.node("vb1").is_none());
            assert_eq!(g.text("vb2", "TID"), tid, "a rename preserves the TID");
            let node = g.node("vb2").unwrap();
            assert!(g.0.find_edge(&lab.root, &node.id, |_| true).is_some());
            assert_eq!(
                (node.host.as_str(), node.origin.as_str()),
                ("lab", "agent.lab")
            );
        });
        ip("link set vb0 up");
        ip("link set vb2 up");
        lab.wait("up", |g| {
            g.text("vb2", "State") == "UP"
                && g.json("vb2", "LinkFlags") == r#"["UP","BROADCAST","MULTICAST"]"#
        });
        ip("link del vb0");
        lab.wait("the node to be deleted", |g| {
            g.node("vb0").is_none() && g.node("vb2").is_none()
        });
        assert_eq!(lab.look(|g| g.0.edge_count()), 1, "host to loopback");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_port_is_linked_to_its_bridge_while_it_is_attached() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        ip("link add br2 type bridge");
        ip("link add p0 type veth peer name p1");
        ip("link set p1 master br0");
        let port_of = |g: &super::lab::View<'_>, bridge| {
            let edges = g.layer2(g.node(bridge));
            edges
                .iter()
                .any(|e| Some(&e.child) == g.node("p1").map(|n| &n.id))
        };
        lab.wait("the port", |g| {
            port_of(g, "br0") && g.int("p1", "MasterIndex").is_some()
        });
        lab.look(|g| {
            assert_eq!(g.text("p1", "Type"), "veth", "a port preserves its type");
            assert_eq!(g.text("br0", "Type"), "bridge");
            assert_eq!(g.text("br0", "Driver"), "bridge");
        });
        ip("link set p1 master br2");
        lab.wait("the other bridge", |g| {
            port_of(g, "br2") && !port_of(g, "br0")
        });
        ip("link set p1 nomaster");
        lab.wait("no bridge", |g| {
            !port_of(g, "br2") && g.int("p1", "MasterIndex").is_none() && g.node("p1").is_some()
        });
        ip("link add vx type vxlan id 55 dstport 4789 local 127.0.0.1");
        ip("link set vx master br0");
        lab.wait("the tunnel", |g| g.linked(g.node("br0"), g.node("vx")));
        assert_eq!(lab.look(|g| g.text("vx", "Type")), "vxlan");
        ip("link add link br0 name mv type macvlan mode bridge");
        lab.wait("an upper device", |g| {
            g.int("mv", "ParentIndex") == g.int("br0", "IfIndex")
        });
        assert_eq!(
            lab.look(|g| g.layer2(g.node("mv")).len()),
            0,
            "no edge to its lower device"
        );
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn addresses_are_added_and_removed() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        ip("link set br0 up");
        ip("addr add 192.0.2.7/24 dev br0");
        ip("addr add 192.0.2.8/24 dev br0");
        ip("addr add 2001:db8:5::7/64 dev br0 nodad");
        lab.wait("all of them", |g| {
            g.json("br0", "IPV4") == r#"["192.0.2.7/24","192.0.2.8/24"]"#
                && g.json("br0", "IPV6").contains(r#""2001:db8:5::7/64""#)
        });
        ip("addr del 192.0.2.8/24 dev br0");
        lab.wait("one", |g| g.json("br0", "IPV4") == r#"["192.0.2.7/24"]"#);
        ip("addr flush dev br0");
        lab.wait("none", |g| {
            g.json("br0", "IPV4").is_empty() && g.json("br0", "IPV6").is_empty()
        });
        ip("addr add 192.0.2.9 peer 192.0.2.10/32 dev br0");
        lab.wait("the near end", |g| {
            g.json("br0", "IPV4") == r#"["192.0.2.9/32"]"#
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn interfaces_that_had_the_same_name_have_their_own_tid() {
    run(|mut lab| {
        lab.start();
        let mut seen = std::collections::HashSet::new();
        for name in ["enx001", "enx002", "enx003"] {
            ip("link add eth0 type bridge");
            lab.wait("it", |g| g.node("eth0").is_some());
            let tid = lab.look(|g| g.text("eth0", "TID"));
            let id = lab.look(|g| g.node("eth0").unwrap().id.to_string());
            assert_eq!(id, skylib::id::Id::derived(&tid).to_string());
            ip(&format!("link set eth0 name {name}"));
            lab.wait("its name", |g| g.node(name).is_some());
            assert_eq!(lab.look(|g| g.text(name, "TID")), tid);
            assert!(seen.insert(tid));
        }
        let first = lab.look(|g| g.text("enx001", "TID"));
        ip("link del enx001");
        lab.wait("its end", |g| g.node("enx001").is_none());
        ip("link add eth0 type bridge");
        lab.wait("the first one again", |g| g.text("eth0", "TID") == first);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn other_names_follow_messages() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        ip("link set br0 up alias uplink");
        ip("link property add dev br0 altname enp1s0 altname a-name-of-twenty-chars");
        lab.wait("both", |g| {
            g.text("br0", "Alias") == "uplink"
                && g.json("br0", "AltNames") == r#"["enp1s0","a-name-of-twenty-chars"]"#
        });
        ip("link property del dev br0 altname enp1s0 altname a-name-of-twenty-chars");
        lab.wait("none", |g| g.json("br0", "AltNames").is_empty());
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn routes_follow_messages_and_deleted_links() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        ip("link add br2 type bridge");
        ip("link set br0 up");
        ip("link set br2 up");
        ip("addr add 198.18.60.2/24 dev br0");
        ip("addr add 198.18.61.2/24 dev br2");
        ip("route add default via 198.18.60.1");
        ip("route add 198.18.92.0/24 via 198.18.60.2 table 2");
        ip("route add 198.18.93.0/24 nexthop via 198.18.60.1 nexthop via 198.18.61.1");
        let has = |text: &'static str| {
            move |g: &super::lab::View<'_>| g.json("br0", "RoutingTables").contains(text)
        };
        lab.wait("a default", has(r#""Prefix":"0.0.0.0/0""#));
        lab.wait("its gateway", has(r#""IP":"198.18.60.1""#));
        lab.wait("table 2 first", |g| {
            g.json("br0", "RoutingTables").starts_with(r#"[{"ID":2,"#)
        });
        lab.wait("both ways", |g| {
            g.json("br2", "RoutingTables").contains("198.18.60.1")
        });
        ip("route del 198.18.92.0/24 via 198.18.60.2 table 2");
        lab.wait("no table 2", |g| !has(r#""ID":2,"#)(g));
        // The kernel sends no messages for routes that are deleted with their link.
        ip("link set br0 down");
        lab.wait("what went silently", |g| {
            !has("0.0.0.0/0")(g) && !has("198.18.60.0/24")(g) && has("198.18.60.2/32")(g)
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn forwarding_entries_and_neighbors_are_added_and_removed() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        ip("link add p0 type veth peer name p1");
        ip("link set p0 master br0");
        ip("link set p0 up");
        ip("addr add 192.0.2.1/24 dev p1");
        ip("link set p1 up");
        sh("bridge fdb add 02:00:00:00:fd:01 dev p0 master static");
        ip("neigh add 192.0.2.9 lladdr 02:00:5e:10:00:01 dev p1 nud permanent");
        lab.wait("an entry", |g| {
            g.json("p0", "FDB").contains("02:00:00:00:fd:01")
        });
        lab.wait("a neighbour", |g| {
            let neighbors = g.json("p1", "Neighbors");
            neighbors.contains(r#""IP":"192.0.2.9","#)
                && neighbors.contains(r#""MAC":"02:00:5e:10:00:01","#)
                && neighbors.contains(r#""State":["NUD_PERMANENT"]"#)
        });
        sh("bridge fdb del 02:00:00:00:fd:01 dev p0 master");
        ip("neigh del 192.0.2.9 dev p1");
        lab.wait("neither", |g| {
            !g.json("p0", "FDB").contains("02:00:00:00:fd:01")
                && !g.json("p1", "Neighbors").contains("192.0.2.9")
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn forwarding_entries_follow_an_address_that_moves() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        ip("link set br0 up");
        for port in ["p0", "p1"] {
            ip(&format!("link add {port} type veth peer name q{port}"));
            // The kernel accepts dynamic entries only for ports that forward.
            ip(&format!("link set q{port} up"));
            ip(&format!("link set {port} up master br0"));
        }
        for port in ["p0", "p1"] {
            let forwards = format!("bridge link show dev {port} | grep -q 'state forwarding'");
            sh(&format!(
                "for i in $(seq 100); do {forwards} && break; sleep 0.1; done"
            ));
        }
        ip("link add vx0 type vxlan id 42 dstport 4789");
        let with = |mac: &'static str, wanted: &'static [&'static str]| {
            move |g: &super::lab::View<'_>| {
                let has = |name: &&&str| g.json(name, "FDB").contains(mac);
                ["p0", "p1", "br0"].iter().filter(has).eq(wanted)
            }
        };
        let moving = "02:00:00:00:fd:01";
        sh("bridge fdb replace 02:00:00:00:fd:01 dev p0 master dynamic");
        lab.wait("the first port", with(moving, &["p0"]));
        sh("bridge fdb replace 02:00:00:00:fd:01 dev p1 master dynamic");
        lab.wait("the second port", with(moving, &["p1"]));
        sh("bridge fdb del 02:00:00:00:fd:01 dev p1 master");
        lab.wait("no port", with(moving, &[]));

        let remotes = |wanted: &'static [&'static str]| {
            move |g: &super::lab::View<'_>| {
                let shown = g.json("vx0", "FDB");
                let all = ["192.0.2.1", "192.0.2.2"].into_iter();
                all.filter(|ip| shown.contains(ip))
                    .eq(wanted.iter().copied())
            }
        };
        sh("bridge fdb add 02:00:00:00:fd:02 dev vx0 dst 192.0.2.1");
        lab.wait("a remote end", remotes(&["192.0.2.1"]));
        sh("bridge fdb replace 02:00:00:00:fd:02 dev vx0 dst 192.0.2.2");
        lab.wait("another remote end", remotes(&["192.0.2.2"]));
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn routes_end_with_their_nexthop_object() {
    run(|mut lab| {
        lab.start();
        ip("link add br0 type bridge");
        ip("link set br0 up");
        ip("addr add 198.18.60.2/24 dev br0");
        ip("nexthop add id 7 via 198.18.60.1 dev br0");
        ip("route add 198.18.93.0/24 nhid 7");
        let has = |g: &super::lab::View<'_>| g.json("br0", "RoutingTables").contains("198.18.93.0");
        lab.wait("the route", has);
        ip("nexthop del id 7");
        lab.wait("no route", |g| !has(g));
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn what_changes_without_a_message_is_read_with_the_counters() {
    run(|mut lab| {
        lab.make_run_path();
        let period = std::time::Duration::from_millis(300);
        lab.start_with(NetlinkOptions::default().with_metrics_update(period));
        ip("link add p0 type veth peer name p1");
        lab.wait("the links", |g| g.count(&[("Name", "p0")]) == 1);
        ip("link set p0 alias lab");
        ip("link property add dev p0 altname uplink");
        lab.wait("an alias", |g| g.json("p0", "Alias") == r#""lab""#);
        lab.wait("a name", |g| g.json("p0", "AltNames").contains("uplink"));
        ip("link set p1 up");
        ip("link set p0 up");
        // Reports of memberships are sent to ff02::16, whose entry no message announces.
        lab.wait("a group", |g| {
            let neighbors = g.json("p1", "Neighbors");
            neighbors.contains(r#""IP":"ff02::16""#) && neighbors.contains("NUD_NOARP")
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_name_may_have_any_bytes() {
    run(|mut lab| {
        lab.start();
        sh(r"ip link add $(printf 'ab\377') type bridge");
        lab.wait("the link", |g| g.count(&[("Name", "ab\u{fffd}")]) == 1);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn counters_are_sampled_and_an_idle_link_is_not_updated() {
    run(|mut lab| {
        lab.make_run_path();
        ip("link add quiet type bridge");
        ip("link set lo up");
        let period = std::time::Duration::from_millis(300);
        lab.start_with(NetlinkOptions::default().with_metrics_update(period));
        lab.wait("a quiet link", |g| g.json("quiet", "Metric") == "{}");
        assert_eq!(lab.look(|g| g.json("lo", "LastUpdateMetric")), "");
        sh("ping -q -c 5 -i 0.01 127.0.0.1");
        lab.wait("what was sent", |g| {
            let metric = g
                .node("lo")
                .and_then(|n| n.metadata.get_path("Metric.TxPackets"));
            metric.and_then(|m| m.as_int()) >= Some(10)
        });
        lab.look(|g| {
            let lo = g.node("lo").unwrap();
            let int = |path: &str| lo.metadata.get_path(path).and_then(|v| v.as_int());
            assert!(int("LastUpdateMetric.TxPackets") > Some(0));
            let (start, last) = (int("LastUpdateMetric.Start"), int("LastUpdateMetric.Last"));
            assert!(start > Some(0) && start < last, "{start:?} {last:?}");
            assert_eq!(int("Metric.Last"), last);
            assert_eq!((int("Metric.Start"), int("Metric.RxErrors")), (None, None));
            assert_eq!(g.node("quiet").unwrap().revision, 1, "added with its TID");
        });
    });
}
