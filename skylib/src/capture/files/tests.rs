use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::capture::Replay;
use crate::capture::tests::frames::{frame, udp};
use crate::flow::FlowTableOptions;
use crate::packet::PacketRef;
use crate::pcap_file::{PcapNgWriter, PcapWriter, Resolution};

/// Packet: time in milliseconds, and source port.
type Packet = (i64, u16);

/// Folder of capture files, which is removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("skylib-files-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("created");
        Self(folder)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Returns a file of packets, each with its link type if `link_types` is given.
fn pcap(packets: &[Packet]) -> Vec<u8> {
    let link_type = LinkType::ETHERNET;
    let mut writer =
        PcapWriter::new(Vec::new(), link_type, Resolution::Nanoseconds).expect("in memory");
    for &(ms, port) in packets {
        let data = &frame(0x0800, &udp(port, 9, 18))[..];
        let timestamp = Timestamp::from_ms(ms);
        let wire_len = 60;
        let packet = PacketRef {
            link_type,
            timestamp,
            data,
            wire_len,
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

/// Reads all packets; returns times and source ports, and the error.
fn read(files: &mut CaptureFiles) -> (Vec<Packet>, Option<CaptureError>) {
    let mut packets = Vec::new();
    loop {
        match files.next_batch(Duration::ZERO) {
            Ok(Batch::Packets(batch)) => {
                let of = |packet: PacketRef<'_>| {
                    let at = if packet.link_type == LinkType::RAW {
                        20
                    } else {
                        34
                    };
                    let port = [packet.data[at], packet.data[at + 1]];
                    (packet.timestamp.as_ms(), u16::from_be_bytes(port))
                };
                packets.extend(batch.iter().map(of));
            }
            Ok(Batch::Timeout) => {}
            Ok(Batch::End) => return (packets, None),
            Err(error) => return (packets, Some(error)),
        }
    }
}

fn read_all(set: CaptureFileSet) -> Vec<Packet> {
    let mut files = set.open().expect("capture files");
    let (packets, error) = read(&mut files);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(files.stats().received, packets.len() as u64);
    packets
}

fn random_packets(count: usize, seed: u32) -> Vec<Packet> {
    let mut random = seed;
    (0..count)
        .map(|number| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Several packets at the same time, and some packets that go back in time.
            let ms = number as i64 / 3 * 10 - i64::from(random >> 30 == 0) * 25;
            (100_000 + ms, (random >> 16) as u16 % 50)
        })
        .collect()
}

#[test]
fn rotated_files_are_read_in_the_order_of_their_first_packets() {
    let folder = Folder::new();
    let all = random_packets(1000, 1);
    let mut paths = Vec::new();
    for (number, part) in all.chunks(130).enumerate() {
        // The names ascend in the reverse order.
        paths.push(folder.write(&format!("{}.pcap", 99 - number), &pcap(part)));
    }
    paths.push(folder.write("00.pcap", &pcap(&[])));
    assert_eq!(read_all(CaptureFileSet::new(paths.clone())), all);
    let pattern = folder.0.join("*.pcap");
    assert_eq!(read_all(CaptureFileSet::new([pattern])), all);
    paths.reverse();
    let files = CaptureFileSet::new(paths).open().expect("files");
    let sizes = fs::read_dir(&folder.0).expect("a folder");
    let sizes = sizes.map(|entry| entry.expect("a file").metadata().expect("a size").len());
    assert_eq!(files.progress().total_bytes(), Some(sizes.sum()));
}

#[test]
fn a_merge_of_interleaved_files_is_the_file_sorted_by_time() {
    let folder = Folder::new();
    let mut all = random_packets(5000, 7);
    all.sort_by_key(|(ms, _)| *ms);
    // Five overlapping files, with the packets distributed by port, so that the order of packets
    // with equal times is known.
    all.sort_by_key(|(ms, port)| (*ms, port % 5));
    let part = |number| {
        let mine = all.iter().filter(|(_, port)| port % 5 == number);
        pcap(&mine.copied().collect::<Vec<_>>())
    };
    let names = ["a", "b", "c", "d", "e"].into_iter().zip(0_u16..);
    let paths: Vec<_> = names
        .map(|(name, number)| folder.write(name, &part(number)))
        .collect();
    let merged = read_all(CaptureFileSet::new(paths.clone()).with_merge(true));
    let sorted = |packets: &[Packet]| {
        let mut sorted = packets.to_vec();
        sorted.sort_unstable();
        sorted
    };
    assert!(merged.is_sorted_by_key(|(ms, _)| *ms));
    assert_eq!(sorted(&merged), sorted(&all));
    // The packets of each file remain in their order.
    for number in 0..5 {
        let of = |packets: &[Packet]| {
            let mine = packets.iter().filter(|(_, port)| port % 5 == number);
            mine.copied().collect::<Vec<_>>()
        };
        assert_eq!(of(&merged), of(&all));
    }
}

#[test]
fn a_merge_of_files_that_do_not_overlap_reads_them_in_order() {
    let folder = Folder::new();
    let all: Vec<_> = (0..9000).map(|number| (number, number as u16)).collect();
    for (number, part) in all.chunks(700).enumerate() {
        folder.write(&format!("{number}.pcap"), &pcap(part));
    }
    let set = CaptureFileSet::new([folder.0.join("*")]);
    assert_eq!(read_all(set.clone()), all);
    let mut files = set.with_merge(true).open().expect("files");
    let mut most_open = 0;
    while let Batch::Packets(_) = files.next_batch(Duration::ZERO).expect("no damage") {
        if let Reading::Merged(merge) = &files.reading {
            most_open = most_open.max(merge.files().count());
        }
    }
    assert_eq!((most_open, files.stats().received), (1, 9000));
}

#[test]
fn flows_of_split_and_merged_captures_are_those_of_the_whole() {
    let folder = Folder::new();
    let packets = random_packets(3000, 3);
    let mut sorted = packets.clone();
    sorted.sort_by_key(|(ms, _)| *ms);
    let whole = folder.write("whole", &pcap(&sorted));
    let turn: Vec<_> = sorted
        .chunks(401)
        .enumerate()
        .map(|(number, part)| folder.write(&format!("turn-{number}"), &pcap(part)))
        .collect();
    let dealt = |rest| {
        let mine = sorted.iter().enumerate().filter(|(at, _)| at % 2 == rest);
        pcap(&mine.map(|(_, packet)| *packet).collect::<Vec<_>>())
    };
    let dealt = [
        folder.write("even", &dealt(0)),
        folder.write("odd", &dealt(1)),
    ];
    let flows = |set: CaptureFileSet, threads| {
        let mut files = set.open().expect("files");
        let options = FlowTableOptions::default().with_seed(1);
        let threads = std::num::NonZeroUsize::new(threads).expect("some");
        let replay = Replay::new(options).with_threads(threads);
        let flows = replay.flows(&mut files).expect("no damage");
        let mut flows: Vec<_> = flows
            .iter()
            .map(|flow| (flow.uuid.to_string(), flow.metric))
            .collect();
        flows.sort_by(|a, b| a.0.cmp(&b.0));
        flows
    };
    let wanted = flows(CaptureFileSet::new([whole]), 1);
    assert!(wanted.len() >= 50);
    for threads in [1, 3] {
        assert_eq!(flows(CaptureFileSet::new(&turn), threads), wanted);
        let merged = CaptureFileSet::new(&dealt).with_merge(true);
        assert_eq!(flows(merged, threads), wanted);
    }
}

#[test]
fn damage_ends_only_its_file() {
    let folder = Folder::new();
    let packets: Vec<_> = (0..30).map(|number| (number, number as u16)).collect();
    let mut cut = pcap(&packets[10..20]);
    cut.truncate(cut.len() - 1);
    folder.write("a", &pcap(&packets[..10]));
    folder.write("b", &cut);
    folder.write("c", &pcap(&packets[20..]));
    folder.write("d", b"");
    for is_merged in [false, true] {
        let set = CaptureFileSet::new([folder.0.join("*")]).with_merge(is_merged);
        let mut files = set.open().expect("files");
        let (read, error) = read(&mut files);
        let wanted = [&packets[..19], &packets[20..]].concat();
        assert_eq!(read, wanted);
        let error = error.expect("damage");
        let name = folder.0.join("b").display().to_string();
        assert_eq!(error.to_string(), format!("cannot read {name}"));
        assert_eq!(files.other_errors().len(), 1);
        assert!(matches!(files.next_batch(Duration::ZERO), Ok(Batch::End)));
    }
}

#[test]
fn files_that_cannot_be_read_are_refused_before_the_first_packet() {
    let folder = Folder::new();
    let good = folder.write("good", &pcap(&[(1, 1)]));
    let text = folder.write("text", b"this is no capture file");
    let error = |paths: &[PathBuf]| {
        let error = CaptureFileSet::new(paths).open().expect_err("refused");
        error.to_string()
    };
    let named = |path: &PathBuf| format!("cannot read {}", path.display());
    assert_eq!(error(&[good.clone(), text.clone()]), named(&text));
    let missing = folder.0.join("missing");
    let wanted = format!("cannot open {}", missing.display());
    assert_eq!(error(&[good, missing]), wanted);
    assert_eq!(error(&[]), "no capture file was given");
}

#[test]
fn pipes_are_read_once() {
    let folder = Folder::new();
    let paths = ["late", "early"].map(|name| folder.0.join(name));
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    for path in &paths {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).expect("created");
    }
    let late: Vec<_> = (5000..9000).map(|number| (number, 7)).collect();
    let early: Vec<_> = (0..4000).map(|number| (number, 7)).collect();
    for is_merged in [false, true] {
        let writers = paths.iter().zip([&late, &early]).map(|(path, packets)| {
            let (path, bytes) = (path.clone(), pcap(packets));
            std::thread::spawn(move || fs::write(path, bytes).expect("written"))
        });
        let writers: Vec<_> = writers.collect();
        let set = CaptureFileSet::new(&paths).with_merge(is_merged);
        assert_eq!(read_all(set), [&early[..], &late[..]].concat());
        for writer in writers {
            writer.join().expect("no panic");
        }
    }
}

