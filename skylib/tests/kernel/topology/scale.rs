//! Many namespaces and interfaces: time, memory, threads, and the burst of changes.
//!
//! `SKYLIB_SCALE_NAMESPACES` sets the number of namespaces, by default 50; each has two pairs. A
//! release build must show 1 000 namespaces with 5 000 interfaces within 10 s.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use skylib::time::{Clock, SystemClock, Timestamp};

use super::lab::{View, run, text};
use crate::support::{ip, sh};

/// Number of link changes of the burst.
const CHANGES: usize = 10_000;

/// Maximum share of a core when nothing changes, in percent.
const IDLE_PERCENT: u64 = 1;

/// Returns a value of the status of this process, such as its memory in kB.
fn status_of_process(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Returns the number of threads that watch namespaces, and their CPU time in ticks of 10 ms.
fn watching_threads() -> (usize, u64) {
    let mine = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let (mut count, mut ticks) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let is_watching = stat.contains("(netns-") || stat.contains("(probe-");
        if is_watching && std::fs::read_link(task.path().join("ns/net")).ok() == Some(mine.clone())
        {
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            let field = |n: usize| fields.split(' ').nth(n).unwrap().parse::<u64>().unwrap();
            count += 1;
            ticks += field(11) + field(12);
        }
    }
    (count, ticks)
}

fn batch(lines: &str) {
    let file = std::env::temp_dir().join(format!("skylib-scale-{}.batch", std::process::id()));
    std::fs::write(&file, lines).unwrap();
    sh(&format!("ip -batch {}", file.display()));
    std::fs::remove_file(&file).unwrap();
}

/// Adds namespaces with two pairs each, and returns the number of links in a new namespace.
fn add_namespaces(count: usize) -> usize {
    let mut lines = String::new();
    for n in 1..=count {
        writeln!(lines, "netns add n{n}").unwrap();
    }
    batch(&lines);
    let own: usize = sh("ip netns exec n1 ip -o link | wc -l")
        .trim()
        .parse()
        .unwrap();
    lines.clear();
    for n in 1..=count {
        for pair in 1..=2 {
            writeln!(
                lines,
                "link add h{n}-{pair} type veth peer name e{pair} netns n{n}"
            )
            .unwrap();
        }
    }
    batch(&lines);
    own
}

fn seconds_since(start: Timestamp) -> f64 {
    SystemClock.now().duration_since(start).as_secs_f64()
}

/// Returns the MTU of each link in the host's namespace, as the kernel shows it.
fn mtus() -> BTreeMap<String, i64> {
    let lines = ip("-o link");
    let parse = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words[1].split(['@', ':']).next().unwrap().to_owned();
        let at = words.iter().position(|word| *word == "mtu").unwrap();
        (name, words[at + 1].parse().unwrap())
    };
    lines.lines().map(parse).collect()
}

fn shows(g: &View<'_>, mtus: &BTreeMap<String, i64>) -> bool {
    let links =
        g.0.nodes()
            .filter(|node| node.metadata.get("MTU").is_some());
    let own = links.filter(|node| text(node, "Name").starts_with('h'));
    let mut count = 0;
    own.inspect(|_| count += 1).all(|node| {
        let mtu = node.metadata.get("MTU").unwrap().as_int();
        mtus.get(&text(node, "Name")).copied() == mtu
    }) && count > 0
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn many_namespaces_are_watched_by_few_threads() {
    let count = std::env::var("SKYLIB_SCALE_NAMESPACES");
    let count: usize = count.map_or(50, |count| count.parse().unwrap());
    run(|mut lab| {
        std::fs::create_dir_all("/run/netns").unwrap();
        sh("mount -t tmpfs tmpfs /run/netns && ip link set lo up");
        let links = add_namespaces(count);
        let own = sh("ip -o link | wc -l").trim().parse::<usize>().unwrap();
        let former = std::mem::replace(&mut lab.run_path, PathBuf::from("/run/netns"));
        let (nodes, edges) = (1 + own + count * (1 + links + 2), 2 * count);
        let edges = edges + nodes - 1;
        let memory = status_of_process("VmRSS");
        let start = SystemClock.now();
        lab.start();
        lab.wait("all interfaces, each pair joined once", |g| {
            g.0.node_count() == nodes && g.0.edge_count() == edges
        });
        let took = seconds_since(start);
        let memory = status_of_process("VmRSS") - memory;
        let (threads, before) = watching_threads();
        std::thread::sleep(Duration::from_secs(3));
        let idle = (watching_threads().1 - before).saturating_sub(1) / 3;
        println!(
            "{nodes} nodes in {took:.1} s, {memory} kB, {threads} threads, {idle} % of a core"
        );
        assert!(threads <= 6, "{threads} threads");
        assert!(idle <= IDLE_PERCENT, "{idle} % of a core");
        let mut lines = String::new();
        for change in 0..CHANGES {
            writeln!(
                lines,
                "link set h{}-1 mtu {}",
                change % count + 1,
                1_300 + change % 199
            )
            .unwrap();
        }
        batch(&lines);
        let start = SystemClock.now();
        let mtus = mtus();
        lab.wait("every change of the burst", |g| shows(g, &mtus));
        let took = seconds_since(start);
        let resyncs = lab.status("netlink").resyncs;
        println!("{CHANGES} changes shown {took:.1} s after the last one, {resyncs} resyncs");
        assert_eq!(lab.status("netlink").error, None);
        assert_eq!(lab.status("netns").error, None);
        lab.probes.stop();
        lab.run_path = former;
        sh("umount -l /run/netns");
    });
}
