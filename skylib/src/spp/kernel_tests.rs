//! Instances on interfaces of the kernel, in network namespaces of the tests' own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::tests::{Folder, folder};
use super::{FlowTap, PcapProcess, PcapSpec, PcapStats, Ports, SppCtl, SppError};
use crate::capture::testing::{add_pair, in_new_namespace, ip, sender, wait_for_pair};
use crate::capture::tests::frames::{frame, tagged, udp};
use crate::capture::{Batch, PacketSource};
use crate::pcap_file::CaptureReader;
use crate::sys::socket::PacketSocket;
use crate::time::{Clock, SystemClock};

/// Far longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

fn spec(folder: &Folder, writers: u32) -> PcapSpec {
    let mut spec = PcapSpec::new(1, "phy:0".parse().unwrap()).with_out_dir(folder.path());
    spec.cores = (1..3 + writers).collect();
    spec
}

fn process(spec: PcapSpec) -> PcapProcess {
    PcapProcess::new(spec, &Ports::new(["right"]), Arc::new(SystemClock)).unwrap()
}

fn status(process: &PcapProcess) -> &'static str {
    process.status().status
}

fn stats(process: &PcapProcess) -> PcapStats {
    process.status().stats.packets
}

/// Sends a frame; while the queue is full, again.
fn send(socket: &PacketSocket, frame: &[u8]) {
    while let Err(error) = socket.send(frame) {
        assert!(
            matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)),
            "{error}"
        );
        thread::yield_now();
    }
}

/// A frame of one of 100 flows, with its number in its last bytes.
fn numbered(number: u32) -> Vec<u8> {
    let mut frame = frame(0x0800, &udp(1_000 + (number % 100) as u16, 2_000, 40));
    let end = frame.len() - 4;
    frame[end..].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number_of(data: &[u8]) -> u32 {
    u32::from_be_bytes(*data.last_chunk().unwrap())
}

/// Packets of a file and their times.
fn read(path: &Path) -> Vec<(Vec<u8>, i64)> {
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        found.extend(batch.iter().map(|p| (p.data.to_vec(), p.timestamp.as_ns())));
    }
    found
}

/// Packets of all files.
fn read_all(folder: &Folder) -> Vec<(Vec<u8>, i64)> {
    let files = folder.names();
    files
        .iter()
        .flat_map(|name| read(&folder.path().join(name)))
        .collect()
}

/// How many packets the tools that everybody has find in a file; none without these tools.
fn count_with_tools(path: &Path) -> Option<usize> {
    let there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !there("lz4") || !there("tcpdump") {
        eprintln!("SKIPPED: needs lz4 and tcpdump");
        return None;
    }
    let plain = path.with_extension("plain");
    let unpacked = Command::new("lz4")
        .args(["-d", "-f", "-q"])
        .arg(path)
        .arg(&plain)
        .output()
        .unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    // From the standard input, as tcpdump may give up privileges and with them the file.
    let input = File::open(&plain).unwrap();
    let printed = Command::new("tcpdump")
        .args(["-n", "-r", "-"])
        .stdin(input)
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    fs::remove_file(&plain).unwrap();
    Some(
        printed
            .stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
    )
}

#[test]
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
        let wanted = PcapStats {
            rx: 10_000,
            written: 10_000,
            drop: 0,
            files: 2,
        };
        assert_eq!((stats(&process), process.totals()), (wanted, wanted));
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
            assert!(!packets.is_empty(), "the other writer had them all");
            assert!(packets.is_sorted_by_key(|(_, time)| *time));
            assert!(
                packets[0].1 >= before - 1_000,
                "times are those of the packets"
            );
            for (data, _) in &packets {
                let number = number_of(data);
                assert_eq!(*data, numbered(number));
                assert!(seen.insert(number), "{number} is there twice");
                assert_eq!(
                    *file_of_flow.entry(number % 100).or_insert(file),
                    file,
                    "a flow in two files"
                );
            }
            if let Some(count) = count_with_tools(&path) {
                assert_eq!(count, packets.len());
            }
        }
        assert_eq!(seen.len(), 10_000);
    });
}

#[test]
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

/// Descriptors of this process that are sockets or files in a folder.
fn descriptors(folder: &Folder) -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let ours = entries
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(folder.path()));
    ours.count()
}

#[test]
fn starting_and_stopping_as_fast_as_possible_loses_no_file() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("fast");
        let process = process(spec(&folder, 2));
        for round in 0..200 {
            process.start().unwrap();
            assert_eq!(status(&process), "running", "{round}");
            assert_eq!(descriptors(&folder), 2);
            process.start().unwrap();
            process.stop(LONG).unwrap();
            assert_eq!(
                (status(&process), descriptors(&folder)),
                ("idle", 0),
                "{round}"
            );
            process.stop(LONG).unwrap();
        }
        let names = folder.names();
        assert_eq!(names.len(), 400, "no two files of one name");
        assert!(names.iter().all(|name| name.ends_with(".1.pcap.lz4")));
        assert_eq!(process.totals().files, 400);
    });
}

