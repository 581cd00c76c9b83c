//! The probe of Open vSwitch, with `openvswitch-switch` of Debian and its userspace datapath.

use skylib::graph::{Direction, Node, NodeId};
use skylib::topology::ovsdb::OvsdbProbe;
use skylib::topology::{ProbeSet, ProbeState, ServerAddress, TlsFiles};
use skylib::value::Value;

use super::lab::{Lab, View, run, text};
use crate::support::{has_programs, ip};
use crate::switch::Switch;

/// Runs a test with a switch and its probe.
fn with_switch(test: impl FnOnce(&mut Lab, &Switch) + Send) {
    if !Switch::is_installed() {
        return;
    }
    run(|mut lab| {
        let switch = Switch::start();
        let namespaces = lab.start();
        let address = ServerAddress::Unix(switch.0.join("db.sock"));
        lab.probes
            .start(OvsdbProbe::new(&namespaces, address))
            .unwrap();
        test(&mut lab, &switch);
    });
}

/// Returns the only node with this name that is no port.
fn interface<'a>(view: &View<'a>, name: &str) -> Option<&'a Node> {
    let nodes = view.nodes(&[("Name", name)]);
    let mut nodes = nodes
        .into_iter()
        .filter(|node| text(node, "Type") != "ovsport");
    nodes.next().filter(|_| nodes.next().is_none())
}

