//! Starts, stops, removed interfaces, full disks, and failures.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use skylib::capture::{Batch, PacketSource};
use skylib::spp::{FlowTap, PcapProcess, PcapSpec, Ports, SppCtl, SppError};
use skylib::time::{Clock, SystemClock};

use super::{LONG, number_of, numbered, process, read, read_all, send, spec, stats, status};
use crate::support::{
    Folder, add_pair, folder, in_new_namespace, ip, sender, sh, unshare_mounts, wait_for_pair,
};

/// Returns the number of open files of this process in a folder.
fn descriptors(folder: &Folder) -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let ours = entries
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(folder.path()));
    ours.count()
}

#[test]
#[ignore = "needs root: creates network namespaces"]
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

/// Starts a thread that sends numbered frames until `stop` is set; returns their number.
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
#[ignore = "needs root: creates network namespaces"]
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
#[ignore = "needs root: creates network namespaces"]
fn a_recreated_interface_is_captured_again() {
    in_new_namespace(|| {
        add_pair();
        let folder = folder("back");
        let process = process(spec(&folder, 2));
        process.start().unwrap();
        let left = sender("left");
        for number in 0..500 {
            send(&left, &numbered(number));
        }
        // Packets received before the removal are recorded.
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
        // An interface that was only down is still the same one.
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

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_full_disk_stops_the_instance_and_every_packet_is_accounted_for() {
    in_new_namespace(|| {
        unshare_mounts();
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
            // Random data, which does not compress.
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
                "the counted packets are in the files"
            );
            // With free space, it can be started again.
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
#[ignore = "needs root: creates network namespaces"]
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
#[ignore = "needs root: creates network namespaces"]
fn a_folder_that_became_a_link_is_not_followed_where_links_are_refused() {
    in_new_namespace(|| {
        add_pair();
        let (root, outside) = (folder("inside"), folder("outside"));
        let inside = root.path().canonicalize().unwrap().join("x");
        fs::create_dir(&inside).unwrap();
        let mut spec = spec(&root, 1).with_out_dir(&inside);
        spec.no_links = true;
        let process = process(spec);
        process.start().unwrap();
        process.stop(LONG).unwrap();
        fs::rename(&inside, root.path().join("y")).unwrap();
        std::os::unix::fs::symlink(outside.path(), &inside).unwrap();
        assert!(matches!(process.start(), Err(SppError::Folder { .. })));
        assert_eq!((status(&process), outside.names().len()), ("idle", 0));
    });
}

/// A tap that stops reading after some packets, as if its thread had ended.
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
#[ignore = "needs root: creates network namespaces"]
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
        assert!(error.contains("ended unexpectedly"), "{error}");
        let stats = stats(&process);
        assert_eq!(read_all(&folder).len() as u64, stats.written);
        assert_eq!(stats.rx, stats.written + stats.drop);
        assert!(folder.names().iter().all(|name| !name.ends_with(".tmp")));
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_recording_follows_a_namespace_that_is_replaced() {
    in_new_namespace(|| {
        unshare_mounts();
        let (folder, spaces) = (folder("replaced"), folder("spaces"));
        let blue = spaces.path().join("blue");
        let inside = |command: &str| sh(&format!("nsenter --net={} {command}", blue.display()));
        let create = || {
            fs::write(&blue, "").unwrap();
            let no_ipv6 = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6";
            sh(&format!(
                "unshare --net={} sh -c '{no_ipv6}'",
                blue.display()
            ));
            inside("ip link add left type veth peer name right");
            inside("ip link set right up");
            inside("ip link set left up");
            inside("ip address add 10.9.0.1/24 dev left");
        };
        let delete = || sh(&format!("umount -l {0} && rm {0}", blue.display()));
        // The requests for the hardware address of 10.9.0.2 are received by `right`.
        let ask = || inside("sh -c 'ping -c 1 -W 1 10.9.0.2 || true'");
        create();
        let mut spec = spec(&folder, 1);
        spec.netns = Some(blue.clone());
        let process = process(spec);
        process.start().unwrap();
        for _ in 0..2 {
            let before = stats(&process).rx;
            let began = SystemClock.now();
            while stats(&process).rx == before {
                ask();
                assert!(SystemClock.now().duration_since(began) < LONG);
            }
            delete();
            // The requests in progress end before the next count.
            thread::sleep(Duration::from_secs(3));
            create();
        }
        process.stop(LONG).unwrap();
        delete();
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
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
        let netns = on("phy:0").with_netns("/nowhere");
        assert!(refusal(netns).contains("network namespace /nowhere"));
    });
}
