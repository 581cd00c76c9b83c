//! Each option of a capture has an effect, in an engine that captures on an interface.

use std::net::SocketAddr;

use skylib::api::{CaptureSpec, CaptureType};
use skylib::flow::{ExtraLayers, LayerKeyMode};

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

/// Returns a frame with a TCP segment from port 7001 to 7002.
fn tcp(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(40 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(7_001_u16.to_be_bytes());
    packet.extend(7_002_u16.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    packet.extend(payload);
    frame(0x0800, &packet)
}

/// A SYN, a segment with 10 bytes, and the same segment again.
fn connection() -> [Vec<u8>; 3] {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let data = tcp(1_001, ACK, &[7; 10]);
    [tcp(1_000, SYN, &[]), data.clone(), data]
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_times_of_a_handshake_need_the_extra_metric_of_tcp() {
    let count = format!("{FLOWS}.Has('TCPMetric.ABSynStart', GT(0)).Count()");
    let spec = CaptureSpec::default();
    assert_eq!(capture(spec.clone(), &connection(), &count), "0");
    let spec = spec.with_extra_tcp_metric(true);
    assert_eq!(capture(spec, &connection(), &count), "1");
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_bytes_of_a_stream_are_counted_once_if_it_is_reassembled() {
    let count = format!("{FLOWS}.Has('TCPMetric.ABBytes', 10).Count()");
    let spec = CaptureSpec::default();
    assert_eq!(capture(spec.clone(), &connection(), &count), "0");
    let spec = spec.with_reassemble_tcp(true);
    assert_eq!(capture(spec, &connection(), &count), "1");
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn fragments_are_one_packet_if_they_are_reassembled() {
    // The second fragment begins after 32 bytes, and has no ports.
    let whole = udp(7_001, 7_002, 40);
    let fragment = |start: usize, end: usize, offset: [u8; 2]| {
        let mut packet = whole[..20].to_vec();
        packet[2..4].copy_from_slice(&u16::try_from(20 + end - start).unwrap().to_be_bytes());
        packet[4..6].copy_from_slice(&[0, 9]);
        packet[6..8].copy_from_slice(&offset);
        packet.extend(&whole[20 + start..20 + end]);
        frame(0x0800, &packet)
    };
    let frames = [fragment(0, 32, [0x20, 0]), fragment(32, 48, [0, 4])];
    let joined = format!("{FLOWS}.Has('LayersPath', 'Ethernet/IPv4/Fragment/UDP').Count()");
    let spec = CaptureSpec::default();
    assert_eq!(capture(spec.clone(), &frames, &joined), "0");
    let spec = spec.with_ip_defrag(true);
    assert_eq!(capture(spec, &frames, &joined), "1");
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_content_of_dns_needs_its_extra_layer() {
    // A query for the address of `a.b`.
    let mut query = udp(7_001, 53, 21);
    let header = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query[28..40].copy_from_slice(&header);
    query[40..49].copy_from_slice(&[1, b'a', 1, b'b', 0, 0, 1, 0, 1]);
    let frames = [frame(0x0800, &query)];
    let has_content = |spec| capture(spec, &frames, FLOWS).contains("\"DNS\":{");
    let spec = CaptureSpec::default();
    assert!(!has_content(spec.clone()));
    assert!(has_content(spec.with_extra_layers(ExtraLayers::DNS.bits())));
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