/// Returns the owner of the only node with this name that is no port.
fn owner<'a>(view: &View<'a>, name: &str) -> Option<&'a Node> {
    let node = interface(view, name)?;
    let mut edges = view.0.edges_of(&node.id, Direction::In);
    let ownership = Some(&Value::from("ownership"));
    let (_, owner) = edges.find(|(edge, _)| edge.metadata.get("RelationType") == ownership)?;
    Some(owner)
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn an_internal_port_is_one_node_of_the_kernel_and_the_switch() {
    with_switch(|lab, switch| {
        switch.add_bridge("ovs1");
        switch.vsctl("add-port ovs1 int1 -- set interface int1 type=internal");
        lab.wait("one node with the keys of both", |g| {
            interface(g, "int1").is_some_and(|node| {
                let keys = ["UUID", "MAC", "IfIndex", "OfPort"];
                text(node, "Type") == "internal"
                    && keys.iter().all(|key| node.metadata.get(key).is_some())
            })
        });
        let tid = |g: &View<'_>| text(interface(g, "int1").unwrap(), "TID");
        lab.wait("the TID of the final type", |g| {
            let host = text(g.nodes(&[("Type", "host")])[0], "TID");
            tid(g) == NodeId::derived(&format!("{host}int1internal")).to_string()
        });
        lab.look(|g| {
            let owner = g.child("lab", "int1").map(|node| node.id.clone());
            assert_eq!(owner, interface(g, "int1").map(|node| node.id.clone()));
        });
        switch.vsctl("del-port ovs1 int1");
        lab.wait("its end", |g| g.count(&[("Name", "int1")]) == 0);
        switch.vsctl("del-br ovs1");
        lab.wait("the end of the bridge", |g| {
            g.count(&[("Name", "ovs1")]) == 0
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn ports_of_all_kinds_are_linked() {
    with_switch(|lab, switch| {
        ip("link add veth1 type veth peer name veth2");
        switch.add_bridge("ovs2");
        switch.add_bridge("ovs3");
        switch.vsctl("add-port ovs2 veth1");
        switch.vsctl(
            "add-port ovs2 vx1 -- set interface vx1 type=vxlan options:remote_ip=198.18.1.2",
        );
        switch.vsctl("add-port ovs2 pa -- set interface pa type=patch options:peer=pb");
        switch.vsctl("add-port ovs3 pb -- set interface pb type=patch options:peer=pa");
        lab.wait("the patch", |g| {
            let (pa, pb) = (interface(g, "pa"), interface(g, "pb"));
            let Some((pa, pb)) = pa.zip(pb) else {
                return false;
            };
            let edges = g.layer2(Some(pa));
            edges
                .iter()
                .filter(|edge| edge.child == pb.id || edge.parent == pb.id)
                .count()
                == 1
        });
        lab.wait("the tunnel and the link", |g| {
            let veth = interface(g, "veth1");
            owner(g, "vx1").is_some_and(|owner| text(owner, "Type") == "ovsbridge")
                && veth.is_some_and(|node| {
                    text(node, "Type") == "veth" && node.metadata.get("UUID").is_some()
                })
                && g.child("lab", "veth1").is_some()
        });
        switch.vsctl("set port veth1 tag=7");
        lab.wait("the VLAN", |g| {
            let ports = g.nodes(&[("Name", "veth1"), ("Type", "ovsport")]);
            ports
                .first()
                .and_then(|node| node.metadata.get("Vlans")?.as_int())
                == Some(7)
        });
        switch.vsctl("del-port ovs2 veth1");
        lab.wait("an ordinary link", |g| {
            g.node("veth1")
                .is_some_and(|node| node.metadata.get("UUID").is_none())
        });
        ip("link del veth1");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_probe_connects_again() {
    with_switch(|lab, switch| {
        switch.add_bridge("ovs4");
        lab.wait("the bridge", |g| {
            g.count(&[("Name", "ovs4"), ("Type", "ovsbridge")]) == 1
        });
        switch.stop_database();
        lab.wait_status("ovsdb", |status| status.error.is_some());
        lab.look(|g| assert_eq!(g.count(&[("Name", "ovs4"), ("Type", "ovsbridge")]), 1));
        switch.start_database();
        switch.vsctl("del-br ovs4");
        lab.wait("what has changed", |g| {
            g.count(&[("Type", "ovsbridge")]) == 0
        });
        lab.wait_status("ovsdb", |status| status.state == ProbeState::Running);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_server_with_tls_is_followed_if_its_authority_is_known() {
    if !has_programs(&[
        "ovs-vsctl",
        "ovsdb-server",
        "ovsdb-tool",
        "ovs-vswitchd",
        "ovs-pki",
    ]) {
        return;
    }
    run(|mut lab| {
        ip("link set lo up");
        let switch = Switch::start();
        switch.run("ovs-pki --dir=$PWD/pki --log=$PWD/pki.log init");
        switch.run("ovs-pki --dir=$PWD/pki --log=$PWD/pki.log req+sign sc switch");
        switch.stop_database();
        switch.run(
            "ovsdb-server --detach --pidfile=s.pid --log-file=s.log --private-key=sc-privkey.pem \
             --certificate=sc-cert.pem --ca-cert=pki/switchca/cacert.pem --remote=punix:db.sock \
             --remote=pssl:16640:127.0.0.1 conf.db",
        );
        let file = |name: &str| switch.0.join(name);
        let address: ServerAddress = "ssl:127.0.0.1:16640".parse().unwrap();
        let tls = TlsFiles::new(file("pki/switchca/cacert.pem"))
            .with_client(file("sc-cert.pem"), file("sc-privkey.pem"));
        let namespaces = lab.start();
        let probe = OvsdbProbe::new(&namespaces, address.clone().with_tls(tls));
        lab.probes.start(probe).unwrap();
        switch.add_bridge("ovs5");
        lab.wait("the bridge", |g| {
            g.count(&[("Name", "ovs5"), ("Type", "ovsbridge")]) == 1
        });
        lab.probes.stop();
        lab.probes = ProbeSet::new();
        let other = TlsFiles::new(file("pki/controllerca/cacert.pem"));
        let probe = OvsdbProbe::new(&namespaces, address.with_tls(other));
        lab.probes.start(probe).unwrap();
        lab.wait_status("ovsdb", |status| status.error.is_some());
        let error = lab.status("ovsdb").error.unwrap();
        assert!(error.contains("certificate"), "{error}");
    });
}
