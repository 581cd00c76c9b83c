//! Names, numbers, and contents of the recorded files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use skylib::pcap_file::CaptureReader;
use skylib::spp::{PcapProcess, Ports};
use skylib::time::{Clock, SystemClock};

use super::{LONG, number_of, numbered, process, read, read_all, send, spec, stats};
use crate::support::frames::{frame, tagged, udp};
use crate::support::{add_pair, folder, in_new_namespace, ip, sender, wait_for_pair};

/// Returns the number of packets that lz4 and tcpdump find in a file.
fn count_with_tools(path: &Path) -> usize {
    let plain = path.with_extension("plain");
    let decompressed = Command::new("lz4")
        .args(["-d", "-f", "-q"])
        .arg(path)
        .arg(&plain)
        .output()
        .expect("lz4 is installed");
    assert!(decompressed.status.success(), "{decompressed:?}");
    // Through standard input: tcpdump may drop privileges and then lack access to the file.
    let input = File::open(&plain).unwrap();
    let printed = Command::new("tcpdump")
        .args(["-n", "-r", "-"])
        .stdin(input)
        .output()
        .expect("tcpdump is installed");
    assert!(printed.status.success(), "{printed:?}");
    fs::remove_file(&plain).unwrap();
    printed
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .count()
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn two_writers_share_packets_flow_by_flow_and_lose_none() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("share");
        let process = process(spec(&folder, 2));
        process.start().unwrap();
        let before = SystemClock.now().as_ns();
        let left = sender("left");
        for number in 0..10_000 {
            send(&left, &numbered(number));
        }
        process.stop(LONG).unwrap();
        let stats = stats(&process);
        assert_eq!(
            (stats.rx, stats.written, stats.drop, stats.files),
            (10_000, 10_000, 0, 2)
        );
        assert_eq!(process.totals(), stats);
        let names = folder.names();
        let fields: Vec<Vec<&str>> = names.iter().map(|name| name.split('.').collect()).collect();
        for (writer, fields) in ["1", "2"].iter().zip(&fields) {
            assert_eq!(fields[..1], ["spp_pcap"]);
            assert!(fields[1].len() == 14 && fields[1].bytes().all(|b| b.is_ascii_digit()));
            assert_eq!(fields[2..], ["phy0", writer, "1", "pcap", "lz4"]);
        }
        assert_eq!(
            (names.len(), fields[0][1]),
            (2, fields[1][1]),
            "one time for all"
        );
        let mut seen = BTreeSet::new();
        let mut file_of_flow = BTreeMap::new();
        for (file, name) in names.iter().enumerate() {
            let path = folder.path().join(name);
            let packets = read(&path);
            assert!(!packets.is_empty(), "the other writer has all packets");
            assert!(packets.is_sorted_by_key(|(_, time)| *time));
            assert!(
                packets[0].1 >= before - 1_000,
                "times are those of the packets"
            );
            for (data, _) in &packets {
                let number = number_of(data);
                assert_eq!(*data, numbered(number));
                assert!(seen.insert(number), "{number} is recorded twice");
                assert_eq!(
                    *file_of_flow.entry(number % 100).or_insert(file),
                    file,
                    "a flow in two files"
                );
            }
            assert_eq!(count_with_tools(&path), packets.len());
        }
        assert_eq!(seen.len(), 10_000);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn files_are_numbered_without_gaps_and_end_soon_after_fsize() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("numbers");
        let process = process(spec(&folder, 1).with_fsize(64 << 10));
        process.start().unwrap();
        let left = sender("left");
        let frame = frame(0x0800, &udp(1, 2, 984));
        for _ in 0..1_024 {
            send(&left, &frame);
        }
        process.stop(LONG).unwrap();
        let mut numbers: Vec<u32> = Vec::new();
        let mut packets = 0;
        for name in folder.names() {
            numbers.push(name.split('.').nth(4).unwrap().parse().unwrap());
            let read = read(&folder.path().join(&name));
            let bytes: usize = read.iter().map(|(data, _)| 16 + data.len()).sum();
            assert!(bytes <= (64 << 10) + 16 + frame.len(), "{name}: {bytes}");
            packets += read.len();
        }
        numbers.sort_unstable();
        assert!(numbers.len() > 16 && numbers.iter().copied().eq(1..=numbers.len() as u32));
        assert_eq!(packets, 1_024);
        assert_eq!(stats(&process).files, numbers.len() as u64);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn frames_are_recorded_as_they_were_on_the_wire() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("wire");
        let process = process(spec(&folder, 1));
        process.start().unwrap();
        let (left, right) = (sender("left"), sender("right"));
        let plain = frame(0x0800, &udp(1, 2, 100));
        let frames = [
            tagged(&plain, 0x8100, 0x6005),
            tagged(&tagged(&plain, 0x88a8, 5), 0x8100, 6),
            plain.clone(),
        ];
        for frame in &frames {
            send(&left, frame);
        }
        // A port does not receive the frames it sends.
        send(&right, &plain);
        process.stop(LONG).unwrap();
        let found: Vec<Vec<u8>> = read_all(&folder)
            .into_iter()
            .map(|(data, _)| data)
            .collect();
        assert_eq!(found, frames);

        // An instance that captures both directions receives frames longer than any on a wire.
        ip("link set lo up");
        ip("link set lo mtu 65536");
        let lo = Ports::new(["lo"]).with_ring(3, "right");
        let start = |port: &str, outgoing: bool| {
            let mut spec = spec(&folder, 1);
            (spec.port, spec.outgoing) = (port.parse().unwrap(), outgoing);
            let process = PcapProcess::new(spec, &lo, Arc::new(SystemClock)).unwrap();
            process.start().unwrap();
            process
        };
        let (both, long) = (start("ring:3", true), start("phy:0", false));
        send(&left, &plain);
        send(&right, &plain);
        let jumbo = frame(0x0800, &udp(1, 2, 65_507));
        send(&sender("lo"), &jumbo);
        for process in [&both, &long] {
            process.stop(LONG).unwrap();
        }
        assert_eq!((stats(&both).written, stats(&long).written), (2, 1));
        let names = folder.names();
        let lo = names.iter().rfind(|name| name.contains(".phy0.")).unwrap();
        let mut reader = CaptureReader::new(File::open(folder.path().join(lo)).unwrap()).unwrap();
        let batch = reader.next_batch().unwrap().unwrap();
        let (header, packet) = (batch.headers[0], batch.iter().next().unwrap());
        assert_eq!(
            (header.captured_len, header.wire_len as usize),
            (65_535, jumbo.len())
        );
        assert_eq!(packet.data, &jumbo[..65_535]);
    });
}