/// Sends numbered frames on a thread until told to stop.
fn load(stop: &Arc<AtomicBool>) -> thread::JoinHandle<u32> {
    let (left, stop) = (sender("left"), Arc::clone(stop));
    thread::spawn(move || {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            send(&left, &numbered(number));
            number += 1;
        }
        number
    })
}

#[test]
fn an_instance_deleted_under_load_completes_its_files_and_frees_its_id() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("delete");
        let ctl = SppCtl::new(Ports::new(["right"]), Arc::new(SystemClock));
        let stop = Arc::default();
        let load = load(&stop);
        for round in 0..5 {
            ctl.add(spec(&folder, 2)).unwrap();
            ctl.capture("1", br#"{"action":"start"}"#).unwrap();
            let process = ctl.instances().remove(0);
            while stats(&process).written < 1_000 {
                thread::yield_now();
            }
            ctl.delete("1").unwrap();
            let stats = stats(&process);
            assert_eq!(stats.rx, stats.written + stats.drop, "{round}");
            assert!(matches!(ctl.delete("1"), Err(SppError::NoProcess(_))));
            assert!(ctl.processes().is_empty());
            let packets: Vec<usize> = folder
                .names()
                .iter()
                .map(|name| {
                    assert!(name.ends_with(".lz4"), "{name}");
                    let path = folder.path().join(name);
                    let packets = read(&path).len();
                    fs::remove_file(path).unwrap();
                    packets
                })
                .collect();
            assert_eq!(
                (packets.len(), packets.iter().sum::<usize>() as u64),
                (2, stats.written)
            );
        }
        stop.store(true, Ordering::Relaxed);
        assert!(load.join().unwrap() > 5_000);
    });
}

#[test]
fn an_interface_that_comes_back_is_captured_again() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("back");
        let process = process(spec(&folder, 2));
        process.start().unwrap();
        let left = sender("left");
        for number in 0..500 {
            send(&left, &numbered(number));
        }
        // What arrived is not lost with the interface.
        ip("link del right");
        while stats(&process).written < 500 {
            thread::yield_now();
        }
        assert_eq!(status(&process), "running");
        add_pair();
        wait_for_pair();
        let left = sender("left");
        let mut number = 500;
        while stats(&process).written < 600 {
            send(&left, &numbered(number));
            number += 1;
            thread::sleep(Duration::from_millis(1));
        }
        process.stop(LONG).unwrap();
        let stats = stats(&process);
        assert_eq!((stats.rx, stats.drop, stats.files), (stats.written, 0, 2));
        let packets = read_all(&folder);
        assert_eq!(packets.len() as u64, stats.written);
        let numbers: BTreeSet<u32> = packets.iter().map(|(data, _)| number_of(data)).collect();
        assert_eq!(numbers.len(), packets.len());
        assert!((0..500).all(|number| numbers.contains(&number)));
        // Down and up is less than gone.
        process.start().unwrap();
        ip("link set right down");
        ip("link set right up");
        wait_for_pair();
        send(&left, &numbered(1));
        ip("link del right");
        process.stop(LONG).unwrap();
        assert_eq!(
            (status(&process), process.status().stats.packets.written),
            ("idle", 1)
        );
    });
}

/// A thread whose mounts are its own; false where that is not allowed.
fn with_own_mounts() -> bool {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    #[expect(
        unsafe_code,
        reason = "rustix marks unshare unsafe because of CLONE_FILES"
    )]
    // SAFETY: mounts and the working directory of this short-lived thread; no descriptors.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) };
    let private = Command::new("mount")
        .args(["--make-rprivate", "/"])
        .status();
    unshared.is_ok() && private.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_stops_the_instance_and_every_packet_is_accounted_for() {
    in_new_namespace(|| {
        if !with_own_mounts() {
            eprintln!("SKIPPED: needs root for a small file system");
            return;
        }
        add_pair();
        for compressed in [true, false] {
            let folder = folder("full");
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=1m", "none"])
                .arg(folder.path())
                .status();
            assert!(mounted.unwrap().success());
            let mut spec = spec(&folder, 2);
            spec.compressed = compressed;
            let process = process(spec);
            process.start().unwrap();
            let left = sender("left");
            let mut state = 1_u64;
            let mut number = 0;
            // What does not get shorter by compression.
            while status(&process) == "running" {
                let mut frame = numbered(number);
                frame.extend((0..1_000).map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8
                }));
                send(&left, &frame);
                number += 1;
            }
            let status = process.status();
            let error = status.stats.error.unwrap();
            assert!(
                error.contains("cannot write") && error.contains("No space left"),
                "{error}"
            );
            let stats = status.stats.packets;
            assert!(
                stats.drop > 0 && stats.rx == stats.written + stats.drop,
                "{stats:?}"
            );
            assert!(
                folder.names().iter().all(|name| !name.ends_with(".tmp")),
                "{:?}",
                folder.names()
            );
            assert_eq!(
                read_all(&folder).len() as u64,
                stats.written,
                "what is said to be there is"
            );
            // With room again, it goes on.
            for name in folder.names() {
                fs::remove_file(folder.path().join(name)).unwrap();
            }
            process.start().unwrap();
            assert_eq!(process.status().stats.error, None);
            send(&left, &numbered(0));
            process.stop(LONG).unwrap();
            assert_eq!(read_all(&folder).len(), 1);
            assert!(
                Command::new("umount")
                    .arg(folder.path())
                    .status()
                    .unwrap()
                    .success()
            );
        }
    });
}