#[test]
fn files_that_overlap_in_time_are_counted() {
    let folder = Folder::new();
    folder.write("a", &pcap(&[(0, 1), (10, 1)]));
    folder.write("b", &pcap(&[(5, 1), (20, 1)]));
    folder.write("c", &pcap(&[(20, 1), (30, 1)]));
    let set = CaptureFileSet::new([folder.0.join("*")]);
    for (is_merged, overlaps) in [(false, 1), (true, 0)] {
        let mut files = set.clone().with_merge(is_merged).open().expect("files");
        assert_eq!(read(&mut files).0.len(), 6);
        assert_eq!(files.overlaps(), overlaps);
    }
}

#[test]
fn files_of_several_link_types_are_merged() {
    let folder = Folder::new();
    let packets: Vec<_> = (0..40).map(|number| (number, number as u16)).collect();
    let even: Vec<_> = packets
        .iter()
        .copied()
        .filter(|(ms, _)| ms % 2 == 0)
        .collect();
    let ethernet = folder.write("a", &pcap(&even));
    let mut writer = PcapNgWriter::new(Vec::new()).expect("in memory");
    for &(ms, port) in packets.iter().filter(|(ms, _)| ms % 2 == 1) {
        let packet = PacketRef {
            link_type: LinkType::RAW,
            timestamp: Timestamp::from_ms(ms),
            data: &udp(port, 9, 18),
            wire_len: 46,
        };
        writer.write(&packet).expect("in memory");
    }
    let raw = folder.write("b", &writer.into_inner());
    let set = CaptureFileSet::new([ethernet, raw]).with_merge(true);
    assert_eq!(read_all(set), packets);
}