/// The loopback interface captures each frame twice, as sent and as received.
#[test]
#[ignore = "needs root: creates network namespaces"]
fn two_writers_record_no_sent_frames() {
    in_new_namespace(|| {
        ip("link set lo up");
        let folder = folder("two-writers");
        let lo = Ports::new(["lo"]);
        let process = PcapProcess::new(spec(&folder, 2), &lo, Arc::new(SystemClock)).unwrap();
        process.start().unwrap();
        let socket = sender("lo");
        for number in 0..20 {
            send(&socket, &numbered(number));
        }
        process.stop(LONG).unwrap();
        assert_eq!(stats(&process).written, 20);
        assert_eq!(read_all(&folder).len(), 20);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn one_queue_of_several_is_captured_alone() {
    in_new_namespace(|| {
        ip(
            "link add left numtxqueues 2 numrxqueues 2 type veth peer name right numtxqueues 2 numrxqueues 2",
        );
        for end in ["left", "right"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").ok();
            ip(&format!("link set {end} arp off up"));
        }
        wait_for_pair();
        let folder = folder("queue");
        let processes: Vec<PcapProcess> = ["phy:0 nq 0", "phy:0 nq 1", "phy:0"]
            .iter()
            .map(|port| {
                let mut spec = spec(&folder, 1);
                spec.port = port.parse().unwrap();
                process(spec)
            })
            .collect();
        for process in &processes {
            process.start().unwrap();
        }
        let left = sender("left");
        for number in 0..400 {
            send(&left, &numbered(number));
        }
        for process in &processes {
            process.stop(LONG).unwrap();
        }
        let counts: Vec<u64> = processes
            .iter()
            .map(|process| stats(process).written)
            .collect();
        assert_eq!((counts[2], counts[0] + counts[1]), (400, 400), "{counts:?}");
        assert!(folder.names().iter().any(|name| name.contains(".phy0nq1.")));
    });
}
