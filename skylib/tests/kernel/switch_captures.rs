//! Captures on bridges and ports of Open vSwitch.

use skylib::api::{CaptureSpec, CaptureType};
use skylib::engine::{Collection, OptionalProbe, ProbeOptions};
use skylib::topology::ServerAddress;

use crate::engine_lab::{Lab, wait};
use crate::support::frames::{frame, udp};
use crate::support::{in_new_namespace, ip};
use crate::switch::Switch;

/// Runs a test with the bridge `ovs1` of the ports `right` and `upper`, the latter with the peer `lower`.
fn with_bridge(test: impl FnOnce(&Lab, &Switch) + Send) {
    if !Switch::is_installed() {
        return;
    }
    in_new_namespace(|| {
        let switch = Switch::start();
        let address = ServerAddress::Unix(switch.0.join("db.sock"));
        let probes = ProbeOptions::default()
            .with_probes(vec![OptionalProbe::Ovsdb])
            .with_ovsdb(address, false);
        let lab = Lab::with(Lab::options().with_probes(probes));
        ip("link add upper type veth peer name lower");
        ip("link set upper up");
        ip("link set lower up");
        switch.add_bridge("ovs1");
        switch.vsctl("add-port ovs1 right -- add-port ovs1 upper");
        let port = "G.V().Has('Name', 'right', 'Type', 'ovsport').Count()";
        wait("the port", || lab.ask(port) == "1");
        test(&lab, &switch);
    });
}

/// Sends packets through the bridge until a query has an answer.
fn send_until(lab: &Lab, what: &str, query: &str, is_met: impl Fn(&str) -> bool) {
    wait(what, || {
        for port in [7_002, 7_003] {
            lab.left
                .send(&frame(0x0800, &udp(7_001, port, 20)))
                .unwrap();
        }
        is_met(&lab.ask(query))
    });
}

/// Returns what the switch lists of a table.
fn rows(switch: &Switch, table: &str) -> String {
    let folder = switch.0.display();
    let command = format!(
        "ovs-vsctl --db=unix:{folder}/db.sock --timeout=20 --bare --columns=_uuid list {table}"
    );
    crate::support::sh(&command).trim().to_owned()
}

