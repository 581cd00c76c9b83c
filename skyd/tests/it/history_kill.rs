//! The daemon is killed again and again while it records: no acknowledged record is lost, none is in
//! two segments, and every start is fast. `HISTORY_KILL_ROUNDS=1000` runs more rounds.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapWriter, Resolution};
use skylib::time::Timestamp;

use crate::client::{Connection, get, query};
use crate::daemon::{Daemon, Folder};

const ROUNDS: usize = 50;
const UPLOADERS: usize = 2;
/// Flows of one upload.
const FLOWS: usize = 3;
/// Time of the packets, in Unix seconds.
const TIME: i64 = 1_454_659_514;

/// What the daemon has acknowledged in a round.
#[derive(Default)]
struct Acknowledged {
    /// Addresses of flows.
    flows: BTreeSet<String>,
    /// Names of nodes that were created and deleted again.
    nodes: BTreeSet<String>,
}

/// Returns a capture file of flows from the given hosts to the address of a round.
fn trace(round: usize, hosts: impl Iterator<Item = usize>) -> (Vec<u8>, Vec<String>) {
    let mut file =
        PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Microseconds).unwrap();
    let mut addresses = Vec::new();
    for host in hosts {
        let [.., a, b] = host.to_be_bytes();
        let [.., c, d] = round.to_be_bytes();
        let mut data = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40];
        data.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, a, b, 10, 1, c, d]);
        data.extend([0x10, 0, 0, 53, 0, 20, 0, 0, 0, 1, 1, 0]);
        data.extend([0; 8]);
        let packet = PacketRef {
            link_type: LinkType::ETHERNET,
            timestamp: Timestamp::from_ms(TIME * 1000),
            data: &data,
            wire_len: u32::try_from(data.len()).unwrap(),
        };
        file.write(&packet).unwrap();
        addresses.push(format!("10.0.{a}.{b}"));
    }
    (file.into_inner(), addresses)
}

/// Sends a request on a persistent connection. Returns the status; `None` if the daemon has ended.
fn send(connection: &mut Connection, method: &str, path: &str, body: &[u8]) -> Option<u16> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    connection.send(request);
    Some(connection.answer()?.status)
}

/// Records until the daemon is killed after a time.
fn record_until_killed(daemon: &mut Daemon, round: usize, time: Duration) -> Acknowledged {
    let (done, next) = (Mutex::new(Acknowledged::default()), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let mut connections: Vec<_> = (0..=UPLOADERS).map(|_| Connection::open(daemon)).collect();
    std::thread::scope(|scope| {
        let (done, next, is_over) = (&done, &next, &is_over);
        let mut connections = connections.iter_mut();
        let nodes = connections.next().unwrap();
        for connection in connections {
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let first = next.fetch_add(FLOWS, Ordering::Relaxed);
                    let (file, addresses) = trace(round, first..first + FLOWS);
                    match send(connection, "POST", "/api/pcap", &file) {
                        Some(status) => assert_eq!(status, 202),
                        None => return,
                    }
                    done.lock().unwrap().flows.extend(addresses);
                }
            });
        }
        scope.spawn(move || {
            for number in 0.. {
                let name = format!("r{round}n{number}");
                let node = json!({"ID": name, "Metadata": {"Name": name, "Type": "device"}});
                let path = format!("/api/node/{name}");
                let created = send(nodes, "POST", "/api/node", node.to_string().as_bytes());
                let Some(201) = created else { return };
                let Some(200) = send(nodes, "DELETE", &path, b"") else {
                    return;
                };
                done.lock().unwrap().nodes.insert(name);
            }
        });
        std::thread::park_timeout(time);
        daemon.stop(Signal::KILL);
        is_over.store(true, Ordering::Relaxed);
    });
    done.into_inner().unwrap()
}

/// Returns the values of an answer, which is `null` if there are none.
fn strings(answer: Value) -> Vec<String> {
    let values: Option<Vec<String>> = serde_json::from_value(answer).unwrap();
    values.unwrap_or_default()
}

