//! Capture types and targets of an engine, on interfaces of a new network namespace.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use skylib::api::{CaptureSpec, CaptureType};
use skylib::engine::Collection;
use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapWriter, Resolution};
use skylib::time::{Clock, SystemClock, Timestamp};

use crate::engine_lab::{Lab, TIMEOUT, wait};
use crate::support::frames::{frame, udp};
use crate::support::{in_new_namespace, ip};

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_pcap_socket_receives_files() {
    in_new_namespace(|| {
        let lab = Lab::new();
        let spec = CaptureSpec::default().with_capture_type(CaptureType::PcapSocket);
        let address = lab.capture(spec, "PCAPSocket");
        assert!(address.starts_with("127.0.0.1:81"), "{address}");
        let link_type = LinkType::ETHERNET;
        let mut writer = PcapWriter::new(Vec::new(), link_type, Resolution::Nanoseconds).unwrap();
        let data = frame(0x0800, &udp(7_001, 7_002, 20));
        let timestamp = Timestamp::from_ms(1_000);
        let wire_len = data.len() as u32;
        writer
            .write(&PacketRef {
                link_type,
                timestamp,
                data: &data,
                wire_len,
            })
            .unwrap();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&writer.into_inner()).unwrap();
        let flow = "G.V().Has('Name', 'right').Flows().Has('Transport.B', 7002).Count()";
        wait("the flow", || lab.ask(flow) == "1");
        let counted = "G.V().Has('Captures.PacketsReceived', 1).Count()";
        wait("the counter", || lab.ask(counted) == "1");
        stream.shutdown(Shutdown::Write).unwrap();
        let length = stream.read(&mut [0; 1]).unwrap();
        assert_eq!(length, 0, "the connection ends with the file");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn an_sflow_capture_has_flows_and_counters() {
    in_new_namespace(|| {
        let lab = Lab::new();
        let spec = CaptureSpec::default()
            .with_capture_type(CaptureType::Sflow)
            .with_bpf_filter("udp port 7002");
        let address = lab.capture(spec, "SFlowSocket");
        assert_eq!(address, "10.7.0.2:6343");
        let mut words: Vec<u32> = vec![5, 1, 0xc000_0201, 0, 1, 1_000, 3];
        for port in [7_002, 7_003] {
            let mut header = frame(0x0800, &udp(7_001, port, 20));
            header.resize(64, 0);
            words.extend([1, 4 * 30, 1, 1, 100, 100, 0, 1, 2, 1, 1, 4 * 20]);
            words.extend([1, 1_518, 4, 64]);
            let (chunks, _) = header.as_chunks::<4>();
            words.extend(chunks.iter().map(|chunk| u32::from_be_bytes(*chunk)));
        }
        words.extend([2, 4 * 27, 1, 5, 1, 1, 4 * 22]);
        words.extend([5, 6, 0, 1_000, 1, 3, 0, 4_242, 7]);
        words.extend([0; 13]);
        let datagram: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        let agent = UdpSocket::bind("10.7.0.2:0").unwrap();
        agent.send_to(&datagram, &address).unwrap();
        let flows = "G.V().Has('Name', 'right').Flows()";
        wait("the flow", || lab.ask(&format!("{flows}.Count()")) == "1");
        let flow = lab.ask(flows);
        assert!(flow.contains(r#""ABPackets":1,"ABBytes":1514"#), "{flow}");
        assert!(flow.contains(r#""B":7002"#), "{flow}");
        let counters = "G.V().Has('Name', 'right', 'SFlow.Metric.IfInOctets', 4242).Count()";
        wait("the counters", || lab.ask(counters) == "1");
        let id = lab.engine.captures().all().unwrap()[0].uuid.clone();
        lab.engine.captures().delete(&id).unwrap();
        let rest = "G.V().HasKey('SFlow').Count()";
        wait("the end of the counters", || lab.ask(rest) == "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn netflow_targets_receive_flows_and_queries_do_not() {
    use skylib::export::{Export, Intake, IntakeLimits};

    in_new_namespace(|| {
        let lab = Lab::new();
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        collector.set_read_timeout(Some(TIMEOUT)).unwrap();
        let target = collector.local_addr().unwrap().to_string();
        let spec = CaptureSpec::default()
            .with_target(target)
            .with_target_type("netflowv5");
        lab.capture(spec, "State");
        for _ in 0..3 {
            lab.left
                .send(&frame(0x0800, &udp(7_001, 7_002, 20)))
                .unwrap();
        }
        let mut buffer = [0; 2_000];
        let (length, from) = collector.recv_from(&mut buffer).unwrap();
        let mut intake = Intake::new(IntakeLimits::default());
        let mut records = Vec::new();
        let now = SystemClock.now();
        intake.datagram(from, &buffer[..length], now, &mut |_, export| {
            if let Export::Flow(flow) = export {
                records.push((
                    flow.src_port,
                    flow.dst_port,
                    flow.counters.packets,
                    flow.protocol,
                ));
            }
        });
        assert_eq!(records, [(Some(7_001), Some(7_002), Some(3), Some(17))]);
        assert_eq!(lab.ask("G.Flows().Count()"), "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_target_can_be_a_name_and_what_it_does_not_receive_is_counted() {
    in_new_namespace(|| {
        let lab = Lab::new();
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = collector.local_addr().unwrap().port();
        let spec = CaptureSpec::default()
            .with_target(format!("localhost:{port}"))
            .with_target_type("netflowv5");
        lab.capture(spec, "State");
        let send = || {
            lab.left.send(&frame(0x0806, &[0; 28])).unwrap();
            let packet = udp(7_001, 7_002, 20);
            lab.left.send(&frame(0x0800, &packet)).unwrap();
        };
        let shown = |key: &str| {
            let query = format!("G.V().Has('Captures.{key}', GT(0)).Count()");
            lab.ask(&query) == "1"
        };
        send();
        wait("the skipped flow", || shown("TargetSkipped"));
        assert!(!shown("TargetErrors"));
        drop(collector);
        wait("the failed datagrams", || {
            send();
            std::thread::sleep(Duration::from_millis(100));
            shown("TargetErrors")
        });
        let totals = lab.engine.status().capture_totals.target;
        assert!(totals.errors > 0 && totals.skipped > 0, "{totals:?}");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn erspan_targets_receive_packets() {
    use skylib::capture::{AfPacket, Batch, CaptureOptions, PacketSource};

    in_new_namespace(|| {
        let lab = Lab::new();
        let mut receiver = AfPacket::open(&CaptureOptions::new("lo")).unwrap();
        let spec = CaptureSpec::default()
            .with_target("127.0.0.1:0")
            .with_target_type("erspanv1");
        lab.capture(spec, "State");
        let sent = frame(0x0800, &udp(7_001, 7_002, 20));
        lab.left.send(&sent).unwrap();
        let mut found = None;
        wait("the mirrored packet", || {
            if let Batch::Packets(batch) = receiver.next_batch(Duration::from_millis(100)).unwrap()
            {
                let mut packets = batch.iter();
                // Ethernet and IP headers, then GRE with a sequence number.
                let mirrored = packets.find(|p| p.data.get(34..38) == Some(&[0x10, 0, 0x88, 0xbe]));
                found = mirrored.map(|packet| packet.data[50..].to_vec());
            }
            found.is_some()
        });
        assert_eq!(found.unwrap(), sent);
        assert_eq!(lab.ask("G.Flows().Count()"), "0");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn several_captures_on_one_node_have_their_own_counters_and_survive_a_rename() {
    in_new_namespace(|| {
        let lab = Lab::new();
        for filter in ["udp port 7002", "udp port 7003"] {
            lab.capture(CaptureSpec::default().with_bpf_filter(filter), "State");
        }
        let send = |ports: &[u16]| {
            for port in ports {
                lab.left
                    .send(&frame(0x0800, &udp(7_001, *port, 20)))
                    .unwrap();
            }
        };
        send(&[7_002, 7_003, 7_003]);
        let received = "G.V().Has('Captures.State', 'active').Values('Captures.PacketsReceived')";
        wait("both counters", || {
            let shown = lab.ask(received);
            shown.contains('1') && shown.contains('2')
        });
        ip("link set right down");
        ip("link set right name renamed");
        ip("link set renamed up");
        let renamed = "G.V().Has('Name', 'renamed', 'State', 'UP').Count()";
        wait("the new name", || lab.ask(renamed) == "1");
        wait("packets after the rename", || {
            send(&[7_002]);
            let received = lab.ask(received);
            !received.contains("[1,2]") && !received.contains("[2,1]") && received != "[]"
        });
        let errors = "G.V().Has('Captures.State', 'error').Count()";
        assert_eq!(lab.ask(errors), "0");
    });
}