#[test]
fn a_link_type_replaces_those_of_the_files() {
    let folder = Folder::new();
    for name in ["a", "b"] {
        folder.write(name, &pcap(&[(1, 1), (2, 1)]));
    }
    for paths in [vec![folder.0.join("a")], vec![folder.0.join("*")]] {
        let set = CaptureFileSet::new(paths).with_link_type(LinkType(147));
        for is_merged in [false, true] {
            let mut files = set.clone().with_merge(is_merged).open().expect("files");
            assert_eq!(files.link_type(), LinkType(147));
            let Batch::Packets(batch) = files.next_batch(Duration::ZERO).expect("no damage") else {
                panic!("no packets");
            };
            assert_eq!(batch.link_type, LinkType(147));
        }
    }
}

/// Appends a block to a pcapng file.
fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = (12 + body.len().next_multiple_of(4)) as u32;
    file.extend(kind.to_le_bytes());
    file.extend(len.to_le_bytes());
    file.extend(body);
    file.resize(file.len().next_multiple_of(4), 0);
    file.extend(len.to_le_bytes());
}

/// Returns a pcapng file with interfaces (nameless if the name is empty), packets with the number
/// of their interface, and statistics that state that three packets of the first interface were
/// lost.
fn pcapng(interfaces: &[&str], packets: &[(u32, Packet)]) -> Vec<u8> {
    let mut file = Vec::new();
    let section = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    block(&mut file, 0x0a0d_0d0a, &[&section[..], &[0xff; 8]].concat());
    for name in interfaces {
        let mut body = vec![1, 0, 0, 0, 0, 0, 4, 0];
        if !name.is_empty() {
            body.extend([2, 0, name.len() as u8, 0]);
            body.extend(name.as_bytes());
            body.resize(body.len().next_multiple_of(4), 0);
        }
        block(&mut file, 1, &body);
    }
    for &(interface, (ms, port)) in packets {
        let data = frame(0x0800, &udp(port, 9, 18));
        let ticks = (ms * 1000) as u64;
        let mut body = Vec::new();
        let len = data.len() as u32;
        for word in [interface, (ticks >> 32) as u32, ticks as u32, len, len] {
            body.extend(word.to_le_bytes());
        }
        body.extend(data);
        block(&mut file, 6, &body);
    }
    let lost = [[5, 0, 8, 0, 3, 0, 0, 0], [0; 8]].concat();
    block(&mut file, 5, &[&[0; 12][..], &lost[..12]].concat());
    file
}

