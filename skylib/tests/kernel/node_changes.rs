//! Captures on nodes that appear, disappear, are renamed, or change their namespace.

use std::path::PathBuf;

use skylib::api::CaptureSpec;
use skylib::engine::Collection;

use crate::engine_lab::{Lab, wait};
use crate::support::frames::{frame, udp};
use crate::support::{in_new_namespace, ip, sender, sh, unshare_mounts};

/// Runs a test with an engine that also watches the namespaces in a folder.
fn with_namespaces(test: impl FnOnce(&Lab) + Send) {
    in_new_namespace(|| {
        unshare_mounts();
        std::fs::create_dir_all("/run/netns").unwrap();
        sh("mount -t tmpfs tmpfs /run/netns");
        let folder = Some(PathBuf::from("/run/netns"));
        test(&Lab::with(Lab::options().with_netns_path(folder)));
    });
}

/// Sends a packet from an interface of this namespace until a query has an answer.
fn send_until(lab: &Lab, from: &str, port: u16, query: &str, wanted: &str) {
    let sender = sender(from);
    wait(query, || {
        sender.send(&frame(0x0800, &udp(7_001, port, 20))).ok();
        lab.ask(query) == wanted
    });
}

fn add_roaming_pair() {
    ip("link add stay type veth peer name roam");
    ip("link set stay up");
    ip("link set roam up");
}

const ROAM: &str = "G.V().Has('Name', 'roam')";
const ACTIVE: &str = "G.V().Has('Name', 'roam', 'Captures.State', 'active').Count()";

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_node_that_appears_is_captured_and_one_that_disappears_is_not() {
    with_namespaces(|lab| {
        let id = lab.add(ROAM, CaptureSpec::default());
        let status = || lab.engine.captures().get(&id).unwrap().status.clone();
        wait("the problem", || {
            status()["Problem"]
                .as_str()
                .is_some_and(|text| text.contains("selects no interface"))
        });
        for round in 0_u16..2 {
            add_roaming_pair();
            wait("the capture", || lab.ask(ACTIVE) == "1");
            let port = 7_100 + round;
            let flow = format!("{ROAM}.Flows().Has('Transport.B', {port}).Count()");
            send_until(lab, "stay", port, &flow, "1");
            ip("link del stay");
            wait("the end of the node", || {
                lab.ask(&format!("{ROAM}.Count()")) == "0"
            });
            wait("the end of the capture", || {
                lab.engine.status().capture_totals.active == 0
            });
        }
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_renamed_node_retains_its_capture() {
    with_namespaces(|lab| {
        add_roaming_pair();
        lab.add(ROAM, CaptureSpec::default());
        wait("the capture", || lab.ask(ACTIVE) == "1");
        ip("link set roam down");
        ip("link set roam name other");
        ip("link set other up");
        let flow = "G.V().Has('Name', 'other').Flows().Has('Transport.B', 7102).Count()";
        send_until(lab, "stay", 7_102, flow, "1");
        let entries = lab.ask("G.V().Has('Name', 'other').Values('Captures.State')");
        assert_eq!(entries, r#"[["active"]]"#);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_node_that_changes_its_namespace_is_captured_there() {
    with_namespaces(|lab| {
        ip("netns add blue");
        ip("netns add green");
        add_roaming_pair();
        lab.add(ROAM, CaptureSpec::default());
        wait("the capture", || lab.ask(ACTIVE) == "1");
        let mut from = String::new();
        for (port, to) in [(7_103_u16, "blue"), (7_104, "green"), (7_105, "blue")] {
            ip(&format!("{from} link set roam netns {to}"));
            ip(&format!("-n {to} link set roam up"));
            let inside = format!("G.V().Has('Name', '{to}').Out('Name', 'roam')");
            let active = format!("{inside}.Has('Captures.State', 'active').Count()");
            wait(to, || lab.ask(&active) == "1");
            let flow = format!("{inside}.Flows().Has('Transport.B', {port}).Count()");
            send_until(lab, "stay", port, &flow, "1");
            assert_eq!(
                lab.engine.status().capture_totals.active,
                1,
                "the former one has ended"
            );
            from = format!("-n {to}");
        }
        ip("netns del blue");
        wait("the end with the namespace", || {
            lab.engine.status().capture_totals.active == 0
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn captures_on_nodes_that_go_down_continue_when_they_are_up_again() {
    with_namespaces(|lab| {
        add_roaming_pair();
        ip("link set roam down");
        lab.add(ROAM, CaptureSpec::default());
        let error = format!("{ROAM}.Values('Captures.Error')");
        wait("the reason", || {
            lab.ask(&error)
                .contains("Can't start capture on node down roam")
        });
        ip("link set roam up");
        wait("the capture", || lab.ask(ACTIVE) == "1");
        ip("link set roam down");
        ip("link set roam up");
        let flow = format!("{ROAM}.Flows().Has('Transport.B', 7106).Count()");
        send_until(lab, "stay", 7_106, &flow, "1");
    });
}