const BRIDGE: &str = "G.V().Has('Name', 'ovs1', 'Type', 'ovsbridge')";
const PORT: &str = "G.V().Has('Name', 'right', 'Type', 'ovsport')";

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_bridge_exports_sflow_while_it_is_captured() {
    with_bridge(|lab, switch| {
        // The type of captures on bridges unless they have one.
        let spec = CaptureSpec::default()
            .with_sampling_rate(1_u32)
            .with_polling_interval(1_u32)
            .with_header_size(128)
            .with_bpf_filter("udp port 7002");
        let address = lab.capture_on(BRIDGE, spec, "SFlowSocket");
        assert!(address.starts_with("127.0.0.1:63"), "{address}");
        let row = crate::support::sh(&format!(
            "ovs-vsctl --db=unix:{}/db.sock list sflow",
            switch.0.display()
        ));
        for wanted in [
            "header              : 128",
            "polling             : 1",
            "sampling            : 1",
        ] {
            assert!(row.contains(wanted), "{row}");
        }
        let flows = format!("{BRIDGE}.Flows()");
        send_until(
            lab,
            "the flow",
            &format!("{flows}.Has('Transport.B', 7002).Count()"),
            |n| n == "1",
        );
        assert_eq!(
            lab.ask(&format!("{flows}.Has('Transport.B', 7003).Count()")),
            "0"
        );
        let counters = "G.V().Has('Type', 'ovsbridge').HasKey('SFlow').Count()";
        wait("counters", || lab.ask(counters) == "1");

        let other = lab.add(
            BRIDGE,
            CaptureSpec::default().with_capture_type(CaptureType::OvsSflow),
        );
        let error = "G.V().Values('Captures.Error')";
        wait("the refusal of a second one", || {
            lab.ask(error).contains("one ovssflow capture")
        });
        lab.engine.captures().delete(&other).unwrap();
        for capture in lab.engine.captures().all().unwrap() {
            lab.engine.captures().delete(&capture.uuid).unwrap();
        }
        wait("the end of the export", || rows(switch, "sflow").is_empty());
        wait("the end of the counters", || lab.ask(counters) == "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn an_export_of_an_administrator_remains() {
    with_bridge(|lab, switch| {
        switch.vsctl("-- --id=@s create sflow agent=lo target=\\\"127.0.0.1:9\\\" -- set bridge ovs1 sflow=@s");
        let row = rows(switch, "sflow");
        lab.add(BRIDGE, CaptureSpec::default());
        let error = "G.V().Values('Captures.Error')";
        let text = "remove it with ovs-vsctl clear bridge ovs1 sflow";
        wait("the refusal", || lab.ask(error).contains(text));
        assert_eq!(rows(switch, "sflow"), row);
        // Once it is removed, the capture starts.
        switch.vsctl("clear bridge ovs1 sflow");
        switch.vsctl("set bridge ovs1 external_ids:touch=1");
        let active = "G.V().Has('Captures.State', 'active').Count()";
        wait("the capture", || lab.ask(active) == "1");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_bridge_exports_netflow_while_it_is_captured() {
    with_bridge(|lab, switch| {
        let spec = CaptureSpec::default()
            .with_capture_type(CaptureType::OvsNetflow)
            .with_bpf_filter("udp port 7002");
        let address = lab.capture_on(BRIDGE, spec, "NetFlowSocket");
        assert!(address.starts_with("127.0.0.1:63"), "{address}");
        let received = "G.V().Has('Captures.PacketsReceived', GT(0)).Count()";
        send_until(lab, "records", received, |count| count == "1");
        let flows = format!("{BRIDGE}.Flows()");
        send_until(
            lab,
            "the flow",
            &format!("{flows}.Has('Transport.B', 7002).Count()"),
            |n| n == "1",
        );
        assert_eq!(
            lab.ask(&format!("{flows}.Has('Transport.B', 7003).Count()")),
            "0"
        );
        let id = lab.engine.captures().all().unwrap()[0].uuid.clone();
        lab.engine.captures().delete(&id).unwrap();
        wait("the end of the export", || {
            rows(switch, "netflow").is_empty()
        });
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_port_is_mirrored_while_it_is_captured() {
    with_bridge(|lab, switch| {
        let spec = CaptureSpec::default().with_bpf_filter("udp port 7002");
        lab.capture_on(PORT, spec, "State");
        let flows = format!("{PORT}.Flows().Has('Transport.B', 7002).Count()");
        send_until(lab, "the flow", &flows, |count| count == "1");
        let mirror = format!("{PORT}.Out('Type', 'internal').HasKey('Captures').Count()");
        wait("the node of the mirror", || lab.ask(&mirror) == "1");
        let of = lab.ask("G.V().Has('Type', 'internal').Values('Captures.MirrorOf')");
        let port = lab.ask(&format!("{PORT}.Values('@ID')"));
        assert!(
            of.contains(port.trim_matches(['[', ']', '"'])),
            "{of} {port}"
        );
        // The port of the mirror cannot be mirrored.
        lab.add(
            "G.V().Has('Name', Regex('mir.*'), 'Type', 'ovsport')",
            CaptureSpec::default(),
        );
        let error = "G.V().Values('Captures.Error')";
        let text = "Mirror on mirrored interface is not allowed";
        wait("the refusal", || lab.ask(error).contains(text));
        for capture in lab.engine.captures().all().unwrap() {
            lab.engine.captures().delete(&capture.uuid).unwrap();
        }
        wait("the end of the mirror", || {
            rows(switch, "mirror").is_empty()
        });
        let left = "G.V().Has('Name', Regex('mir.*')).Count()";
        wait("the end of its nodes", || lab.ask(left) == "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn leftovers_of_an_earlier_run_are_removed() {
    with_bridge(|lab, switch| {
        let left =
            "create sflow agent=lo target=\\\"127.0.0.1:9\\\" external_ids:skyd-capture=old/n";
        switch.vsctl(&format!("-- --id=@s {left} -- set bridge ovs1 sflow=@s"));
        switch.vsctl(
            "-- add-port ovs1 mirold -- set interface mirold type=internal \
             -- set port mirold external_ids:skyd-capture=old/p \
             -- --id=@p get port mirold -- --id=@m create mirror name=mirold output_port=@p \
             external_ids:skyd-capture=old/p -- set bridge ovs1 mirrors=@m",
        );
        let wrong = "G.V().Has('Name', 'right', 'Type', 'veth')";
        lab.add(
            wrong,
            CaptureSpec::default().with_capture_type(CaptureType::OvsMirror),
        );
        let error = "G.V().Values('Captures.Error')";
        let text = "Capture type ovsmirror not allowed on this node type: veth";
        wait("the refusal", || lab.ask(error).contains(text));
        // The engine has started before the leftovers existed; another one removes them at its start.
        let address = ServerAddress::Unix(switch.0.join("db.sock"));
        let probes = ProbeOptions::default().with_probes(Vec::new());
        let options = Lab::options().with_probes(probes.with_ovsdb(address, false));
        let engine = skylib::engine::Engine::start(options).unwrap();
        wait("no sFlow", || rows(switch, "sflow").is_empty());
        wait("no mirror", || rows(switch, "mirror").is_empty());
        engine.stop();
    });
}