/// Checks that everything acknowledged in a round is in the history once.
fn check(daemon: &Daemon, round: usize, done: &Acknowledged) {
    let [.., c, d] = round.to_be_bytes();
    let flows = query(
        daemon,
        &format!(
            "G.At({}, 60).Flows().Has('Network.B', '10.1.{c}.{d}').Values('Network.A')",
            TIME + 30
        ),
    );
    let flows = strings(flows);
    let found: BTreeSet<String> = flows.iter().cloned().collect();
    assert_eq!(
        found.len(),
        flows.len(),
        "round {round}: a flow is there twice"
    );
    let lost: Vec<_> = done.flows.difference(&found).collect();
    assert!(lost.is_empty(), "round {round}: lost flows {lost:?}");
    let names = query(
        daemon,
        &format!("G.At('now', '2h').V().Has('Name', Regex('r{round}n.*')).Values('Name')"),
    );
    let found: BTreeSet<String> = strings(names).into_iter().collect();
    let lost: Vec<_> = done.nodes.difference(&found).collect();
    assert!(lost.is_empty(), "round {round}: lost nodes {lost:?}");
}

/// Checks that no two segments, and no segment and no log, have the same generation.
fn check_files(folder: &Path) {
    for table in ["flow", "graph"] {
        let mut used = BTreeSet::new();
        let names = std::fs::read_dir(folder.join(table)).unwrap();
        for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            let Some((kind, numbers)) = name.split_once('-') else {
                continue;
            };
            if kind == "snap" {
                continue;
            }
            let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
            let generations = first.parse::<u64>().unwrap()..=last.parse().unwrap();
            for generation in generations {
                assert!(
                    used.insert(generation),
                    "{table}: {generation} is there twice"
                );
            }
        }
    }
}

/// Merges the segments, and kills the process that does after a time.
fn merge_until_killed(folder: &Path, time: Duration) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyd"));
    let mut merge = command
        .args(["history", "compact"])
        .arg(folder)
        .spawn()
        .unwrap();
    std::thread::park_timeout(time);
    drop(merge.kill());
    drop(merge.wait());
}

#[test]
fn kills_lose_no_acknowledged_record_and_repeat_none() {
    let rounds = std::env::var("HISTORY_KILL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let folder = Folder::new();
    let history = folder.0.join("store").join("history");
    // Small tables, so that many seals are interrupted.
    let settings = ["storage.local.memory=64KiB"];
    let mut all: Vec<Acknowledged> = Vec::new();
    let mut starts = Vec::new();
    let mut random = 88_172_645_463_325_252_u64;
    for round in 0..rounds {
        let began = Instant::now();
        let mut daemon = Daemon::in_folder(&folder.0, &settings);
        starts.push(began.elapsed());
        if let Some(done) = all.last() {
            check(&daemon, round - 1, done);
        }
        // Xorshift: the moments differ from round to round, and are the same in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let time = Duration::from_millis(20 + random % 400);
        all.push(record_until_killed(&mut daemon, round, time));
        if round % 5 == 4 {
            merge_until_killed(&history, Duration::from_millis(random % 150));
        }
    }
    let mut daemon = Daemon::in_folder(&folder.0, &settings);
    for (round, done) in all.iter().enumerate() {
        check(&daemon, round, done);
    }
    assert_eq!(
        get(&daemon, "/api/status").json()["History"]["Disk"]["Damaged"],
        json!([])
    );
    // Only a kill leaves the log of a segment that was just written.
    daemon.stop(Signal::TERM);
    check_files(&history);
    let flows: usize = all.iter().map(|done| done.flows.len()).sum();
    let nodes: usize = all.iter().map(|done| done.nodes.len()).sum();
    assert!(
        flows > rounds && nodes > rounds,
        "{flows} flows, {nodes} nodes"
    );
    starts.sort_unstable();
    let (median, slowest) = (starts[starts.len() / 2], starts[starts.len() - 1]);
    let summary =
        format!("{rounds} rounds: {flows} flows, {nodes} nodes, starts {median:?} to {slowest:?}");
    // A busy machine delays some starts.
    assert!(median < Duration::from_secs(2), "{summary}");
    if rounds > ROUNDS {
        eprintln!("{summary}");
    }
}
