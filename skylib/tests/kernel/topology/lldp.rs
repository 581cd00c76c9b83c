//! The probe of LLDP neighbors, with `lldpd` of Debian as the neighbor.

use std::process::{Child, Command};

use skylib::topology::lldp::LldpProbe;

use super::lab::run;
use crate::support::{frames, has_programs, ip, sender, sh};

/// A running `lldpd`.
struct Lldpd(Child);

impl Drop for Lldpd {
    fn drop(&mut self) {
        // It sends a shutdown frame before it ends.
        sh(&format!("kill {}", self.0.id()));
        self.0.wait().unwrap();
    }
}

/// An LLDP frame of a switch with this name and time to live.
fn announcement(name: &str, ttl_s: u8) -> Vec<u8> {
    let value = |kind: u8, content: &[u8]| [&[kind << 1, content.len() as u8], content].concat();
    [
        b"\x01\x80\xc2\x00\x00\x0e\x02\x00\x11\x22\x33\x0a\x88\xcc".to_vec(),
        value(1, b"\x04\x02\x00\x11\x22\x33\x0a"),
        value(2, b"\x05Gi0/7"),
        value(3, &[0, ttl_s]),
        value(5, name.as_bytes()),
        vec![0, 0],
    ]
    .concat()
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn an_lldp_daemon_is_seen_until_it_ends() {
    if !has_programs(&["lldpd"]) {
        return;
    }
    run(|mut lab| {
        let namespaces = lab.start();
        lab.probes
            .start(LldpProbe::new(&namespaces, ["left".to_owned()]))
            .unwrap();
        lab.add_netns("peer");
        ip("link add left type veth peer name right");
        lab.move_to(None, "right", "peer");
        ip("link set left up");
        lab.ip_in("peer", "link set right up");
        lab.wait("the link", |g| g.text("left", "State") == "UP");
        sh("mkdir -p /run/lldpd");
        let socket = lab
            .run_path
            .join("../lldpd.sock")
            .with_extension(std::process::id().to_string());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", lab.run_path.join("peer").display()));
        command
            .args(["lldpd", "-d", "-I", "right", "-u"])
            .arg(&socket);
        let daemon = Lldpd(command.spawn().unwrap());
        lab.wait("the switch and its port", |g| {
            let ports = g.nodes(&[("Name", "right"), ("Type", "switchport")]);
            let edges = g.layer2(ports.first().copied());
            let left = g.node("left").map(|node| &node.id);
            edges.iter().any(|edge| Some(&edge.child) == left)
                && g.nodes(&[("Type", "switch")])
                    .first()
                    .is_some_and(|switch| {
                        switch.metadata.get_path("LLDP.ChassisIDType")
                            == Some(&"MAC Address".into())
                    })
        });
        assert!(!ip("-d link show left").contains("promiscuity 1"));
        drop(daemon);
        lab.wait("the end of the neighbor", |g| {
            g.count(&[("Type", "switch")]) + g.count(&[("Type", "switchport")]) == 0
        });
        let _removed = std::fs::remove_file(&socket);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn neighbors_expire_and_malformed_frames_are_counted() {
    run(|mut lab| {
        let namespaces = lab.start();
        lab.probes.start(LldpProbe::new(&namespaces, [])).unwrap();
        crate::support::add_pair();
        lab.wait("the links", |g| g.text("left", "State") == "UP");
        let right = sender("right");
        let send_until = |bytes: &[u8], done: &dyn Fn() -> bool| {
            while !done() {
                right.send(bytes).unwrap();
                std::thread::yield_now();
            }
        };
        let switches = || lab.look(|g| g.count(&[("Type", "switch"), ("Name", "lab-switch")]));
        send_until(&announcement("lab-switch", 1), &|| switches() == 1);
        lab.wait("the expiry", |g| g.count(&[("Type", "switch")]) == 0);
        let cut = &announcement("lab-switch", 120)[..30];
        send_until(cut, &|| lab.status("lldp").error.is_some());
        let error = lab.status("lldp").error.unwrap();
        assert!(
            error.contains("malformed LLDP frames, the last on left"),
            "{error}"
        );
        // Frames of other protocols do not reach the socket.
        right.send(&frames::frame(0x0800, &[0; 46])).unwrap();
        send_until(&announcement("lab-switch", 120), &|| switches() == 1);
        ip("link del left");
        lab.wait("the end of the link", |g| {
            g.count(&[("Type", "switch")]) == 0
        });
    });
}
