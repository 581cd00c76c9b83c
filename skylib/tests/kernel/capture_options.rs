//! Each option of a capture has an effect, in an engine that captures on an interface.

use std::net::SocketAddr;

use skylib::api::{CaptureSpec, CaptureType};
use skylib::flow::LayerKeyMode;

use crate::engine_lab::{Lab, wait};
use crate::support::frames::{frame, udp};
use crate::support::{in_new_namespace, ip};

const FLOWS: &str = "G.V().Has('Name', 'right').Flows()";

/// Captures on `right`, sends frames, and returns the answer of a query after the packets have been
/// counted.
fn capture(spec: CaptureSpec, frames: &[Vec<u8>], query: &str) -> String {
    let mut answer = String::new();
    in_new_namespace(|| {
        let lab = Lab::new();
        lab.capture(spec, "State");
        for frame in frames {
            lab.left.send(frame).unwrap();
        }
        let counted = format!(
            "G.V().Has('Captures.PacketsReceived', {}).Count()",
            frames.len()
        );
        wait("the packets", || lab.ask(&counted) == "1");
        answer = lab.ask(query);
    });
    answer
}

/// Returns a frame from one MAC address to another.
fn between(source: u8, port: u16) -> Vec<u8> {
    let mut bytes = frame(0x0800, &udp(7_001, port, 20));
    bytes[11] = source;
    bytes
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn raw_packets_have_the_header_size_up_to_their_limit() {
    let spec = CaptureSpec::default()
        .with_raw_packet_limit(2)
        .with_header_size(60);
    let frames = [between(1, 7_002), between(1, 7_002), between(1, 7_002)];
    let shown = capture(spec, &frames, &format!("{FLOWS}.RawPackets()"));
    let packets: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let text = packets.to_string();
    let count = text.matches("\"Data\"").count();
    assert_eq!(count, 2, "{text}");
    // 60 bytes are 80 characters in base 64.
    let data = text
        .split("\"Data\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert_eq!(data.len(), 80, "{text}");
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_layer_key_mode_decides_whether_addresses_of_the_link_distinguish_flows() {
    let frames = [between(1, 7_002), between(2, 7_002)];
    let count = format!("{FLOWS}.Count()");
    assert_eq!(capture(CaptureSpec::default(), &frames, &count), "2");
    let spec = CaptureSpec::default().with_layer_key_mode(LayerKeyMode::L3);
    assert_eq!(capture(spec, &frames, &count), "1");
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn several_threads_share_the_packets_of_an_interface() {
    in_new_namespace(|| {
        let lab = Lab::with(Lab::options().with_capture_shards(3));
        lab.capture(CaptureSpec::default(), "State");
        for port in 0..40_u16 {
            for _ in 0..5 {
                lab.left.send(&between(1, 7_200 + port)).unwrap();
            }
        }
        let counted = "G.V().Has('Captures.PacketsReceived', 200).Count()";
        wait("the packets of all threads", || lab.ask(counted) == "1");
        assert_eq!(lab.ask(&format!("{FLOWS}.Count()")), "40");
        let complete = format!("{FLOWS}.Has('Metric.ABPackets', 5).Count()");
        assert_eq!(lab.ask(&complete), "40", "no flow is divided");
        let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        assert!(
            names
                .filter(|name| name.starts_with("capture right"))
                .count()
                >= 3
        );
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn messages_of_this_program_are_not_captured() {
    in_new_namespace(|| {
        let services: [SocketAddr; 2] = [
            "0.0.0.0:7300".parse().unwrap(),
            "198.51.100.1:7301".parse().unwrap(),
        ];
        let options = Lab::options().with_control_services(services.to_vec());
        let lab = Lab::with(options);
        ip("link set lo up");
        lab.capture_on("G.V().Has('Name', 'lo')", CaptureSpec::default(), "State");
        let send = |port: u16| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            drop(socket.send_to(b"message", ("127.0.0.1", port)));
        };
        let flows = |port: u16| {
            lab.ask(&format!(
                "G.V().Has('Name', 'lo').Flows().Has('Transport.B', {port}).Count()"
            ))
        };
        // The second service is at another address, so this packet is of another program.
        wait("other packets", || {
            send(7_300);
            send(7_301);
            flows(7_301) != "0"
        });
        assert_eq!(flows(7_300), "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_port_of_sflow_can_be_chosen() {
    in_new_namespace(|| {
        let lab = Lab::new();
        let spec = CaptureSpec::default()
            .with_capture_type(CaptureType::Sflow)
            .with_port(7_343_u16);
        assert_eq!(lab.capture(spec, "SFlowSocket"), "10.7.0.2:7343");
    });
}