#[test]
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
        // Sent ones are not what a port receives.
        send(&right, &plain);
        process.stop(LONG).unwrap();
        let found: Vec<Vec<u8>> = read_all(&folder)
            .into_iter()
            .map(|(data, _)| data)
            .collect();
        assert_eq!(found, frames);

        // Of an instance that takes both directions, and of frames longer than any on a wire.
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

#[test]
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

#[test]
fn instances_that_start_together_in_one_folder_all_have_their_files() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("together");
        let all: Vec<PcapProcess> = (0..4).map(|_| process(spec(&folder, 2))).collect();
        for round in 1..=5 {
            thread::scope(|scope| {
                for process in &all {
                    scope.spawn(|| process.start().unwrap());
                }
            });
            assert!(all.iter().all(|process| status(process) == "running"));
            for process in &all {
                process.stop(LONG).unwrap();
            }
            assert_eq!(folder.names().len(), round * 8);
        }
    });
}

#[test]
fn a_folder_that_became_a_link_is_not_followed_where_links_are_refused() {
    in_new_namespace(|| {
        add_pair();
        let (root, outside) = (folder("inside"), folder("outside"));
        let place = root.path().canonicalize().unwrap().join("x");
        fs::create_dir(&place).unwrap();
        let mut spec = spec(&root, 1).with_out_dir(&place);
        spec.no_links = true;
        let process = process(spec);
        process.start().unwrap();
        process.stop(LONG).unwrap();
        fs::rename(&place, root.path().join("y")).unwrap();
        std::os::unix::fs::symlink(outside.path(), &place).unwrap();
        assert!(matches!(process.start(), Err(SppError::Folder { .. })));
        assert_eq!((status(&process), outside.names().len()), ("idle", 0));
    });
}

/// Reads a recording for a while, and then no more, as one does whose thread is ended.
struct EndsEarly;

impl FlowTap for EndsEarly {
    fn drive(&self, _: &str, _: Option<&Path>, mut source: Box<dyn PacketSource>) {
        let mut left = 10;
        while left > 0 {
            if let Ok(Batch::Packets(batch)) = source.next_batch(LONG) {
                left -= batch.headers.len().min(left);
            }
        }
    }
}

#[test]
fn a_writer_that_ends_early_ends_the_run_with_its_file_complete() {
    in_new_namespace(|| {
        add_pair();
        let (sender, folder) = (sender("left"), folder("early"));
        let mut spec = spec(&folder, 2);
        spec.flows = true;
        let process = process(spec).with_tap(Some(Arc::new(EndsEarly)));
        process.start().unwrap();
        for number in 0.. {
            if status(&process) == "idle" {
                break;
            }
            send(&sender, &numbered(number));
        }
        let error = process.status().stats.error.unwrap();
        assert!(error.contains("ended by itself"), "{error}");
        let stats = stats(&process);
        assert_eq!(read_all(&folder).len() as u64, stats.written);
        assert_eq!(stats.rx, stats.written + stats.drop);
        assert!(folder.names().iter().all(|name| !name.ends_with(".tmp")));
    });
}

#[test]
fn what_cannot_be_started_says_why_and_leaves_nothing_behind() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("why");
        let refusal = |spec: PcapSpec| {
            let ports = Ports::new(["right", "nothing", "left"]);
            let process = PcapProcess::new(spec, &ports, Arc::new(SystemClock)).unwrap();
            let refusal = process.start().unwrap_err().to_string();
            assert_eq!((status(&process), folder.names().len()), ("idle", 0));
            refusal
        };
        let on = |port: &str| {
            let mut spec = spec(&folder, 2);
            spec.port = port.parse().unwrap();
            spec
        };
        ip("link set left down");
        assert_eq!(refusal(on("phy:1")), "port phy:1 (nothing) not available");
        assert_eq!(refusal(on("phy:2")), "port phy:2 (left) not available");
        assert_eq!(
            refusal(on("phy:3")),
            "port phy:3 (no interface) not available"
        );
        assert_eq!(
            refusal(on("ring:0")),
            "port ring:0 (no interface) not available"
        );
        ip("link set left up");
        let nowhere = folder.path().join("nowhere");
        let wanted = format!("cannot write to {}", nowhere.display());
        assert_eq!(refusal(on("phy:0").with_out_dir(&nowhere)), wanted);
        let netns = PcapSpec {
            netns: Some("/nowhere".into()),
            ..on("phy:0")
        };
        assert!(refusal(netns).contains("network namespace /nowhere"));
    });
}
