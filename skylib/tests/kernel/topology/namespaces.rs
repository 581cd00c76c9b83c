//! Several namespaces, and veth pairs across them.

use std::path::Path;

use skylib::graph::GraphEvent;
use skylib::topology::netlink::{NetlinkOptions, NetlinkProbe};
use skylib::topology::netns::NetnsProbe;

use super::lab::{View, identity, run, text};
use crate::support::{ip, sh};

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_namespace_is_shown_with_its_links_and_they_are_deleted_with_it() {
    run(|mut lab| {
        lab.make_run_path();
        lab.add_netns("old");
        lab.start();
        lab.wait("the one that was there", |g| {
            g.inside("old", "lo").is_some()
        });
        lab.add_netns("new");
        lab.wait("the new namespace", |g| g.inside("new", "lo").is_some());
        lab.look(|g| {
            let node = g.node("new").unwrap();
            let path = lab.run_path.join("new");
            assert_eq!(text(node, "Type"), "netns");
            assert_eq!(text(node, "Path"), path.to_str().unwrap());
            let (device, inode) = identity(&path);
            assert_eq!(g.int("new", "Inode"), i64::try_from(inode).ok());
            assert_eq!(g.int("new", "Device"), i64::try_from(device).ok());
            assert!(g.0.find_edge(&lab.root, &node.id, |_| true).is_some());
            let tid = format!("{}{}netns", g.text("lab", "TID"), path.display());
            assert_eq!(text(node, "TID"), skylib::id::Id::derived(&tid).to_string());
            let lo = format!("{}lodevice", text(node, "TID"));
            let inside = text(g.inside("new", "lo").unwrap(), "TID");
            assert_eq!(inside, skylib::id::Id::derived(&lo).to_string());
        });
        lab.ip_in("new", "link add br0 type bridge");
        lab.wait("a bridge inside", |g| g.inside("new", "br0").is_some());
        lab.take_events();
        lab.del_netns("new");
        lab.wait("the node to be deleted", |g| {
            g.node("new").is_none() && g.node("br0").is_none()
        });
        let names = |event: &GraphEvent| match event {
            GraphEvent::NodeDeleted(node) => Some(text(node, "Name")),
            _ => None,
        };
        let deleted: Vec<String> = lab.take_events().iter().filter_map(names).collect();
        assert_eq!(
            deleted.last().map(String::as_str),
            Some("new"),
            "children go first"
        );
        assert_eq!(deleted.len(), 3);
        lab.look(|g| assert!(g.inside("old", "lo").is_some()));
        lab.add_netns("new");
        lab.wait("made again", |g| g.inside("new", "lo").is_some());
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn each_other_namespace_has_one_node() {
    run(|mut lab| {
        lab.make_run_path();
        lab.add_netns("a");
        lab.bind_netns(Path::new("/proc/thread-self/ns/net"), "ours");
        // A later path of a known namespace has no visible effect to wait for, so this path is added
        // before the start.
        let first = lab.run_path.join("a");
        lab.bind_netns(&first, "b");
        lab.start();
        lab.wait("one", |g| g.inside("a", "lo").is_some());
        lab.add_netns("c");
        lab.wait("a later one", |g| g.inside("c", "lo").is_some());
        assert_eq!(lab.look(|g| g.count(&[("Type", "netns")])), 2);
        let node = lab.look(|g| g.node("a").unwrap().id.clone());
        let tid = lab.look(|g| g.text("a", "TID"));
        lab.del_netns("a");
        lab.ip_in("b", "link add br0 type bridge");
        lab.wait("still watched by its other path", |g| {
            g.inside("b", "br0").is_some()
        });
        lab.look(|g| {
            let path = lab.run_path.join("b");
            assert_eq!(g.text("b", "Path"), path.to_str().unwrap());
            assert_eq!((&g.node("b").unwrap().id, g.text("b", "TID")), (&node, tid));
        });
        lab.add_netns("a");
        lab.wait("another namespace with the former name", |g| {
            g.inside("a", "lo").is_some()
        });
        lab.look(|g| {
            assert_ne!(g.text("a", "TID"), g.text("b", "TID"));
            assert_ne!(g.node("a").unwrap().id, node);
        });
        lab.del_netns("a");
        lab.del_netns("b");
        lab.wait("the namespace to be deleted with its last path", |g| {
            g.count(&[("Type", "netns")]) == 1
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_folder_may_be_created_late_and_recreated() {
    run(|mut lab| {
        let parent = lab.run_path.clone();
        lab.run_path = parent.join("run/netns");
        lab.start_with(NetlinkOptions::default());
        lab.make_run_path();
        lab.add_netns("a");
        lab.wait("late", |g| g.inside("a", "lo").is_some());
        lab.del_netns("a");
        std::fs::remove_dir_all(parent.join("run")).unwrap();
        lab.wait("the node to be deleted", |g| g.node("a").is_none());
        lab.make_run_path();
        std::fs::write(lab.run_path.join("note"), "no namespace").unwrap();
        lab.add_netns("b");
        lab.wait("back", |g| g.inside("b", "lo").is_some());
        assert_eq!(lab.status("netns").error, None);
        lab.run_path = parent;
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_late_mount_is_detected() {
    run(|mut lab| {
        lab.start();
        lab.add_netns("a");
        lab.wait("one", |g| g.inside("a", "lo").is_some());
        let hidden = lab.run_path.join("a");
        std::fs::write(lab.run_path.join("late"), "").unwrap();
        // Files are inspected in the order of their creation.
        lab.add_netns("next");
        lab.wait("the next", |g| g.inside("next", "lo").is_some());
        lab.del_netns("a");
        lab.wait("the node to be deleted", |g| g.node("a").is_none());
        lab.add_netns("late");
        lab.wait("mounted", |g| g.inside("late", "lo").is_some());
        assert!(!hidden.exists());
    });
}

/// Returns whether exactly one edge connects two ends, from the expected parent.
fn one_edge(g: &View<'_>, parent: (&str, &str), child: (&str, &str)) -> bool {
    let end = |(namespace, name)| match namespace {
        "" => g.node(name),
        _ => g.inside(namespace, name),
    };
    g.linked(end(parent), end(child)) && g.layer2(end(parent)).len() == 1
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn pairs_across_namespaces_with_equal_indexes_are_distinguished() {
    run(|mut lab| {
        lab.start();
        for (name, link) in [("z1", "vz1"), ("z2", "vz2")] {
            lab.add_netns(name);
            ip(&format!(
                "link add {link} index 50{} type veth peer name eth0",
                &name[1..]
            ));
            ip(&format!("link set {link} up"));
            lab.move_to(None, "eth0", name);
        }
        // The same interface indexes in other pairs and other namespaces.
        let z2 = lab.inhabitant("z2");
        let pair = |one, other| {
            format!(
                "link add {one} type veth peer name {other} netns {}",
                z2.0.id()
            )
        };
        lab.ip_in("z1", &pair("same index 77", "other index 77"));
        lab.ip_in("z1", &pair("v78 index 78", "v79 index 79"));
        lab.ip_in("z1", &pair("v79 index 79", "v78 index 78"));
        drop(z2);
        lab.wait("pairs", |g| {
            let joined = |a, b| one_edge(g, a, b) || one_edge(g, b, a);
            joined(("", "vz1"), ("z1", "eth0"))
                && joined(("", "vz2"), ("z2", "eth0"))
                && joined(("z1", "same"), ("z2", "other"))
                && joined(("z1", "v78"), ("z2", "v79"))
                && joined(("z1", "v79"), ("z2", "v78"))
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_later_namespace_is_the_parent_of_ends_with_equal_indexes() {
    run(|mut lab| {
        lab.start();
        lab.add_netns("n1");
        lab.wait("n1", |g| g.inside("n1", "lo").is_some());
        lab.add_netns("n2");
        lab.wait("n2", |g| g.inside("n2", "lo").is_some());
        for (index, other) in [(90, 90), (91, 92)] {
            let n2 = lab.inhabitant("n2");
            let pair = format!(
                "link add va index {index} type veth peer name vb index {other} netns {}",
                n2.0.id()
            );
            lab.ip_in("n1", &pair);
            lab.wait("from n2 to n1", |g| one_edge(g, ("n2", "vb"), ("n1", "va")));
            lab.ip_in("n1", "link del va");
            lab.wait("the node to be deleted", |g| {
                g.node("va").is_none() && g.node("vb").is_none()
            });
        }
        let n2 = lab.inhabitant("n2");
        let pair = "link add va index 94 type veth peer name vb index 93 netns";
        lab.ip_in("n1", &format!("{pair} {}", n2.0.id()));
        lab.wait("from n1 to n2", |g| one_edge(g, ("n1", "va"), ("n2", "vb")));
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn an_end_that_moves_is_found_again() {
    run(|mut lab| {
        lab.start();
        for name in ["m1", "m2", "m3"] {
            lab.add_netns(name);
        }
        ip("link add stay type veth peer name roam");
        lab.wait("at home", |g| g.layer2(g.node("stay")).len() == 1);
        let mut from = None;
        for to in ["m1", "m2", "m3", "m1"] {
            lab.move_to(from, "roam", to);
            lab.wait(to, |g| {
                g.linked(g.inside(to, "roam"), g.node("stay"))
                    || g.linked(g.node("stay"), g.inside(to, "roam"))
            });
            lab.wait("its name", |g| g.text("stay", "LinkNetNsName") == to);
            lab.look(|g| {
                assert!(g.int("stay", "LinkNetNsID").is_some());
                assert_eq!(text(g.inside(to, "roam").unwrap(), "LinkNetNsName"), "");
            });
            from = Some(to);
        }
        // The other end moves, too.
        lab.move_to(None, "stay", "m1");
        lab.wait("together again", |g| {
            g.layer2(g.inside("m1", "stay")).len() == 1
        });
        lab.look(|g| {
            assert_eq!(
                g.json("stay", "LinkNetNsID"),
                "",
                "the key no longer applies"
            );
            assert_eq!(g.json("roam", "LinkNetNsName"), "");
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_order_in_which_probes_start_does_not_matter() {
    run(|mut lab| {
        lab.make_run_path();
        for name in ["o1", "o2"] {
            lab.add_netns(name);
            let inside = lab.inhabitant(name);
            ip(&format!(
                "link add v{name} type veth peer name eth0 netns {}",
                inside.0.id()
            ));
        }
        let namespaces = lab.namespaces(NetlinkOptions::default());
        lab.probes
            .start(NetnsProbe::new(&namespaces, &lab.run_path))
            .unwrap();
        lab.wait("what is inside", |g| {
            g.inside("o1", "eth0").is_some() && g.inside("o2", "eth0").is_some()
        });
        // The probes inside look for the host's namespace, which is not known yet.
        lab.wait("the name of nobody", |g| {
            ["o1", "o2"].iter().all(|name| {
                let end = g.inside(name, "eth0");
                end.is_some_and(|end| end.metadata.get("LinkNetNsName").is_some())
            })
        });
        lab.probes.start(NetlinkProbe::new(&namespaces)).unwrap();
        lab.wait("pairs", |g| {
            g.layer2(g.inside("o1", "eth0")).len() == 1 && g.layer2(g.node("vo2")).len() == 1
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_late_namespace_completes_the_pair() {
    run(|mut lab| {
        lab.start();
        let elsewhere = lab.run_path.with_extension("elsewhere");
        std::fs::create_dir_all(&elsewhere).unwrap();
        let shown = std::mem::replace(&mut lab.run_path, elsewhere.clone());
        lab.add_netns("hidden");
        ip("link add near type veth peer name far");
        lab.move_to(None, "far", "hidden");
        lab.wait("one end", |g| {
            g.json("near", "LinkNetNsName") == r#""""# && g.node("far").is_none()
        });
        lab.run_path = shown;
        lab.bind_netns(&elsewhere.join("hidden"), "late");
        lab.wait("the other", |g| {
            g.layer2(g.node("near")).len() == 1 && g.text("near", "LinkNetNsName") == "late"
        });
        lab.run_path = elsewhere.clone();
        lab.del_netns("hidden");
        std::fs::remove_dir_all(&elsewhere).unwrap();
        lab.run_path = elsewhere.with_extension("");
        lab.del_netns("late");
        lab.wait("neither", |g| {
            g.node("near").is_none() && g.node("far").is_none()
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_namespace_that_vanishes_while_it_is_entered_leaves_nothing() {
    run(|mut lab| {
        lab.start();
        lab.add_netns("before");
        lab.wait("another one", |g| g.inside("before", "lo").is_some());
        let path = lab.run_path.join("brief");
        let file = path.display();
        for round in 0..20 {
            // The probe has opened the namespace and waits for the graph, or has not opened it yet.
            let wait = ["", "sleep 0.02;"][round % 2];
            lab.hold(|| {
                sh(&format!(
                    "touch {file}; unshare --net={file} true; {wait} umount -l {file}; rm {file}"
                ))
            });
        }
        lab.add_netns("after");
        lab.wait("a later one", |g| g.inside("after", "lo").is_some());
        lab.wait("only these two", |g| {
            g.count(&[("Type", "netns")]) == 2 && g.count(&[("Name", "lo")]) == 3
        });
        assert_eq!(lab.status("netns").error, None);
        assert_eq!(lab.status("netlink").error, None);
    });
}