/// Returns the interface and the number of packets of each flow.
fn flows_by_interface(set: CaptureFileSet) -> Vec<(String, i64)> {
    let mut files = set.open().expect("files");
    let flows = Replay::default().flows(&mut files).expect("no damage");
    let mut found: Vec<_> = flows
        .iter()
        .map(|flow| {
            let interface = flow.wire.as_ref().map(|wire| wire.interface.to_string());
            let packets = flow.metric.as_ref().map_or(0, |metric| metric.ab_packets);
            (interface.unwrap_or_default(), packets)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn interfaces_of_a_file_are_different_capture_points() {
    let folder = Folder::new();
    let name = |text: &str, packets| (text.to_owned(), packets);
    let packets = [(0, (1, 7)), (1, (2, 7)), (0, (3, 7))];
    let path = folder.write("two", &pcapng(&["eth0", "br0"], &packets));
    let set = CaptureFileSet::new([&path]);
    let apart = [name("br0", 1), name("eth0", 2)];
    assert_eq!(flows_by_interface(set.clone()), apart);
    assert_eq!(
        flows_by_interface(set.clone().with_interface("br0")),
        apart[..1]
    );
    let mut files = set.clone().with_interface("eth9").open().expect("files");
    let (read, error) = read(&mut files);
    assert!(read.is_empty());
    assert_eq!(
        error.expect("an error").to_string(),
        "no packet was captured on interface \"eth9\"; interfaces in the files: eth0, br0"
    );
    let points = files.capture_points().stats();
    let counts: Vec<_> = points
        .iter()
        .map(|point| (point.packets, point.dropped))
        .collect();
    assert_eq!(counts, [(2, 3), (1, 0)]);
    // Interfaces without names are identified by their numbers.
    let path = folder.write("nameless", &pcapng(&["", ""], &packets));
    let nameless = [name("0", 2), name("1", 1)];
    assert_eq!(flows_by_interface(CaptureFileSet::new([path])), nameless);
}

#[test]
fn an_interface_is_the_same_in_all_files_by_its_name() {
    let folder = Folder::new();
    let name = |text: &str, packets| (text.to_owned(), packets);
    let one = folder.write("1", &pcapng(&["eth0"], &[(0, (1, 7)), (0, (2, 7))]));
    let two = folder.write("2", &pcapng(&["lo", "eth0"], &[(1, (3, 7)), (0, (4, 7))]));
    // The interface is not shown if all files have only one.
    let set = CaptureFileSet::new([&one, &one]);
    assert_eq!(flows_by_interface(set), [name("", 4)]);
    let wanted = [name("eth0", 3), name("lo", 1)];
    for is_merged in [false, true] {
        let set = CaptureFileSet::new([&two, &one]).with_merge(is_merged);
        assert_eq!(flows_by_interface(set.clone()), wanted);
        let mut files = set.open().expect("files");
        read(&mut files);
        let points = files.capture_points().stats();
        let packets = points.iter().map(|point| point.packets);
        assert_eq!(packets.sum::<u64>(), 4);
    }
    // The same sections in one file: the second interface is found after the flow began.
    let bytes = [fs::read(&one), fs::read(&two)].map(|bytes| bytes.expect("read"));
    let joined = folder.write("joined", &bytes.concat());
    let wanted = [name("", 3), name("lo", 1)];
    assert_eq!(flows_by_interface(CaptureFileSet::new([joined])), wanted);
}
